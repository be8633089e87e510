// What cuBLASLt's opaque descriptors hold on the emulated machine. Read from the comments of
// NVIDIA's <cublasLt.h> and from the "cuBLAS Library" documentation, CUDA 13.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <cstring>

namespace trainyard::kernels::cuda::emulation::nvidia {

// Each begins with a mark that a descriptor which was never made, or is destroyed, does not have.
struct MatrixLayout {
  static constexpr uint32_t kMark = 0x4c61796f;
  uint32_t mark = kMark;
  uint32_t type;
  int32_t order = CUBLASLT_ORDER_COL;
  int32_t batch_count = 1;
  uint64_t rows, columns;
  int64_t leading_dimension;

  bool operator==(const MatrixLayout&) const = default;
};

struct MatmulDescriptor {
  static constexpr uint32_t kMark = 0x4d61746d;
  uint32_t mark = kMark;
  int32_t compute_type, scale_type;
  int32_t pointer_mode = CUBLASLT_POINTER_MODE_HOST;
  int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N, transpose_c = CUBLAS_OP_N;
  uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  int32_t bias_type = -1;  // the output's
  void* bias = nullptr;
};

struct Preference {
  static constexpr uint32_t kMark = 0x50726566;
  uint32_t mark = kMark;
  uint32_t search_mode = CUBLASLT_SEARCH_BEST_FIT;
  uint32_t reduction_mask = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t alignment[4] = {256, 256, 256, 256};  // bytes, of A, B, C, D
  uint64_t workspace_max = 0;
};

struct Algorithm {
  static constexpr uint32_t kMark = 0x416c676f;
  uint32_t mark = kMark;
  int32_t id;
  uint32_t tile = CUBLASLT_MATMUL_TILE_64x64;
  int32_t split_k = 1;
  uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
  uint32_t alignment;  // bytes, of all matrices
};

// The contents of an opaque descriptor; null where it is null or holds something else.
template <typename T, typename Opaque>
T* Open(Opaque* opaque) {
  static_assert(sizeof(T) <= sizeof opaque->data);
  T* content = reinterpret_cast<T*>(opaque);
  return opaque != nullptr && content->mark == T::kMark ? content : nullptr;
}
template <typename T, typename Opaque>
const T* Open(const Opaque* opaque) {
  return Open<T>(const_cast<Opaque*>(opaque));
}

// The member behind an attribute; bytes = 0: the emulated machine does not have it.
struct Slot {
  void* at = nullptr;
  size_t bytes = 0;
};
Slot SlotOf(MatrixLayout& layout, int attribute);
Slot SlotOf(MatmulDescriptor& descriptor, int attribute);
Slot SlotOf(Preference& preference, int attribute);
Slot SlotOf(Algorithm& algorithm, int attribute);

}  // namespace trainyard::kernels::cuda::emulation::nvidia
