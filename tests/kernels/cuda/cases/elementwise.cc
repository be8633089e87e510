#include "tests/kernels/cuda/cases/elementwise.h"

namespace trainyard::kernels::cuda::testing {
namespace {

double Activated(Activation activation, double x) {
  return activation.on && !(x > 0) ? activation.slope * x : x;
}

double Slope(Activation activation, double y) {
  return activation.on && !(y > 0) ? activation.slope : 1;
}

std::string Named(const std::string& kernel, const std::string& type, const std::string& shape,
                  Activation activation) {
  return kernel + " " + type + " " + shape + (activation.on ? " activated" : "");
}

std::string Shape(int64_t rows, int channels) {
  return std::to_string(rows) + "x" + std::to_string(channels);
}

// The output as a buffer of its own, to be written whole, or as the input that it replaces.
template <typename T>
Shared<T> Output(KernelCase& kernel, const std::string& name, bool in_place, const Shared<T>& input,
                 const std::vector<T>& before, const std::vector<double>& expected) {
  if (in_place) {
    kernel.ExpectFrom(name, input, before, expected);
    return input;
  }
  const Shared<T> out = Allocate<T>(static_cast<int64_t>(expected.size()));
  kernel.Expect(name, out, expected);
  return out;
}

}  // namespace

template <typename T>
KernelCase ActivationForwardCase(int64_t count, Activation activation, bool in_place,
                                 uint64_t seed) {
  const std::vector<T> x = Round<T>(Draw(seed).Normal(count));
  std::vector<double> expected = Widen(x);
  for (double& v : expected) v = Activated(activation, v);
  KernelCase kernel;
  kernel.name = Named("ActivationForward", TypeName<T>(), std::to_string(count), activation);
  const Shared<T> in = Upload(x), out = Output(kernel, "y", in_place, in, x, expected);
  kernel.launch = [=](cudaStream_t stream) {
    ActivationForward(in->data(), activation, count, out->data(), stream);
  };
  kernel.bytes = 2.0 * sizeof(T) * count;
  kernel.flops = 1.0 * count;
  return kernel;
}

template <typename T>
KernelCase ActivationBackwardCase(int64_t count, Activation activation, bool accumulate,
                                  bool in_place, uint64_t seed) {
  Draw draw(seed);
  const std::vector<T> y = Round<T>(draw.Normal(count)), dy = Round<T>(draw.Normal(count));
  const std::vector<T> before = in_place ? dy : Round<T>(draw.Normal(count));
  std::vector<double> expected(count);
  for (int64_t i = 0; i < count; ++i) {
    expected[i] =
        (accumulate ? Widen(before[i]) : 0) + Widen(dy[i]) * Slope(activation, Widen(y[i]));
  }
  KernelCase kernel;
  kernel.name = Named("ActivationBackward", TypeName<T>(), std::to_string(count), activation) +
                (accumulate ? " accumulated" : "");
  const Shared<T> output = activation.on ? Upload(y) : nullptr, gradient = Upload(dy);
  const Shared<T> dx = in_place ? gradient : Allocate<T>(count);
  if (accumulate || in_place) {
    kernel.ExpectFrom("dx", dx, before, expected);
  } else {
    kernel.Expect("dx", dx, expected);
  }
  kernel.launch = [=](cudaStream_t stream) {
    ActivationBackward<T>(output ? output->data() : nullptr, gradient->data(), activation,
                          accumulate, count, dx->data(), stream);
  };
  kernel.bytes = (2.0 + activation.on + accumulate) * sizeof(T) * count;
  kernel.flops = (1.0 + accumulate) * count;
  return kernel;
}

template <typename T>
KernelCase AddForwardCase(int64_t count, Activation activation, bool in_place, uint64_t seed) {
  Draw draw(seed);
  const std::vector<T> a = Round<T>(draw.Normal(count)), b = Round<T>(draw.Normal(count));
  std::vector<double> expected(count);
  for (int64_t i = 0; i < count; ++i) {
    expected[i] = Activated(activation, Widen(a[i]) + Widen(b[i]));
  }
  KernelCase kernel;
  kernel.name = Named("AddForward", TypeName<T>(), std::to_string(count), activation);
  const Shared<T> left = Upload(a), right = Upload(b);
  const Shared<T> out = Output(kernel, "y", in_place, right, b, expected);
  kernel.launch = [=](cudaStream_t stream) {
    AddForward<T>(left->data(), right->data(), activation, count, out->data(), stream);
  };
  kernel.bytes = 3.0 * sizeof(T) * count;
  kernel.flops = 2.0 * count;
  return kernel;
}

KernelCase WidenBf16Case(int64_t count, uint64_t seed) {
  const std::vector<bf16> x = Round<bf16>(Draw(seed).Normal(count));
  KernelCase kernel;
  kernel.name = "WidenBf16 " + std::to_string(count);
  const Shared<bf16> in = Upload(x);
  const Shared<float> out = Allocate<float>(count);
  kernel.Expect("y", out, Widen(x));
  kernel.launch = [=](cudaStream_t stream) { WidenBf16(in->data(), count, out->data(), stream); };
  kernel.bytes = 6.0 * count;
  return kernel;
}

template <typename T>
KernelCase BiasForwardCase(int64_t rows, int channels, Activation activation, bool in_place,
                           uint64_t seed) {
  Draw draw(seed);
  const std::vector<T> x = Round<T>(draw.Normal(rows * channels));
  const std::vector<float> bias = draw.Normal(channels);
  std::vector<double> expected = Widen(x);
  for (int64_t i = 0; i < rows * channels; ++i) {
    expected[i] = Activated(activation, expected[i] + bias[i % channels]);
  }
  KernelCase kernel;
  kernel.name = Named("BiasForward", TypeName<T>(), Shape(rows, channels), activation);
  const Shared<T> in = Upload(x), out = Output(kernel, "y", in_place, in, x, expected);
  const Shared<float> added = Upload(bias);
  kernel.launch = [=](cudaStream_t stream) {
    BiasForward(in->data(), added->data(), activation, rows, channels, out->data(), stream);
  };
  kernel.bytes = 2.0 * sizeof(T) * rows * channels + 4.0 * channels;
  kernel.flops = 2.0 * rows * channels;
  return kernel;
}

template <typename T>
KernelCase BiasBackwardCase(int64_t rows, int channels, Activation activation, BiasGradient where,
                            uint64_t seed) {
  Draw draw(seed);
  const int64_t count = rows * channels;
  // Off zero, so that the sums are not small by chance.
  const std::vector<T> y = Round<T>(draw.Normal(count)), dy = Round<T>(draw.Normal(count, 0.25f));
  std::vector<double> dz(count), dbias(channels);
  for (int64_t i = 0; i < count; ++i) {
    dz[i] = Widen(dy[i]) * Slope(activation, Widen(y[i]));
    dbias[i % channels] += dz[i];
  }
  KernelCase kernel;
  kernel.name = Named("BiasBackward", TypeName<T>(), Shape(rows, channels), activation);
  const Shared<T> output = activation.on ? Upload(y) : nullptr, gradient = Upload(dy);
  const Shared<T> before =
      where == BiasGradient::kNowhere
          ? nullptr
          : Output(kernel, "dz", where == BiasGradient::kInPlace, gradient, dy, dz);
  const Shared<float> sum = Allocate<float>(channels);
  const Shared<float> workspace = Allocate<float>(BiasBackwardWorkspace(rows, channels));
  kernel.Expect("dbias", sum, dbias);
  kernel.launch = [=](cudaStream_t stream) {
    BiasBackward<T>(output ? output->data() : nullptr, gradient->data(), activation, rows, channels,
                    before ? before->data() : nullptr, workspace->data(), sum->data(), stream);
  };
  const bool written = where == BiasGradient::kApart || (before && activation.on);
  kernel.bytes = (1.0 + activation.on + written) * sizeof(T) * count + 4.0 * channels;
  kernel.flops = 2.0 * count;
  return kernel;
}

std::vector<KernelCase> ElementwiseTableCases() {
  constexpr int64_t kRows = 512 * 32 * 32;
  const Activation relu{true, 0};
  return {
      ActivationForwardCase<float>(kRows * 64, relu, false, 1),
      ActivationBackwardCase<bf16>(kRows * 64, relu, false, false, 2),
      AddForwardCase<float>(kRows * 64, relu, false, 3),
      AddForwardCase<bf16>(kRows * 64, relu, false, 4),
      WidenBf16Case(512 * 3 * 3 * 512, 9),
      BiasForwardCase<bf16>(kRows, 64, relu, false, 5),
      BiasBackwardCase<float>(kRows, 64, relu, BiasGradient::kInPlace, 6),
      BiasBackwardCase<bf16>(kRows, 64, relu, BiasGradient::kInPlace, 7),
      BiasBackwardCase<bf16>(kRows * 21, 3, relu, BiasGradient::kInPlace, 8),
  };
}

#define TRAINYARD_INSTANTIATE(T)                                                            \
  template KernelCase ActivationForwardCase<T>(int64_t, Activation, bool, uint64_t);        \
  template KernelCase ActivationBackwardCase<T>(int64_t, Activation, bool, bool, uint64_t); \
  template KernelCase AddForwardCase<T>(int64_t, Activation, bool, uint64_t);               \
  template KernelCase BiasForwardCase<T>(int64_t, int, Activation, bool, uint64_t);         \
  template KernelCase BiasBackwardCase<T>(int64_t, int, Activation, BiasGradient, uint64_t);
TRAINYARD_INSTANTIATE(float)
TRAINYARD_INSTANTIATE(bf16)
#undef TRAINYARD_INSTANTIATE

}  // namespace trainyard::kernels::cuda::testing
