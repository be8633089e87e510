#include "worker/agent/choose_backend.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace trainyard::agent {

v1::Gpu Describe(const kernels::CudaDevice& device, const kernels::CudaProbe& probe) {
  v1::Gpu gpu;
  gpu.set_name(device.name);
  gpu.set_uuid(device.uuid);
  gpu.set_memory_bytes(device.memory_bytes);
  gpu.set_driver(probe.driver);
  gpu.set_compute_capability(absl::StrCat(device.compute_major, ".", device.compute_minor));
  return gpu;
}

namespace {

std::string InParentheses(const std::string& text) {
  return text.empty() ? text : absl::StrCat(" (", text, ")");
}

// Takes the first GPU that is free, or says in one line why none can be taken.
BackendChoice ClaimGpu(const kernels::CudaProbe& probe, const std::string& claim_folder) {
  if (probe.devices.empty()) {
    return {"cpu", absl::StrCat(probe.problem, InParentheses(probe.versions)), std::nullopt};
  }
  std::string trouble;
  for (const kernels::CudaDevice& device : probe.devices) {
    absl::StatusOr<GpuClaim> claim = GpuClaim::Take(claim_folder, device.uuid);
    if (!claim.ok()) {
      if (!absl::IsUnavailable(claim.status())) trouble = std::string(claim.status().message());
      continue;
    }
    ClaimedGpu gpu{Describe(device, probe), probe.visible_count <= 1, *std::move(claim)};
    std::string reason =
        absl::StrCat(device.name, InParentheses(device.uuid), ": ", device.memory_bytes >> 20,
                     " MiB, compute capability ", gpu.gpu.compute_capability(), ", driver ",
                     probe.driver, "; ", probe.versions);
    return {"cuda", std::move(reason), std::move(gpu)};
  }
  if (!trouble.empty()) {
    return {"cpu", absl::StrCat("its GPU cannot be claimed: ", trouble), std::nullopt, true};
  }
  const size_t count = probe.devices.size();
  return {"cpu",
          count == 1
              ? absl::StrCat("the GPU ", probe.devices[0].name, " is taken by another worker")
              : absl::StrCat("all ", count, " GPUs are taken by other workers"),
          std::nullopt, true};
}

}  // namespace

absl::StatusOr<BackendChoice> ChooseBackend(const std::string& wanted,
                                            const std::string& claim_folder,
                                            const std::function<kernels::CudaProbe()>& probe) {
  if (wanted != "auto" && wanted != "cuda") return BackendChoice{wanted, "", std::nullopt};
  BackendChoice choice = ClaimGpu(probe(), claim_folder);
  if (!choice.gpu && wanted == "cuda") {
    return absl::FailedPreconditionError(absl::StrCat("--backend cuda: ", choice.reason));
  }
  return choice;
}

std::string DeviceText(const BackendChoice& choice, int threads) {
  if (choice.gpu) return absl::StrCat(choice.backend, ", ", choice.gpu->gpu.name());
  return absl::StrCat(choice.backend, ", ", threads, threads == 1 ? " thread" : " threads");
}

}  // namespace trainyard::agent
