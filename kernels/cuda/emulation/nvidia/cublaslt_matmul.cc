// cuBLASLt's handle, its heuristic and its product.
#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/cuda/emulation/nvidia/cublaslt_product.h"
#include "kernels/cuda/emulation/nvidia/enqueue.h"
#include "kernels/cuda/emulation/nvidia/numbers.h"

namespace trainyard::kernels::cuda::emulation::nvidia {
namespace {

constexpr uint64_t kHandleMark = 0x63756c74;
constexpr int64_t kWorkspaceAlignment = 256;
constexpr uint32_t kVectorBytes = 16;

struct Handle {
  uint64_t mark = kHandleMark;
};
bool IsHandle(cublasLtHandle_t handle) {
  return handle != nullptr && reinterpret_cast<Handle*>(handle)->mark == kHandleMark;
}

// The algorithms for a problem, those that most programs must not take first.
std::vector<Algorithm> AlgorithmsOf(const Product& product, const Preference& preference) {
  const uint32_t element = product.operands_bf16() ? sizeof(bf16) : sizeof(float);
  const Algorithm all[] = {
      {.id = 0,
       .split_k = 3,
       .reduction = CUBLASLT_REDUCTION_SCHEME_INPLACE,
       .alignment = kVectorBytes},
      {.id = 1,
       .tile = CUBLASLT_MATMUL_TILE_32x32,
       .split_k = 3,
       .reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
       .alignment = kVectorBytes},
      {.id = 2, .alignment = kVectorBytes},
      {.id = 3, .tile = CUBLASLT_MATMUL_TILE_8x8, .alignment = element},
  };
  std::vector<Algorithm> fitting;
  for (const Algorithm& algorithm : all) {
    const bool masked = (algorithm.reduction & ~preference.reduction_mask) != 0;
    const bool misaligned =
        std::any_of(std::begin(preference.alignment), std::end(preference.alignment),
                    [&](uint32_t bytes) { return bytes % algorithm.alignment != 0; });
    if (masked || misaligned) continue;
    if (product.WorkspaceBytes(algorithm) > preference.workspace_max) continue;
    fitting.push_back(algorithm);
  }
  return fitting;
}

// What cublasLtMatmul checks beyond what the heuristic has seen.
bool PointersFit(const Product& product, const Algorithm& algorithm, const Pointers& pointers) {
  const void* const matrices[] = {pointers.a, pointers.b, pointers.c, pointers.d};
  for (const void* matrix : matrices) {
    if (matrix == nullptr || !IsAligned(matrix, algorithm.alignment)) return false;
  }
  const MatmulDescriptor& descriptor = product.descriptor;
  if (product.has_vector() &&
      (descriptor.bias == nullptr ||
       !IsAligned(descriptor.bias, product.output_bf16() ? sizeof(bf16) : sizeof(float)))) {
    return false;
  }
  return pointers.c != pointers.d || product.c == product.d;
}

}  // namespace
}  // namespace trainyard::kernels::cuda::emulation::nvidia

using namespace trainyard::kernels::cuda::emulation::nvidia;

extern "C" {

size_t cublasLtGetVersion() { return CUBLAS_VERSION; }
size_t cublasLtGetCudartVersion() { return CUDART_VERSION; }

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    default:
      return "unknown cuBLAS status";
  }
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "the functionality requested is not supported";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "the GPU program failed to execute";
    default:
      return "unknown cuBLAS status";
  }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (handle == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  *handle = reinterpret_cast<cublasLtHandle_t>(new Handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  if (!IsHandle(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  reinterpret_cast<Handle*>(handle)->mark = 0;
  delete reinterpret_cast<Handle*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle,
                                              cublasLtMatmulDesc_t descriptor,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* count) {
  if (!IsHandle(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  const Preference* wanted = Open<Preference>(preference);
  if (wanted == nullptr || requested <= 0 || results == nullptr || count == nullptr) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  *count = 0;
  if (wanted->search_mode != CUBLASLT_SEARCH_BEST_FIT) return CUBLAS_STATUS_NOT_SUPPORTED;
  Product product;
  const cublasStatus_t status = ReadProduct(descriptor, a, b, c, d, product);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  for (const Algorithm& algorithm : AlgorithmsOf(product, *wanted)) {
    if (*count == requested) break;
    cublasLtMatmulHeuristicResult_t& result = results[(*count)++];
    result = {};
    std::memcpy(result.algo.data, &algorithm, sizeof algorithm);
    result.workspaceSize = product.WorkspaceBytes(algorithm);
    result.state = CUBLAS_STATUS_SUCCESS;
    result.wavesCount = 1;
  }
  return *count > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t descriptor,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                              const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo,
                              void* workspace, size_t workspace_bytes, cudaStream_t stream) {
  if (!IsHandle(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (alpha == nullptr || beta == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  Product product;
  const cublasStatus_t status =
      ReadProduct(descriptor, a_layout, b_layout, c_layout, d_layout, product);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  std::memcpy(&product.alpha, alpha, sizeof(float));
  std::memcpy(&product.beta, beta, sizeof(float));
  std::optional<Algorithm> algorithm;
  if (algo != nullptr) {
    const Algorithm* given = Open<Algorithm>(algo);
    if (given == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    algorithm = *given;
  } else {  // as documented: the first of the heuristic, with nothing excluded
    const std::vector<Algorithm> found = AlgorithmsOf(product, {.workspace_max = workspace_bytes});
    if (found.empty()) return CUBLAS_STATUS_NOT_SUPPORTED;
    algorithm = found.front();
  }
  const Pointers pointers{a, b, c, d, workspace};
  const size_t needed = product.WorkspaceBytes(*algorithm);
  if (!PointersFit(product, *algorithm, pointers) || workspace_bytes < needed) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (needed > 0 && (workspace == nullptr || !IsAligned(workspace, kWorkspaceAlignment))) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool taken = Enqueue(stream, [product, algorithm = *algorithm, pointers] {
    Multiply(product, algorithm, pointers);
  });
  return taken ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
