#include "worker/agent/choose_backend.h"

#include "absl/strings/str_cat.h"

namespace trainyard::agent {
namespace {

std::string Describe(const kernels::CudaDevice& device) {
  return absl::StrCat(device.name, " (", device.uuid, ", ", device.memory_bytes >> 20,
                      " MiB, compute capability ", device.compute_major, ".", device.compute_minor,
                      ")");
}

// Why GPUs are not trained on.
std::string WhyNotCuda(const kernels::CudaProbe& probe) {
  const std::string with =
      probe.versions.empty() ? std::string() : absl::StrCat(" (", probe.versions, ")");
  if (probe.devices.empty()) return absl::StrCat(probe.problem, with);
  std::string text = "this version does not train on GPUs yet; there";
  for (size_t i = 0; i < probe.devices.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? " is " : ", ", Describe(probe.devices[i]));
  }
  return absl::StrCat(text, with);
}

}  // namespace

absl::StatusOr<BackendChoice> ChooseBackend(const std::string& wanted,
                                            const std::function<kernels::CudaProbe()>& probe) {
  if (wanted == "cuda") {
    return absl::FailedPreconditionError(absl::StrCat("--backend cuda: ", WhyNotCuda(probe())));
  }
  if (wanted == "auto") return BackendChoice{"cpu", WhyNotCuda(probe())};
  return BackendChoice{wanted, ""};
}

}  // namespace trainyard::agent
