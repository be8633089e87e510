#include "tests/kernels/cuda/cases/batch_norm.h"

#include <cmath>

namespace trainyard::kernels::cuda::testing {
namespace {

constexpr float kEpsilon = 1e-3f;

std::string Named(const std::string& kernel, const std::string& type, const BatchNormShape& shape) {
  return kernel + " " + type + " " + std::to_string(shape.rows) + "x" +
         std::to_string(shape.channels);
}

std::vector<float> Values(Draw& draw, const BatchNormShape& shape, Spread spread) {
  std::vector<float> x = draw.Normal(shape.rows * shape.channels);
  const std::vector<float> mean = draw.Normal(shape.channels, spread.mean, spread.deviation);
  for (int64_t i = 0; i < shape.rows * shape.channels; ++i) {
    x[i] = x[i] * spread.deviation + mean[i % shape.channels];
  }
  return x;
}

// Around one; some negative, some zero.
std::vector<float> Gammas(Draw& draw, int channels) {
  std::vector<float> gamma = draw.Normal(channels);
  for (float& value : gamma) {
    if (draw.Chance(10)) value = 0;
  }
  return gamma;
}

// mean and inverse_std as the kernels get them.
struct Saved {
  std::vector<float> both;
  std::vector<double> mean, inverse_std;
};

Saved Save(const BatchNormShape& shape, const std::vector<double>& x) {
  const BatchMoments moments = MomentsOf(shape, x, kEpsilon);
  Saved saved;
  for (double value : moments.mean) saved.both.push_back(static_cast<float>(value));
  for (double value : moments.inverse_std) saved.both.push_back(static_cast<float>(value));
  saved.mean.assign(saved.both.begin(), saved.both.begin() + shape.channels);
  saved.inverse_std.assign(saved.both.begin() + shape.channels, saved.both.end());
  return saved;
}

}  // namespace

BatchMoments MomentsOf(const BatchNormShape& shape, const std::vector<double>& x, double epsilon) {
  const int channels = shape.channels;
  const auto rows = static_cast<double>(shape.rows);
  const int64_t count = shape.rows * channels;
  BatchMoments moments;
  moments.mean.resize(channels);
  moments.variance.resize(channels);
  for (int64_t i = 0; i < count; ++i) moments.mean[i % channels] += x[i] / rows;
  for (int64_t i = 0; i < count; ++i) {
    const double off = x[i] - moments.mean[i % channels];
    moments.variance[i % channels] += off * off / rows;
  }
  for (double variance : moments.variance) {
    moments.inverse_std.push_back(1 / std::sqrt(variance + epsilon));
  }
  return moments;
}

std::vector<double> Normalised(const BatchNormShape& shape, const std::vector<double>& x,
                               const std::vector<double>& mean,
                               const std::vector<double>& inverse_std,
                               const std::vector<double>& gamma, const std::vector<double>& beta,
                               const std::vector<double>& residual, Activation activation) {
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = i % shape.channels;
    const double value = gamma[c] * (x[i] - mean[c]) * inverse_std[c] + beta[c] +
                         (residual.empty() ? 0 : residual[i]);
    y[i] = activation.on && !(value > 0) ? activation.slope * value : value;
  }
  return y;
}

BatchGradients GradientsOf(const BatchNormShape& shape, const std::vector<double>& x,
                           const std::vector<double>& y, const std::vector<double>& dy,
                           const std::vector<double>& mean, const std::vector<double>& inverse_std,
                           const std::vector<double>& gamma, Activation activation) {
  const auto rows = static_cast<double>(shape.rows);
  BatchGradients out;
  out.dz = out.dx = dy;
  out.dgamma.resize(shape.channels);
  out.dbeta.resize(shape.channels);
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = i % shape.channels;
    if (activation.on && !(y[i] > 0)) out.dz[i] *= activation.slope;
    out.dgamma[c] += out.dz[i] * (x[i] - mean[c]) * inverse_std[c];
    out.dbeta[c] += out.dz[i];
  }
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = i % shape.channels;
    const double normalised = (x[i] - mean[c]) * inverse_std[c];
    out.dx[i] = gamma[c] * inverse_std[c] *
                (out.dz[i] - out.dbeta[c] / rows - normalised * out.dgamma[c] / rows);
  }
  return out;
}

