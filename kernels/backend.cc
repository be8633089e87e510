#include "kernels/backend.h"

#include "kernels/cuda_module.h"
#include "kernels/reference/backend.h"
#ifdef TRAINYARD_WITH_CPU
#include "kernels/cpu/backend.h"
#endif

namespace trainyard::kernels {

std::unique_ptr<Backend> MakeBackend(const BackendOptions& options) {
  const std::string& name = options.name;
  if (name == "reference") return reference::MakeReferenceBackend();
  if (name == "cpu") {
#ifdef TRAINYARD_WITH_CPU
    return cpu::MakeCpuBackend(options.threads);
#else
    throw Error("backend cpu: this build was made without Highway (TRAINYARD_CPU)");
#endif
  }
  if (name == "cuda") return LoadCudaBackend(options);
  throw Error("backend \"" + name + "\" is unknown; expected \"cpu\", \"cuda\" or \"reference\"");
}

}  // namespace trainyard::kernels
