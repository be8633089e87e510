// One product of cuBLASLt's: what its descriptors say, checked, and its loops.
#pragma once

#include "kernels/cuda/emulation/nvidia/cublaslt_descriptors.h"

namespace trainyard::kernels::cuda::emulation::nvidia {

// D = alpha op(A) op(B) + beta C, and an epilogue. op(A): m x k, op(B): k x n, C and D: m x n.
struct Product {
  MatmulDescriptor descriptor;
  MatrixLayout a, b, c, d;
  int64_t m, n, k;
  float alpha, beta;

  bool operands_bf16() const { return a.type == CUDA_R_16BF; }
  bool output_bf16() const { return d.type == CUDA_R_16BF; }
  bool has_vector() const {  // a bias, or its gradient
    return (descriptor.epilogue &
            (CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)) != 0;
  }
  size_t WorkspaceBytes(const Algorithm& algorithm) const;
};

// `product` from descriptors: INVALID_VALUE where they contradict each other, NOT_SUPPORTED where
// cuBLASLt, or the emulated machine, has no such product.
cublasStatus_t ReadProduct(const cublasLtMatmulDescOpaque_t* descriptor,
                           const cublasLtMatrixLayoutOpaque_t* a,
                           const cublasLtMatrixLayoutOpaque_t* b,
                           const cublasLtMatrixLayoutOpaque_t* c,
                           const cublasLtMatrixLayoutOpaque_t* d, Product& product);

struct Pointers {
  const void *a, *b, *c;
  void *d, *workspace;
};

void Multiply(const Product& product, const Algorithm& algorithm, const Pointers& pointers);

}  // namespace trainyard::kernels::cuda::emulation::nvidia
