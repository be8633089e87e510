// The CUDA program as a backend. Compiled for a GPU it is `cuda`; for the emulated machine it is
// `emulated`, which computes the same with the same kernels, thousands of times slower, for tests.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/precision.h"

namespace trainyard::kernels::cuda {

struct CudaOptions {
  Precision precision = Precision::kFp32;
  std::string cache_folder = {};  // for what takes long to find out again; empty: nothing is kept
  bool libraries = true;          // NVIDIA's, where the build has them; else our kernels alone
  int64_t data_bytes_max = 0;     // of device memory for data sets; 0: what is free
};

// On the current device. Programs are lowered, run and destroyed by one thread at a time.
std::unique_ptr<Backend> MakeCudaBackend(const CudaOptions& options);

}  // namespace trainyard::kernels::cuda
