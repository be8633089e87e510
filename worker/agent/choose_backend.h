// What a worker computes with: from --backend, what the machine has, and what other workers left.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/cuda_module.h"
#include "trainyard/v1/resources.pb.h"
#include "worker/agent/gpu_claim.h"

namespace trainyard::agent {

// A GPU that no other worker of the host has, as long as this is kept.
struct ClaimedGpu {
  v1::Gpu gpu;
  bool only = true;  // the process sees no other
  GpuClaim claim;
};

struct BackendChoice {
  std::string backend;  // for kernels::MakeBackend
  std::string reason;   // which GPU it is, or why it is none, in one line; empty where nobody asks
  std::optional<ClaimedGpu> gpu;  // with backend "cuda" alone
  bool of_others = false;         // GPUs are here, and none is this worker's
};

// `wanted` is "auto", "cpu", "cuda" or "reference"; `probe` is asked, and a GPU claimed in the
// folder, only if GPUs matter. FAILED_PRECONDITION: it cannot be had here, and why.
absl::StatusOr<BackendChoice> ChooseBackend(
    const std::string& wanted, const std::string& claim_folder,
    const std::function<kernels::CudaProbe()>& probe = [] { return kernels::ProbeCuda(); });

// One of the probe's devices.
v1::Gpu Describe(const kernels::CudaDevice& device, const kernels::CudaProbe& probe);

// "cuda, NVIDIA H100 80GB HBM3", "cpu, 2 threads"
std::string DeviceText(const BackendChoice& choice, int threads);

}  // namespace trainyard::agent
