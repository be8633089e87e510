// What a worker computes with: from --backend, and what the machine has.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/cuda_module.h"

namespace trainyard::agent {

struct BackendChoice {
  std::string backend;  // for kernels::MakeBackend
  std::string reason;   // why not another one, in one line; empty where nobody would ask
};

// `wanted` is "auto", "cpu", "cuda" or "reference"; `probe` is asked only if GPUs matter.
// FAILED_PRECONDITION: it cannot be had here, and why.
absl::StatusOr<BackendChoice> ChooseBackend(
    const std::string& wanted,
    const std::function<kernels::CudaProbe()>& probe = [] { return kernels::ProbeCuda(); });

}  // namespace trainyard::agent
