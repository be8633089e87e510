// Two backends compute the same: comparisons that tests of several backends share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {

// Relative L2 of one tensor. The floor is a share of the whole span's norm: some gradients are zero
// but for rounding (a bias before a batch norm, which takes the mean away again), and a relative
// error of zero means nothing.
void ExpectClose(const std::string& what, const float* found, const float* expected, int64_t count,
                 double floor, double tolerance = 1e-5);

// Every slice of a parameter-like span.
void ExpectSpansClose(const Graph& graph, const std::string& what, const std::vector<float>& found,
                      const std::vector<float>& expected, double tolerance = 1e-5);

// Scalars that use everything: momentum, decay, clipping, smoothing, augmentation.
StepScalars LivelyScalars(const std::vector<float>& rates, bool adamw);

std::string Describe(const Graph& graph);

// Two steps and an evaluation on both backends, on `batch` images: loss, correct count, gradients,
// state and logits.
void ExpectAgreement(Backend& found, Backend& expected, const Graph& graph, int batch, bool adamw);

// For a graph that is one linear layer (and maybe a dropout) on one image, of two classes and
// without bias: which inputs of that layer are zero. Its weight's gradient is zero exactly there.
std::vector<bool> InputZeros(Program& program, const Graph& graph, const ImageSet& images,
                             const StepScalars& scalars);

// Parameters and statistics after some steps, every third on a partial batch. `before_step` is
// called before each, with its number.
std::vector<float> Trajectory(Program& program, const Graph& graph, int steps,
                              const std::function<void(int)>& before_step = nullptr);

bool SameBytes(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace trainyard::kernels::testing
