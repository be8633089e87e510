// One optimizer step in double over the flat spans; formulas in network/training.h.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/graph.h"

namespace trainyard::kernels::reference {

struct OptimizerState {
  std::vector<double> moment1, moment2;
};

// L2 norm of the whole gradient.
double GradientNorm(const std::vector<double>& gradients);

// Clips (a norm above clip_norm is scaled down to it), decays and updates `parameters`.
void UpdateParameters(const Graph& graph, const StepScalars& scalars, double gradient_norm,
                      const std::vector<double>& gradients, std::vector<double>& parameters,
                      OptimizerState& state);

}  // namespace trainyard::kernels::reference
