#include "kernels/cuda/cublaslt/descriptors.h"

#include <string>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr uint32_t kAlignmentBytes = 16;
// What NVIDIA recommends for Hopper and newer chips.
constexpr uint64_t kMaxWorkspaceBytes = uint64_t{32} << 20;

// PEDANTIC: neither TF32 nor emulation of fp32, whatever the environment says.
cublasComputeType_t ComputeType(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return CUBLAS_COMPUTE_32F_PEDANTIC;
    case Precision::kTf32:
      return CUBLAS_COMPUTE_32F_FAST_TF32;
    case Precision::kBf16:
      break;
  }
  return CUBLAS_COMPUTE_32F;
}

cudaDataType_t ElementType(Precision precision) {
  return precision == Precision::kBf16 ? CUDA_R_16BF : CUDA_R_32F;
}

template <typename T>
void Set(const MatmulDescriptor& product, cublasLtMatmulDescAttributes_t attribute, T value) {
  CheckCublasLt(cublasLtMatmulDescSetAttribute(product.get(), attribute, &value, sizeof value),
                "describing a matrix product");
}

template <typename T>
void Set(const MatmulPreference& preference, cublasLtMatmulPreferenceAttributes_t attribute,
         T value) {
  CheckCublasLt(
      cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value),
      "describing what algorithms may do");
}

// Row-major (rows, columns): column-major, its transpose.
MatrixLayout Transposed(cudaDataType_t type, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t layout = nullptr;
  CheckCublasLt(cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(columns),
                                           static_cast<uint64_t>(rows), columns),
                "describing a matrix");
  return MatrixLayout(layout);
}

// Of the machine: cuBLASLt does not start, or something under it fails.
bool MeansUnavailable(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_INITIALIZED || status == CUBLAS_STATUS_ALLOC_FAILED ||
         status == CUBLAS_STATUS_EXECUTION_FAILED || status == CUBLAS_STATUS_INTERNAL_ERROR;
}

}  // namespace

void CheckCublasLt(cublasStatus_t status, const char* doing) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const std::string what = std::string(doing) + ": " + cublasLtGetStatusString(status) +
                           " (status " + std::to_string(status) + ")";
  if (MeansUnavailable(status)) throw Unavailable(what);
  throw Error(what);
}

MatmulDescriptors::MatmulDescriptors(const Matmul& matmul) {
  cublasLtMatmulDesc_t created = nullptr;
  CheckCublasLt(cublasLtMatmulDescCreate(&created, ComputeType(matmul.precision), CUDA_R_32F),
                "describing a matrix product");
  product.reset(created);
  const cudaDataType_t type = ElementType(matmul.precision);
  switch (matmul.pass) {
    case Matmul::Pass::kForward:
      Set(product, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
      a = Transposed(type, matmul.out, matmul.in);
      b = Transposed(type, matmul.batch, matmul.in);
      d = Transposed(type, matmul.batch, matmul.out);
      break;
    case Matmul::Pass::kBackwardFilter:
      Set(product, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_T);
      a = Transposed(type, matmul.batch, matmul.in);
      b = Transposed(type, matmul.batch, matmul.out);
      d = Transposed(CUDA_R_32F, matmul.out, matmul.in);
      break;
    case Matmul::Pass::kBackwardData:
      a = Transposed(type, matmul.out, matmul.in);
      b = Transposed(type, matmul.batch, matmul.out);
      d = Transposed(type, matmul.batch, matmul.in);
      break;
  }
  if (!matmul.bias) return;
  Set(product, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  // The heuristic reads nothing there but how it is aligned.
  SetBias(product, reinterpret_cast<const void*>(uintptr_t{kAlignmentBytes}));
}

MatmulPreference DeterministicPreference() {
  cublasLtMatmulPreference_t created = nullptr;
  CheckCublasLt(cublasLtMatmulPreferenceCreate(&created), "describing what algorithms may do");
  MatmulPreference preference(created);
  Set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMaxWorkspaceBytes);
  // Without a reduction is always allowed.
  Set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  for (const auto alignment :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    Set(preference, alignment, kAlignmentBytes);
  }
  return preference;
}

bool IsDeterministic(uint32_t reduction_scheme) {
  return reduction_scheme == CUBLASLT_REDUCTION_SCHEME_NONE ||
         reduction_scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
}

void SetBias(const MatmulDescriptor& product, const void* bias) {
  Set(product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
}

}  // namespace trainyard::kernels::cuda
