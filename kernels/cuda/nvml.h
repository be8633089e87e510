// How much a GPU is used, from NVIDIA's management library, which comes with the driver and is
// loaded when first asked.
#pragma once

#include <cstdint>
#include <string>

namespace trainyard::kernels::cuda {

// -1: not known.
struct NvmlUse {
  int64_t memory_used_bytes = -1;
  int busy_percent = -1;  // share of the last second or less in which a kernel ran
};

// Of the GPU with this UUID ("GPU-..."); from any thread. Nothing is known where there is no such
// GPU, or no such library.
NvmlUse UseByNvml(const char* uuid);

// "580.65.06"; empty where there is no such library.
std::string DriverVersionByNvml();

}  // namespace trainyard::kernels::cuda