template <typename T>
KernelCase BatchNormStatisticsCase(const BatchNormShape& shape, const std::vector<float>& x,
                                   float momentum, uint64_t seed) {
  const int channels = shape.channels;
  const std::vector<T> rounded = Round<T>(x);
  const BatchMoments moments = MomentsOf(shape, Widen(rounded), kEpsilon);
  Draw draw(seed);
  const std::vector<float> mean_before = draw.Normal(channels);
  const std::vector<float> variance_before = draw.Normal(channels, 5);
  const double unbiased =
      shape.rows > 1 ? static_cast<double>(shape.rows) / static_cast<double>(shape.rows - 1) : 1;
  std::vector<double> running_mean(channels), running_var(channels);
  for (int c = 0; c < channels; ++c) {
    running_mean[c] = double{momentum} * mean_before[c] + (1.0 - momentum) * moments.mean[c];
    running_var[c] =
        double{momentum} * variance_before[c] + (1.0 - momentum) * unbiased * moments.variance[c];
  }
  const Shared<T> in = Upload(rounded);
  const Shared<float> saved = Allocate<float>(2 * int64_t{channels});
  const Shared<float> workspace = Allocate<float>(BatchNormWorkspace(shape));
  const Shared<float> of_mean = Allocate<float>(channels), of_var = Allocate<float>(channels);
  KernelCase kernel;
  kernel.name = Named("BatchNormStatistics", TypeName<T>(), shape);
  // Two outputs, lest large means hide the deviations.
  const auto half = [=](int which) {
    const std::vector<double> both = Widen(saved->Read());
    return std::vector<double>(both.begin() + which * channels,
                               both.begin() + (which + 1) * channels);
  };
  const auto poison = [saved] { saved->Poison(); };
  kernel.outputs.push_back(
      {"mean", moments.mean, kToleranceFp32, poison, [half] { return half(0); }});
  kernel.outputs.push_back(
      {"inverse_std", moments.inverse_std, kToleranceFp32, poison, [half] { return half(1); }});
  kernel.ExpectFrom("running mean", of_mean, mean_before, running_mean);
  kernel.ExpectFrom("running variance", of_var, variance_before, running_var);
  kernel.launch = [=](cudaStream_t stream) {
    BatchNormStatistics(shape, in->data(), momentum, kEpsilon, workspace->data(), saved->data(),
                        of_mean->data(), of_var->data(), stream);
  };
  kernel.bytes = 1.0 * sizeof(T) * shape.rows * channels + 24.0 * channels;
  kernel.flops = 4.0 * shape.rows * channels;
  return kernel;
}

template <typename T>
KernelCase BatchNormStatisticsCase(const BatchNormShape& shape, Spread spread, float momentum,
                                   uint64_t seed) {
  Draw draw(seed);
  return BatchNormStatisticsCase<T>(shape, Values(draw, shape, spread), momentum, seed + 1);
}

KernelCase BatchNormFromRunningCase(int channels, uint64_t seed) {
  Draw draw(seed);
  const std::vector<float> mean = draw.Normal(channels);
  std::vector<float> variance = draw.Normal(channels);
  std::vector<double> expected = Widen(mean);
  for (float& value : variance) {
    value = std::abs(value);
    expected.push_back(1 / std::sqrt(double{value} + kEpsilon));
  }
  const Shared<float> of_mean = Upload(mean), of_var = Upload(variance);
  const Shared<float> saved = Allocate<float>(2 * int64_t{channels});
  KernelCase kernel;
  kernel.name = "BatchNormFromRunning " + std::to_string(channels);
  kernel.Expect("saved", saved, expected);
  kernel.launch = [=](cudaStream_t stream) {
    BatchNormFromRunning(channels, of_mean->data(), of_var->data(), kEpsilon, saved->data(),
                         stream);
  };
  kernel.bytes = 16.0 * channels;
  kernel.flops = 3.0 * channels;
  return kernel;
}

