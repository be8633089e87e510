#include "kernels/cuda/emulation/nvidia/cudnn_engine.h"

#include <algorithm>

namespace trainyard::kernels::cuda::emulation::nvidia {
namespace {

bool IsFilterGradient(const Operation& operation) {
  return operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
}

// Whether cuDNN has an engine for a convolution, `alone` or with operations before or after it.
bool HasEngine(const Operation& convolution, bool alone) {
  const bool bf16 = convolution.inputs[0].bf16();
  const Tensor& output = convolution.outputs[0];
  if (convolution.inputs[1].bf16() != bf16) return false;
  if (!output.is_virtual && output.bf16() != bf16) return false;
  return alone || (convolution.alpha == 1 && convolution.beta == 0);
}

int64_t SumsOf(const Operation& operation) {
  const Tensor& output = operation.outputs[0];
  return IsFilterGradient(operation) ? output.count() : output.count() / output.dims[0];
}

}  // namespace

// Which of cuDNN's engines have which notes, and in which mode: checked against what cuDNN 9.19
// plans for an H200. All that differs is that one which is not deterministic always comes first.
std::vector<int64_t> EnginesOf(const std::vector<Operation>& operations,
                               cudnnBackendHeurMode_t mode) {
  const bool alone = operations.size() == 1, fallback = mode == CUDNN_HEUR_MODE_FALLBACK;
  const Operation* convolution = nullptr;
  bool statistics = false;
  for (const Operation& operation : operations) {
    if (operation.type == CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR) statistics = true;
    if (!operation.IsConvolution()) continue;
    if (convolution != nullptr || !HasEngine(operation, alone)) return {};
    convolution = &operation;
  }
  if (convolution == nullptr) {
    return statistics ? std::vector<int64_t>{} : std::vector<int64_t>{kTensorCoreEngine};
  }
  const bool bf16 = convolution->inputs[0].bf16();
  if (alone) {
    if (fallback) return {kNondeterministicEngine, kPlainEngine};
    if (bf16) return {kNondeterministicEngine, kTensorCoreEngine};
    return {kNondeterministicEngine, kTensorCoreEngine, kPlainEngine};
  }
  if (!fallback) return {kNondeterministicEngine, kTensorCoreEngine};
  if (bf16 || statistics || IsFilterGradient(*convolution)) return {kTensorCoreEngine};
  return {kTensorCoreEngine, kPlainEngine};
}

int64_t WorkspaceBytes(const std::vector<Operation>& operations) {
  int64_t sums = 0;
  for (const Operation& operation : operations) {
    if (operation.IsConvolution()) sums = std::max(sums, SumsOf(operation));
  }
  constexpr int64_t kMore = 131;
  return sums * static_cast<int64_t>(sizeof(float)) + kMore;
}

Plan ReadPlan(const Descriptor& plan) {
  const Descriptor& engine =
      plan.At(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG).At(CUDNN_ATTR_ENGINECFG_ENGINE);
  return {.operations = ReadGraph(engine.At(CUDNN_ATTR_ENGINE_OPERATION_GRAPH)),
          .engine = engine.One<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, -1)};
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia
