// Cases of convolutions, whichever kernels make them: float64 loops, and launchers of one form.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "tests/kernels/cuda/cases/conv_shapes.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {

// Calls f(x, y, w, count) for every tap of every window that lies inside the image, and each
// filter: so many products of neighbours in x and w, from these elements on, belong to element y.
template <typename F>
void ForEachRun(const ConvShape& shape, F&& f) {
  const int channels = shape.in_c / shape.groups, filters = shape.out_c / shape.groups;
  const int taps = shape.kernel_h * shape.kernel_w;
  for (int64_t pixel = 0; pixel < shape.out_pixels(); ++pixel) {
    const int q = static_cast<int>(pixel % shape.out_w);
    const int p = static_cast<int>(pixel / shape.out_w % shape.out_h);
    const int64_t n = pixel / shape.out_w / shape.out_h;
    for (int tap = 0; tap < taps; ++tap) {
      const int i = p * shape.stride_h + tap / shape.kernel_w - shape.pad_top;
      const int j = q * shape.stride_w + tap % shape.kernel_w - shape.pad_left;
      if (i < 0 || i >= shape.in_h || j < 0 || j >= shape.in_w) continue;
      const int64_t x = ((n * shape.in_h + i) * shape.in_w + j) * shape.in_c;
      for (int group = 0; group < shape.groups; ++group) {
        for (int k = group * filters; k < (group + 1) * filters; ++k) {
          f(x + group * channels, pixel * shape.out_c + k, (int64_t{k} * taps + tap) * channels,
            channels);
        }
      }
    }
  }
}

inline std::vector<double> ForwardLoops(const ConvShape& shape, const std::vector<double>& x,
                                        const std::vector<double>& w,
                                        const std::vector<double>& bias, Activation activation) {
  std::vector<double> y(shape.out_size());
  ForEachRun(shape, [&](int64_t i, int64_t j, int64_t k, int count) {
    double sum = 0;
    for (int c = 0; c < count; ++c) sum += x[i + c] * w[k + c];
    y[j] += sum;
  });
  for (int64_t i = 0; i < shape.out_size(); ++i) {
    if (!bias.empty()) y[i] += bias[i % shape.out_c];
    if (activation.on && y[i] <= 0) y[i] *= activation.slope;
  }
  return y;
}

// Adds to dx.
inline std::vector<double> BackwardDataLoops(const ConvShape& shape, const std::vector<double>& dy,
                                             const std::vector<double>& w, std::vector<double> dx) {
  ForEachRun(shape, [&](int64_t i, int64_t j, int64_t k, int count) {
    for (int c = 0; c < count; ++c) dx[i + c] += dy[j] * w[k + c];
  });
  return dx;
}

inline std::vector<double> BackwardFilterLoops(const ConvShape& shape, const std::vector<double>& x,
                                               const std::vector<double>& dy) {
  std::vector<double> dw(shape.weights());
  ForEachRun(shape, [&](int64_t i, int64_t j, int64_t k, int count) {
    for (int c = 0; c < count; ++c) dw[k + c] += x[i + c] * dy[j];
  });
  return dw;
}

// What a case says of its kernel.
struct ConvKernel {
  std::string name;  // "ConvForward tf32"
  Precision arithmetic = Precision::kFp32;
  double tolerance = 0;
};

inline KernelCase NewConvCase(const ConvKernel& of, const ConvShape& shape) {
  KernelCase kernel;
  kernel.name = of.name + " " + Describe(shape);
  kernel.flops = shape.flops();
  kernel.arithmetic = of.arithmetic;
  return kernel;
}

// Of about the size that weights start with: sums over the depth are of the size of x.
template <typename T>
std::vector<T> DrawWeights(Draw& draw, const ConvShape& shape) {
  const double deviation = 1 / std::sqrt(static_cast<double>(shape.depth()));
  return Round<T>(draw.Normal(shape.weights(), 0, static_cast<float>(deviation)));
}