template <typename T>
KernelCase BatchNormApplyCase(const BatchNormShape& shape, const ApplyOptions& options,
                              uint64_t seed) {
  Draw draw(seed);
  const int64_t count = shape.rows * shape.channels;
  const std::vector<T> x = Round<T>(Values(draw, shape, options.spread));
  const std::vector<float> gamma = Gammas(draw, shape.channels), beta = draw.Normal(shape.channels);
  std::vector<T> residual;
  if (options.residual) residual = Round<T>(draw.Normal(count));
  const std::vector<double> wide = Widen(x);
  const Saved saved = Save(shape, wide);
  const std::vector<double> expected =
      Normalised(shape, wide, saved.mean, saved.inverse_std, Widen(gamma), Widen(beta),
                 Widen(residual), options.activation);
  const Shared<T> in = Upload(x), added = options.residual ? Upload(residual) : nullptr;
  const Shared<float> of_saved = Upload(saved.both), of_gamma = Upload(gamma);
  const Shared<float> of_beta = Upload(beta);
  KernelCase kernel;
  kernel.name =
      Named("BatchNormApply", TypeName<T>(), shape) + (options.residual ? " + residual" : "");
  Shared<T> y = in;
  if (options.y == ApplyOptions::kIsX) {
    kernel.ExpectFrom("y", y, x, expected);
  } else if (options.y == ApplyOptions::kIsResidual) {
    y = added;
    kernel.ExpectFrom("y", y, residual, expected);
  } else {
    y = Allocate<T>(count);
    kernel.Expect("y", y, expected);
  }
  kernel.launch = [=, activation = options.activation](cudaStream_t stream) {
    BatchNormApply<T>(shape, in->data(), of_saved->data(), of_gamma->data(), of_beta->data(),
                      added ? added->data() : nullptr, activation, y->data(), stream);
  };
  kernel.bytes = (2.0 + options.residual) * sizeof(T) * count + 16.0 * shape.channels;
  kernel.flops = 4.0 * count;
  return kernel;
}

