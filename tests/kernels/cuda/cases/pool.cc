#include "tests/kernels/cuda/cases/pool.h"

#include <cmath>
#include <limits>

namespace trainyard::kernels::cuda::testing {
namespace {

// visit(output element, elements of its window in scan order, their cells), over a whole tensor.
template <typename Visit>
void ForEachWindow(const PoolShape& s, Visit visit) {
  std::vector<int64_t> window;
  std::vector<int> cells;
  for (int64_t to = 0; to < s.out_size(); ++to) {
    const int64_t channel = to % s.channels, pixel = to / s.channels;
    const int64_t x = pixel % s.out_w, y = pixel / s.out_w % s.out_h,
                  image = pixel / s.out_w / s.out_h;
    window.clear();
    cells.clear();
    for (int cell = 0; cell < s.kernel_h * s.kernel_w; ++cell) {
      const int64_t from_y = y * s.stride_h - s.pad_top + cell / s.kernel_w;
      const int64_t from_x = x * s.stride_w - s.pad_left + cell % s.kernel_w;
      if (from_y < 0 || from_y >= s.in_h || from_x < 0 || from_x >= s.in_w) continue;
      window.push_back(((image * s.in_h + from_y) * s.in_w + from_x) * s.channels + channel);
      cells.push_back(cell);
    }
    visit(to, window, cells);
  }
}

// Which of the window is the largest: the first, or the first NaN.
template <typename T>
size_t Largest(const std::vector<T>& x, const std::vector<int64_t>& window) {
  size_t best = 0;
  for (size_t i = 0; i < window.size(); ++i) {
    const double value = Widen(x[window[i]]), largest = Widen(x[window[best]]);
    if (value > largest || (std::isnan(value) && !std::isnan(largest))) best = i;
  }
  return best;
}

// From a few values only.
template <typename T>
std::vector<T> WithTies(int64_t count, uint64_t seed) {
  Draw draw(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    value = static_cast<float>(draw.Between(-3, 3));
    if (draw.Chance(3)) value = std::numeric_limits<float>::quiet_NaN();
    if (draw.Chance(5)) value = std::numeric_limits<float>::infinity() * (draw.Chance(30) ? 1 : -1);
  }
  return Round<T>(values);
}

std::string Describe(const PoolShape& s) {
  const auto by = [](int a, int b) { return std::to_string(a) + "x" + std::to_string(b); };
  return std::to_string(s.batch) + "x" + by(s.in_h, s.in_w) + "x" + std::to_string(s.channels) +
         " to " + by(s.out_h, s.out_w) + ", window " + by(s.kernel_h, s.kernel_w) + ", stride " +
         by(s.stride_h, s.stride_w) + ", padding " + by(s.pad_top, s.pad_left);
}

template <typename T>
std::string Name(const char* kernel, const std::string& shape, bool accumulate = false) {
  return kernel + (" " + TypeName<T>() + " " + shape) + (accumulate ? ", accumulating" : "");
}

// dx: poisoned, or what is added to, which comes first in `expected`.
template <typename T>
struct Gradient {
  std::vector<T> before;
  std::vector<double> expected;
  Shared<T> device;

  Gradient(int64_t count, bool accumulate, uint64_t seed)
      : before(accumulate ? Round<T>(Draw(seed).Normal(count)) : std::vector<T>()),
        expected(accumulate ? Widen(before) : std::vector<double>(count)),
        device(Allocate<T>(count)) {}

