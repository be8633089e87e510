// NVIDIA's libraries as one program uses them: cuDNN for convolutions, cuBLASLt for dense layers.
// Builds without their headers have neither, and compute with our kernels alone.
#pragma once

#include <memory>
#include <string>

#include "kernels/cuda/runtime.h"

namespace trainyard::kernels::cuda {

class Cudnn;
class CublasLt;

class Libraries {
 public:
  // On the current device, for work on `stream`. `cache_folder`: where cuDNN's plans are kept from
  // run to run; empty: nowhere. Null where this build has no libraries. Throws Error where one does
  // not start.
  static std::unique_ptr<Libraries> Open(cudaStream_t stream, const std::string& cache_folder);
  // Of libraries that were opened otherwise: for tests.
  Libraries(std::unique_ptr<Cudnn> cudnn, std::unique_ptr<CublasLt> cublaslt);
  ~Libraries();

  Cudnn& cudnn() { return *cudnn_; }
  CublasLt& cublaslt() { return *cublaslt_; }

  // "cudnn 9.19.0 cublaslt 13.1.0". What was chosen of them is in the names of the plan's steps,
  // and so in its hash: here it would differ between a program that has met a smaller batch and one
  // that has not.
  std::string Describe() const;

 private:
  std::unique_ptr<Cudnn> cudnn_;
  std::unique_ptr<CublasLt> cublaslt_;
};

}  // namespace trainyard::kernels::cuda
