// Every op's definition, forward and backward, as plain loops over doubles in NCHW order.
// Backward functions add to the input's gradient, which the caller has cleared; parameter gradients
// are added likewise.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/graph.h"

namespace trainyard::kernels::reference {

// Everything an op may read or write in one pass over `batch` images.
struct Pass {
  const Graph* graph = nullptr;
  const StepScalars* scalars = nullptr;  // training only
  int batch = 0;
  bool training = false;
  std::vector<std::vector<double>> values, gradients;  // by value id, (batch, c, h, w)
  std::vector<double> parameters, parameter_gradients, statistics;
  // By op: batch mean and inverse standard deviation, channel by channel, of a batch norm.
  std::vector<std::vector<double>> saved;
};

// op: index into graph->ops.
void Forward(Pass& pass, int op);
void Backward(Pass& pass, int op);

struct LossSum {
  double loss = 0;  // over the batch, not divided
  int64_t correct = 0;
};

// Softmax cross-entropy of logits (batch, classes) against labels, with label smoothing s: the
// target is (1 - s) [class == label] + s / classes. Unless `gradient` is empty, it becomes the
// derivative of the mean loss.
LossSum SoftmaxCrossEntropy(std::span<const double> logits, std::span<const int32_t> labels,
                            int classes, double smoothing, std::span<double> gradient);

}  // namespace trainyard::kernels::reference
