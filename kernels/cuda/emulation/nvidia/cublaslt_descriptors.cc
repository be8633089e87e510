#include "kernels/cuda/emulation/nvidia/cublaslt_descriptors.h"

namespace trainyard::kernels::cuda::emulation::nvidia {
namespace {

template <typename T>
Slot Of(T& member) {
  return {&member, sizeof member};
}

template <typename T, typename Opaque>
cublasStatus_t Make(Opaque** made, const T& content) {
  if (made == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  *made = new Opaque{};
  std::memcpy((*made)->data, &content, sizeof content);
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T, typename Opaque>
cublasStatus_t Init(Opaque* opaque, size_t bytes, const T& content) {
  if (opaque == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  if (bytes < sizeof content) return CUBLAS_STATUS_ALLOC_FAILED;
  std::memcpy(opaque->data, &content, sizeof content);
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T, typename Opaque>
cublasStatus_t Destroy(Opaque* opaque) {
  T* content = Open<T>(opaque);
  if (content == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  content->mark = 0;
  delete opaque;
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T, typename Opaque>
cublasStatus_t Set(Opaque* opaque, int attribute, const void* value, size_t bytes) {
  T* content = Open<T>(opaque);
  if (content == nullptr || value == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  const Slot slot = SlotOf(*content, attribute);
  if (slot.bytes == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (slot.bytes != bytes) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(slot.at, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T, typename Opaque>
cublasStatus_t Get(const Opaque* opaque, int attribute, void* value, size_t bytes,
                   size_t* written) {
  const T* content = Open<T>(opaque);
  if (content == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  T copy = *content;
  const Slot slot = SlotOf(copy, attribute);
  if (slot.bytes == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (bytes == 0 ? written == nullptr : value == nullptr || bytes != slot.bytes) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (bytes != 0) std::memcpy(value, slot.at, bytes);
  if (written != nullptr) *written = slot.bytes;
  return CUBLAS_STATUS_SUCCESS;
}

MatrixLayout LayoutOf(cudaDataType type, uint64_t rows, uint64_t columns, int64_t ld) {
  return {.type = static_cast<uint32_t>(type),
          .rows = rows,
          .columns = columns,
          .leading_dimension = ld};
}

MatmulDescriptor DescriptorOf(cublasComputeType_t compute, cudaDataType_t scale) {
  return {.compute_type = compute, .scale_type = scale};
}

}  // namespace

Slot SlotOf(MatrixLayout& layout, int attribute) {
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
      return Of(layout.type);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return Of(layout.order);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return Of(layout.rows);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return Of(layout.columns);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return Of(layout.leading_dimension);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return Of(layout.batch_count);
    default:
      return {};
  }
}

Slot SlotOf(MatmulDescriptor& descriptor, int attribute) {
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
      return Of(descriptor.compute_type);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
      return Of(descriptor.scale_type);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
      return Of(descriptor.pointer_mode);
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return Of(descriptor.transpose_a);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return Of(descriptor.transpose_b);
    case CUBLASLT_MATMUL_DESC_TRANSC:
      return Of(descriptor.transpose_c);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return Of(descriptor.epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return Of(descriptor.bias);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return Of(descriptor.bias_type);
    default:
      return {};
  }
}

Slot SlotOf(Preference& preference, int attribute) {
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_SEARCH_MODE:
      return Of(preference.search_mode);
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return Of(preference.workspace_max);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return Of(preference.reduction_mask);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return Of(preference.alignment[0]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return Of(preference.alignment[1]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return Of(preference.alignment[2]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return Of(preference.alignment[3]);
    default:
      return {};
  }
}

Slot SlotOf(Algorithm& algorithm, int attribute) {
  switch (attribute) {
    case CUBLASLT_ALGO_CONFIG_ID:
      return Of(algorithm.id);
    case CUBLASLT_ALGO_CONFIG_TILE_ID:
      return Of(algorithm.tile);
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:
      return Of(algorithm.split_k);
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
      return Of(algorithm.reduction);
    default:
      return {};
  }
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia

using namespace trainyard::kernels::cuda::emulation::nvidia;

extern "C" {

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, size_t bytes,
                                                 cudaDataType type, uint64_t rows, uint64_t columns,
                                                 int64_t ld) {
  return Init(layout, bytes, LayoutOf(type, rows, columns, ld));
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
  return Make(layout, LayoutOf(type, rows, columns, ld));
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return Destroy<MatrixLayout>(layout);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void* value, size_t bytes) {
  return Set<MatrixLayout>(layout, attribute, value, bytes);
}
cublasStatus_t cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                void* value, size_t bytes, size_t* written) {
  return Get<MatrixLayout>(layout, attribute, value, bytes, written);
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t descriptor, size_t bytes,
                                               cublasComputeType_t compute, cudaDataType_t scale) {
  return Init(descriptor, bytes, DescriptorOf(compute, scale));
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* descriptor,
                                        cublasComputeType_t compute, cudaDataType_t scale) {
  return Make(descriptor, DescriptorOf(compute, scale));
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t descriptor) {
  return Destroy<MatmulDescriptor>(descriptor);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t descriptor,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  return Set<MatmulDescriptor>(descriptor, attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t descriptor,
                                              cublasLtMatmulDescAttributes_t attribute, void* value,
                                              size_t bytes, size_t* written) {
  return Get<MatmulDescriptor>(descriptor, attribute, value, bytes, written);
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t preference,
                                                     size_t bytes) {
  return Init(preference, bytes, Preference{});
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return Make(preference, Preference{});
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return Destroy<Preference>(preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  return Set<Preference>(preference, attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulPreferenceGetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    void* value, size_t bytes, size_t* written) {
  return Get<Preference>(preference, attribute, value, bytes, written);
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void* value, size_t bytes, size_t* written) {
  return Get<Algorithm>(algorithm, attribute, value, bytes, written);
}

}  // extern "C"
