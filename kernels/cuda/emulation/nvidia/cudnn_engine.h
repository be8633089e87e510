// The engines of the emulated cuDNN: which graphs each computes, and what a plan is.
#pragma once

#include <vector>

#include "kernels/cuda/emulation/nvidia/cudnn_operation.h"

namespace trainyard::kernels::cuda::emulation::nvidia {

// Offered in this order, the ones that most programs must not take first.
constexpr int64_t kNondeterministicEngine = 0;  // other bits from run to run, and says so
constexpr int64_t kTensorCoreEngine = 1;        // float operands are rounded to tf32
constexpr int64_t kPlainEngine = 2;             // float only

// The engines for a graph's operations, best first, as a heuristic's `mode` lists them; empty where
// the real cuDNN has none either.
std::vector<int64_t> EnginesOf(const std::vector<Operation>& operations,
                               cudnnBackendHeurMode_t mode);

// Bytes of workspace: the sums of one image or of all filters, and an odd number more, as many of
// cuDNN's engines ask for.
int64_t WorkspaceBytes(const std::vector<Operation>& operations);

struct Plan {
  std::vector<Operation> operations;
  int64_t engine;
};
Plan ReadPlan(const Descriptor& plan);

}  // namespace trainyard::kernels::cuda::emulation::nvidia
