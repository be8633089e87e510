// `trainyard-worker --list-gpus`: which GPUs a worker could train on, for a coordinator to share
// out.
#pragma once

#include "kernels/cuda_module.h"

namespace trainyard::agent {

// A line of JSON (v1::Gpu) on standard output for each; without any, why, on standard error.
// Returns 0: to have none is no error.
int ListGpus(const kernels::CudaProbe& probe);

}  // namespace trainyard::agent