template <typename T>
KernelCase BatchNormBackwardCase(const BatchNormShape& shape, const BackwardOptions& options,
                                 uint64_t seed) {
  Draw draw(seed);
  const int channels = shape.channels;
  const int64_t count = shape.rows * channels;
  const Activation activation = options.activation;
  const std::vector<T> x = Round<T>(Values(draw, shape, options.spread));
  const std::vector<double> wide = Widen(x);
  const Saved saved = Save(shape, wide);
  const std::vector<float> gamma = Gammas(draw, channels), beta = draw.Normal(channels);
  // The signs of some output; a gradient off zero, so that its sums are not small by chance.
  const std::vector<T> y = Round<T>(draw.Normal(count)), dy = Round<T>(draw.Normal(count, 0.25f));
  BatchGradients gradients = GradientsOf(shape, wide, Widen(y), Widen(dy), saved.mean,
                                         saved.inverse_std, Widen(gamma), activation);

  KernelCase kernel;
  kernel.name =
      Named("BatchNormBackward", TypeName<T>(), shape) + (options.residual ? " + residual" : "");
  const Shared<T> in = Upload(x), output = activation.on ? Upload(y) : nullptr;
  const Shared<T> gradient = Upload(dy);
  const Shared<float> of_saved = Upload(saved.both), of_gamma = Upload(gamma);
  const Shared<float> dgamma = Allocate<float>(channels), dbeta = Allocate<float>(channels);
  const Shared<float> workspace = Allocate<float>(BatchNormWorkspace(shape));
  kernel.Expect("dgamma", dgamma, gradients.dgamma);
  kernel.Expect("dbeta", dbeta, gradients.dbeta);
  // An output that may be dy's buffer and may be added to.
  const auto expect = [&](const std::string& name, bool is_dy, bool accumulate,
                          std::vector<double> expected) {
    const std::vector<T> before = is_dy ? dy : Round<T>(draw.Normal(count));
    for (int64_t i = 0; accumulate && i < count; ++i) expected[i] += Widen(before[i]);
    const Shared<T> out = is_dy ? gradient : Allocate<T>(count);
    if (is_dy || accumulate) {
      kernel.ExpectFrom(name, out, before, expected);
    } else {
      kernel.Expect(name, out, expected);
    }
    return out;
  };
  const Shared<T> dx =
      expect("dx", options.is_dy == BackwardOptions::kDx, options.accumulate, gradients.dx);
  const Shared<T> dresidual =
      options.residual ? expect("dresidual", options.is_dy == BackwardOptions::kDresidual,
                                options.accumulate_residual, gradients.dz)
                       : nullptr;
  const BatchNormGradients<T> to{dgamma->data(),
                                 dbeta->data(),
                                 dx->data(),
                                 options.accumulate,
                                 dresidual ? dresidual->data() : nullptr,
                                 options.accumulate_residual};
  kernel.launch = [=, keep = std::vector<std::shared_ptr<void>>{dgamma, dbeta, dx, dresidual}](
                      cudaStream_t stream) {
    BatchNormBackward<T>(shape, in->data(), output ? output->data() : nullptr, gradient->data(),
                         of_saved->data(), of_gamma->data(), activation, workspace->data(), to,
                         stream);
  };
  const double tensors = 2 * (2.0 + activation.on) + 1 + options.accumulate +
                         options.residual * (1.0 + options.accumulate_residual);
  kernel.bytes = tensors * sizeof(T) * count + 20.0 * channels;
  kernel.flops = 10.0 * count;
  return kernel;
}

std::vector<KernelCase> BatchNormTableCases() {
  const BatchNormShape usual{512 * 32 * 32, 64}, narrow{512 * 32 * 32 * 8, 8};
  const BackwardOptions backward{.activation = {true, 0}};
  return {
      BatchNormStatisticsCase<float>(usual, Spread{100, 1}, 0.9f, 1),
      BatchNormStatisticsCase<bf16>(usual, Spread{}, 0.9f, 2),
      BatchNormStatisticsCase<bf16>(narrow, Spread{}, 0.9f, 3),
      BatchNormApplyCase<float>(usual, {.activation = {true, 0}}, 4),
      BatchNormApplyCase<bf16>(usual, {.activation = {true, 0}, .residual = true}, 5),
      BatchNormBackwardCase<float>(usual, backward, 6),
      BatchNormBackwardCase<bf16>(usual, backward, 7),
      BatchNormBackwardCase<bf16>(narrow, backward, 8),
      BatchNormFromRunningCase(2048, 9),
  };
}

#define TRAINYARD_INSTANTIATE(T)                                                                   \
  template KernelCase BatchNormStatisticsCase<T>(const BatchNormShape&, Spread, float, uint64_t);  \
  template KernelCase BatchNormStatisticsCase<T>(const BatchNormShape&, const std::vector<float>&, \
                                                 float, uint64_t);                                 \
  template KernelCase BatchNormApplyCase<T>(const BatchNormShape&, const ApplyOptions&, uint64_t); \
  template KernelCase BatchNormBackwardCase<T>(const BatchNormShape&, const BackwardOptions&,      \
                                               uint64_t);
TRAINYARD_INSTANTIATE(float)
TRAINYARD_INSTANTIATE(bf16)
#undef TRAINYARD_INSTANTIATE

}  // namespace trainyard::kernels::cuda::testing