// `launch`: (x, w, bias or null, y, stream).
template <typename T, typename Launch>
KernelCase ForwardCase(const ConvKernel& of, const ConvShape& shape, bool bias,
                       Activation activation, uint64_t seed, Launch launch) {
  Draw draw(seed);
  const std::vector<T> x = Round<T>(draw.Normal(shape.in_size()));
  const std::vector<T> w = DrawWeights<T>(draw, shape);
  const std::vector<float> b = bias ? draw.Normal(shape.out_c) : std::vector<float>();
  const Shared<T> in = Upload(x), weights = Upload(w), out = Allocate<T>(shape.out_size());
  const Shared<float> biases = bias ? Upload(b) : nullptr;
  KernelCase kernel = NewConvCase(of, shape);
  kernel.launch = [=](cudaStream_t stream) {
    launch(in->data(), weights->data(), bias ? biases->data() : nullptr, out->data(), stream);
  };
  kernel.Expect("y", out, ForwardLoops(shape, Widen(x), Widen(w), Widen(b), activation),
                of.tolerance);
  kernel.bytes =
      1.0 * sizeof(T) * static_cast<double>(shape.in_size() + shape.out_size() + shape.weights());
  return kernel;
}

// `launch`: (dy, w, dx, stream).
template <typename T, typename Launch>
KernelCase BackwardDataCase(const ConvKernel& of, const ConvShape& shape, bool accumulate,
                            uint64_t seed, Launch launch) {
  Draw draw(seed);
  const std::vector<T> dy = Round<T>(draw.Normal(shape.out_size()));
  const std::vector<T> w = DrawWeights<T>(draw, shape);
  const std::vector<T> before = Round<T>(draw.Normal(shape.in_size()));
  const Shared<T> gradient = Upload(dy), weights = Upload(w), dx = Allocate<T>(shape.in_size());
  const std::vector<double> start =
      accumulate ? Widen(before) : std::vector<double>(shape.in_size());
  const std::vector<double> expected = BackwardDataLoops(shape, Widen(dy), Widen(w), start);
  KernelCase kernel = NewConvCase(of, shape);
  kernel.launch = [=](cudaStream_t stream) {
    launch(gradient->data(), weights->data(), dx->data(), stream);
  };
  if (accumulate) {
    kernel.name += ", added";
    kernel.ExpectFrom("dx", dx, before, expected, of.tolerance);
  } else {
    kernel.Expect("dx", dx, expected, of.tolerance);
  }
  kernel.bytes = 1.0 * sizeof(T) *
                 static_cast<double>(shape.in_size() * (accumulate ? 2 : 1) + shape.out_size() +
                                     shape.weights());
  return kernel;
}

// `launch`: (x, dy, workspace of so many floats, dw, stream).
template <typename T, typename Launch>
KernelCase BackwardFilterCase(const ConvKernel& of, const ConvShape& shape, int64_t workspace_size,
                              uint64_t seed, Launch launch) {
  Draw draw(seed);
  const std::vector<T> x = Round<T>(draw.Normal(shape.in_size()));
  const std::vector<T> dy = Round<T>(draw.Normal(shape.out_size()));
  const Shared<T> in = Upload(x), gradient = Upload(dy);
  const Shared<float> workspace = Allocate<float>(workspace_size);
  const Shared<float> dw = Allocate<float>(shape.weights());
  KernelCase kernel = NewConvCase(of, shape);
  kernel.launch = [=](cudaStream_t stream) {
    launch(in->data(), gradient->data(), workspace->data(), dw->data(), stream);
  };
  kernel.Expect("dw", dw, BackwardFilterLoops(shape, Widen(x), Widen(dy)), of.tolerance);
  kernel.outputs.back().prepare = [=] {
    dw->Poison();
    workspace->Poison();
  };
  kernel.bytes = 1.0 * sizeof(T) * static_cast<double>(shape.in_size() + shape.out_size()) +
                 4.0 * static_cast<double>(shape.weights());
  return kernel;
}

}  // namespace trainyard::kernels::cuda::testing
