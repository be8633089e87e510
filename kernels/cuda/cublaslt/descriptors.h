// A product as cuBLASLt is told of it, without a device.
#pragma once

#include <cublasLt.h>

#include <memory>

#include "kernels/cuda/cublaslt/cublaslt.h"

namespace trainyard::kernels::cuda {

// Unless it worked throws Error("<doing>: <cuBLASLt's words> (status <number>)"), or Unavailable
// where not the question is at fault: it does not start, others have the memory, anything inside of
// it.
void CheckCublasLt(cublasStatus_t status, const char* doing);

// Deletes what cuBLASLt created.
template <auto destroy>
struct CublasLtDeleter {
  template <typename T>
  void operator()(T* pointer) const {
    destroy(pointer);
  }
};
using MatmulDescriptor =
    std::unique_ptr<cublasLtMatmulDescOpaque_t, CublasLtDeleter<cublasLtMatmulDescDestroy>>;
using MatrixLayout =
    std::unique_ptr<cublasLtMatrixLayoutOpaque_t, CublasLtDeleter<cublasLtMatrixLayoutDestroy>>;
using MatmulPreference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t,
                                         CublasLtDeleter<cublasLtMatmulPreferenceDestroy>>;

// cuBLASLt's matrices are column-major. Ours, read so, are their own transposes, so it computes the
// transposed product, D = op(A) op(B):
//
//                    D                 A                   B                  op transposes
//   forward          y^T  = w x^T      w^T (in, out)       x^T  (in, batch)   A
//   backward filter  dw^T = x^T dy     x^T (in, batch)     dy^T (out, batch)  B
//   backward data    dx^T = w^T dy^T   w^T (in, out)       dy^T (out, batch)  neither
struct MatmulDescriptors {
  explicit MatmulDescriptors(const Matmul& matmul);

  MatmulDescriptor product;
  MatrixLayout a, b, d;  // C is D
};

// What algorithms may do: no reduction but through a workspace of limited size, in fp32.
MatmulPreference DeterministicPreference();

// Whether the reduction of the scheme gives the same bits each time, from sums in fp32.
bool IsDeterministic(uint32_t reduction_scheme);

// The bias is told at each run; its alignment matters before.
void SetBias(const MatmulDescriptor& product, const void* bias);

}  // namespace trainyard::kernels::cuda