  void ExpectOf(KernelCase& kernel) const {
    if (before.empty()) {
      kernel.Expect("dx", device, expected);
    } else {
      kernel.ExpectFrom("dx", device, before, expected);
    }
  }
  double bytes() const {
    return static_cast<double>((before.empty() ? 1 : 2) * expected.size() * sizeof(T));
  }
};

template <typename T, typename Index>
KernelCase MaxForward(const PoolShape& shape, bool with_index, uint64_t seed) {
  const std::vector<T> x = WithTies<T>(shape.in_size(), seed);
  std::vector<double> y(shape.out_size()), where(shape.out_size());
  ForEachWindow(shape, [&](int64_t to, const auto& window, const auto& cells) {
    const size_t best = Largest(x, window);
    y[to] = Widen(x[window[best]]);
    where[to] = cells[best];
  });
  const Shared<T> in = Upload(x), out = Allocate<T>(shape.out_size());
  const Shared<Index> index = Allocate<Index>(shape.out_size());
  KernelCase kernel;
  kernel.name = Name<T>("MaxPoolForward", Describe(shape)) + (with_index ? "" : ", no index");
  kernel.launch = [=](cudaStream_t stream) {
    MaxPoolForward(shape, in->data(), out->data(), with_index ? index->data() : nullptr, stream);
  };
  kernel.Expect("y", out, y, 0);
  kernel.bytes = static_cast<double>(sizeof(T) * (shape.in_size() + shape.out_size()));
  if (with_index) {
    kernel.Expect("index", index, where, 0);
    kernel.bytes += static_cast<double>(MaxPoolIndexBytes(shape));
  }
  return kernel;
}

template <typename T, typename Index>
KernelCase MaxBackward(const PoolShape& shape, bool accumulate, uint64_t seed) {
  const std::vector<T> x = WithTies<T>(shape.in_size(), seed);
  const std::vector<T> dy = Round<T>(Draw(seed + 1).Normal(shape.out_size()));
  std::vector<Index> where(shape.out_size());
  Gradient<T> dx(shape.in_size(), accumulate, seed + 2);
  ForEachWindow(shape, [&](int64_t to, const auto& window, const auto& cells) {
    const size_t best = Largest(x, window);
    where[to] = static_cast<Index>(cells[best]);
    dx.expected[window[best]] += Widen(dy[to]);
  });
  const Shared<T> gradient = Upload(dy), out = dx.device;
  const Shared<Index> index = Upload(where);
  KernelCase kernel;
  kernel.name = Name<T>("MaxPoolBackward", Describe(shape), accumulate);
  kernel.launch = [=](cudaStream_t stream) {
    MaxPoolBackward(shape, index->data(), gradient->data(), accumulate, out->data(), stream);
  };
  dx.ExpectOf(kernel);
  kernel.bytes =
      dx.bytes() + static_cast<double>(sizeof(T) * shape.out_size() + MaxPoolIndexBytes(shape));
  return kernel;
}

}  // namespace

template <typename T>
KernelCase MaxPoolForwardCase(const PoolShape& shape, bool with_index, uint64_t seed) {
  return MaxPoolIndexBytes(shape) == shape.out_size()
             ? MaxForward<T, uint8_t>(shape, with_index, seed)
             : MaxForward<T, uint16_t>(shape, with_index, seed);
}

template <typename T>
KernelCase MaxPoolBackwardCase(const PoolShape& shape, bool accumulate, uint64_t seed) {
  return MaxPoolIndexBytes(shape) == shape.out_size()
             ? MaxBackward<T, uint8_t>(shape, accumulate, seed)
             : MaxBackward<T, uint16_t>(shape, accumulate, seed);
}

template <typename T>
KernelCase AvgPoolForwardCase(const PoolShape& shape, uint64_t seed) {
  const std::vector<T> x = Round<T>(Draw(seed).Normal(shape.in_size(), 0.5f));
  std::vector<double> y(shape.out_size());
  ForEachWindow(shape, [&](int64_t to, const auto& window, const auto&) {
    for (int64_t from : window) y[to] += Widen(x[from]);
    y[to] /= static_cast<double>(window.size());
  });
  const Shared<T> in = Upload(x), out = Allocate<T>(shape.out_size());
  KernelCase kernel;
  kernel.name = Name<T>("AvgPoolForward", Describe(shape));
  kernel.launch = [=](cudaStream_t stream) {
    AvgPoolForward(shape, in->data(), out->data(), stream);
  };
  kernel.Expect("y", out, y);
  kernel.bytes = static_cast<double>(sizeof(T) * (shape.in_size() + shape.out_size()));
  return kernel;
}

template <typename T>
KernelCase AvgPoolBackwardCase(const PoolShape& shape, bool accumulate, uint64_t seed) {
  const std::vector<T> dy = Round<T>(Draw(seed).Normal(shape.out_size()));
  Gradient<T> dx(shape.in_size(), accumulate, seed + 1);
  ForEachWindow(shape, [&](int64_t to, const auto& window, const auto&) {
    const double share = Widen(dy[to]) / static_cast<double>(window.size());
    for (int64_t from : window) dx.expected[from] += share;
  });
  const Shared<T> gradient = Upload(dy), out = dx.device;
  KernelCase kernel;
  kernel.name = Name<T>("AvgPoolBackward", Describe(shape), accumulate);
  kernel.launch = [=](cudaStream_t stream) {
    AvgPoolBackward(shape, gradient->data(), accumulate, out->data(), stream);
  };
  dx.ExpectOf(kernel);
  kernel.bytes = dx.bytes() + static_cast<double>(sizeof(T) * shape.out_size());
  return kernel;
}

template <typename T>
KernelCase GlobalAvgPoolForwardCase(int batch, int pixels, int channels, uint64_t seed) {
  const int64_t plane = int64_t{pixels} * channels, count = batch * plane;
  const std::vector<T> x = Round<T>(Draw(seed).Normal(count, 0.5f));
  std::vector<double> y(int64_t{batch} * channels);
  for (int64_t i = 0; i < count; ++i) {
    y[i / plane * channels + i % channels] += Widen(x[i]) / pixels;
  }
  const Shared<T> in = Upload(x), out = Allocate<T>(int64_t{batch} * channels);
  KernelCase kernel;
  kernel.name =
      Name<T>("GlobalAvgPoolForward", std::to_string(batch) + "x" + std::to_string(pixels) + "x" +
                                          std::to_string(channels));
  kernel.launch = [=](cudaStream_t stream) {
    GlobalAvgPoolForward(batch, pixels, channels, in->data(), out->data(), stream);
  };
  kernel.Expect("y", out, y);
  kernel.bytes = static_cast<double>(sizeof(T) * (x.size() + y.size()));
  return kernel;
}

template <typename T>
KernelCase GlobalAvgPoolBackwardCase(int batch, int pixels, int channels, bool accumulate,
                                     uint64_t seed) {
  const int64_t plane = int64_t{pixels} * channels, count = batch * plane;
  const std::vector<T> dy = Round<T>(Draw(seed).Normal(int64_t{batch} * channels));
  Gradient<T> dx(count, accumulate, seed + 1);
  for (int64_t i = 0; i < count; ++i) {
    dx.expected[i] += Widen(dy[i / plane * channels + i % channels]) / pixels;
  }
  const Shared<T> gradient = Upload(dy), out = dx.device;
  KernelCase kernel;
  kernel.name =
      Name<T>("GlobalAvgPoolBackward",
              std::to_string(batch) + "x" + std::to_string(pixels) + "x" + std::to_string(channels),
              accumulate);
  kernel.launch = [=](cudaStream_t stream) {
    GlobalAvgPoolBackward(batch, pixels, channels, gradient->data(), accumulate, out->data(),
                          stream);
  };
  dx.ExpectOf(kernel);
  kernel.bytes = dx.bytes() + static_cast<double>(sizeof(T) * dy.size());
  return kernel;
}

PoolShape SquarePool(int batch, int size, int channels, int kernel, int stride, int pad) {
  const int out = (size + 2 * pad - kernel) / stride + 1;
  return {batch, channels, size, size, out, out, kernel, kernel, stride, stride, pad, pad};
}

std::vector<KernelCase> PoolTableCases() {
  const PoolShape halving = SquarePool(512, 32, 64, 2, 2, 0);
  const PoolShape overlapping = SquarePool(32, 112, 64, 3, 2, 1);
  return {
      MaxPoolForwardCase<float>(halving, true, 1),
      MaxPoolForwardCase<bf16>(halving, true, 2),
      MaxPoolBackwardCase<bf16>(halving, false, 3),
      MaxPoolForwardCase<bf16>(overlapping, true, 4),
      MaxPoolBackwardCase<bf16>(overlapping, false, 5),
      AvgPoolForwardCase<bf16>(halving, 6),
      AvgPoolBackwardCase<bf16>(halving, false, 9),
      GlobalAvgPoolForwardCase<bf16>(512, 64, 512, 7),
      GlobalAvgPoolBackwardCase<bf16>(512, 64, 512, false, 8),
  };
}

template KernelCase MaxPoolForwardCase<float>(const PoolShape&, bool, uint64_t);
template KernelCase MaxPoolForwardCase<bf16>(const PoolShape&, bool, uint64_t);
template KernelCase MaxPoolBackwardCase<float>(const PoolShape&, bool, uint64_t);
template KernelCase MaxPoolBackwardCase<bf16>(const PoolShape&, bool, uint64_t);
template KernelCase AvgPoolForwardCase<float>(const PoolShape&, uint64_t);
template KernelCase AvgPoolForwardCase<bf16>(const PoolShape&, uint64_t);
template KernelCase AvgPoolBackwardCase<float>(const PoolShape&, bool, uint64_t);
template KernelCase AvgPoolBackwardCase<bf16>(const PoolShape&, bool, uint64_t);
template KernelCase GlobalAvgPoolForwardCase<float>(int, int, int, uint64_t);
template KernelCase GlobalAvgPoolForwardCase<bf16>(int, int, int, uint64_t);
template KernelCase GlobalAvgPoolBackwardCase<float>(int, int, int, bool, uint64_t);
template KernelCase GlobalAvgPoolBackwardCase<bf16>(int, int, int, bool, uint64_t);

}  // namespace trainyard::kernels::cuda::testing
