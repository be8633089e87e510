// The GPUs of this machine, and how the process pool shares them out: one to a worker.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/core/request.h"
#include "trainyard/v1/resources.pb.h"

namespace trainyard::coordinator {

// What the worker program says that it can use (`--list-gpus`): a GPU, as JSON, on each line; none:
// this machine has none. In the order of their UUIDs. The environment is that of the workers
// ("NAME=value"), so that what is hidden from us by CUDA_VISIBLE_DEVICES is hidden from them. The
// status says what is wrong with the program: it cannot be run, fails, takes longer than that, or
// says something else.
absl::StatusOr<std::vector<v1::Gpu>> AskForGpus(const std::string& worker_binary,
                                                const std::vector<std::string>& environment,
                                                int64_t timeout_ms);

// So many slots that can do `can`: the first ones have a GPU each, the rest compute on the CPU.
std::vector<core::Abilities> ProcessSlots(int workers, const std::vector<v1::Gpu>& gpus,
                                          const core::Abilities& can);

}  // namespace trainyard::coordinator
