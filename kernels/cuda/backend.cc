#include "kernels/cuda/backend.h"

#include <string>

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
  explicit CudaBackend(Precision precision) : precision_(precision) {}
  std::string name() const override { return kName; }
  std::unique_ptr<Program> Lower(const Graph& graph) override {
    CheckGraph(graph);
    return std::make_unique<CudaProgram>(graph, ProgramOptions{name(), precision_});
  }

 private:
  const Precision precision_;
};

}  // namespace

std::unique_ptr<Backend> MakeCudaBackend(Precision precision) {
  return std::make_unique<CudaBackend>(precision);
}

}  // namespace trainyard::kernels::cuda
