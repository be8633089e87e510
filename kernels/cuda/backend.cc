#include "kernels/cuda/backend.h"

#include <string>
#include <utility>

#include "kernels/check.h"
#include "kernels/cuda/program.h"

namespace trainyard::kernels::cuda {
namespace {

#if defined(TRAINYARD_CUDA_EMULATION)
constexpr char kName[] = "emulated";
#else
constexpr char kName[] = "cuda";
#endif

class CudaBackend : public Backend {
 public:
  explicit CudaBackend(CudaOptions options) : options_(std::move(options)) {}
  std::string name() const override { return kName; }
  std::unique_ptr<Program> Lower(const Graph& graph) override {
    CheckGraph(graph);
    ProgramOptions options;
    options.backend = name();
    options.precision = options_.precision;
    options.libraries = options_.libraries;
    options.cache_folder = options_.cache_folder;
    options.data_bytes_max = options_.data_bytes_max;
    return std::make_unique<CudaProgram>(graph, options);
  }

 private:
  const CudaOptions options_;
};

}  // namespace

std::unique_ptr<Backend> MakeCudaBackend(const CudaOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

}  // namespace trainyard::kernels::cuda
