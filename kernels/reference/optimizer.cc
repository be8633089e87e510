#include "kernels/reference/optimizer.h"

#include <cmath>

namespace trainyard::kernels::reference {

double GradientNorm(const std::vector<double>& gradients) {
  double sum = 0;
  for (double g : gradients) sum += g * g;
  return std::sqrt(sum);
}

void UpdateParameters(const Graph& graph, const StepScalars& scalars, double gradient_norm,
                      const std::vector<double>& gradients, std::vector<double>& parameters,
                      OptimizerState& state) {
  const double clip = scalars.clip_norm > 0 && gradient_norm > scalars.clip_norm
                          ? scalars.clip_norm / gradient_norm
                          : 1;
  const double lr = scalars.learning_rate, momentum = scalars.momentum;
  const double beta1 = scalars.beta1, beta2 = scalars.beta2;
  const double correction1 = 1 - std::pow(beta1, static_cast<double>(scalars.step + 1));
  const double correction2 = 1 - std::pow(beta2, static_cast<double>(scalars.step + 1));
  for (const Graph::Slice& slice : graph.slices) {
    const double decay = slice.decays ? scalars.weight_decay : 0;
    for (int64_t i = slice.offset; i < slice.offset + slice.size; ++i) {
      double& w = parameters[i];
      double& m = state.moment1[i];
      double& v = state.moment2[i];
      const double g = gradients[i] * clip;
      if (scalars.optimizer == OptimizerKind::kSgd) {
        const double decayed = g + decay * w;
        m = momentum * m + decayed;
        w -= lr * (scalars.nesterov ? decayed + momentum * m : m);
      } else {
        m = beta1 * m + (1 - beta1) * g;
        v = beta2 * v + (1 - beta2) * g * g;
        w -= lr * (m / correction1 / (std::sqrt(v / correction2) + scalars.epsilon) + decay * w);
      }
    }
  }
}

}  // namespace trainyard::kernels::reference
