#include "kernels/cuda/libraries.h"

#include <utility>

#include "kernels/cuda/cublaslt/cublaslt.h"
#include "kernels/cuda/cudnn/library.h"
#include "kernels/cuda/resources.h"

namespace trainyard::kernels::cuda {

Libraries::Libraries(std::unique_ptr<Cudnn> cudnn, std::unique_ptr<CublasLt> cublaslt)
    : cudnn_(std::move(cudnn)), cublaslt_(std::move(cublaslt)) {}

Libraries::~Libraries() = default;

std::unique_ptr<Libraries> Libraries::Open(cudaStream_t stream, const std::string& cache_folder) {
  CudnnOptions options;
  options.stream = stream;
  options.device = DescribeDevice();
  options.cache_folder = cache_folder;
  return std::make_unique<Libraries>(std::make_unique<Cudnn>(std::move(options)),
                                     std::make_unique<CublasLt>());
}

std::string Libraries::Describe() const { return cudnn_->Describe() + " " + cublaslt_->Describe(); }

}  // namespace trainyard::kernels::cuda
