#include "kernels/backend.h"

#include "kernels/reference/backend.h"
#ifdef TRAINYARD_WITH_ONEDNN
#include "kernels/cpu/backend.h"
#endif

namespace trainyard::kernels {

std::unique_ptr<Backend> MakeBackend(const std::string& name, [[maybe_unused]] int threads) {
  if (name == "reference") return reference::MakeReferenceBackend();
  if (name == "cpu") {
#ifdef TRAINYARD_WITH_ONEDNN
    return cpu::MakeCpuBackend(threads);
#else
    throw Error("backend cpu: this build was made without oneDNN (TRAINYARD_ONEDNN)");
#endif
  }
  throw Error("backend \"" + name + "\" is unknown; expected \"cpu\" or \"reference\"");
}

}  // namespace trainyard::kernels
