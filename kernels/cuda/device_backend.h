// A backend and its programs on one of several GPUs. The CUDA runtime keeps a current device per
// thread, so it is set wherever a thread enters.
#pragma once

#include <functional>
#include <memory>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda {

// `make` is called with `device` as the current one, and so is all that its backend can do. Throws
// what `make` throws, and Error where the device cannot be used.
std::unique_ptr<Backend> OnDevice(int device,
                                  const std::function<std::unique_ptr<Backend>()>& make);

}  // namespace trainyard::kernels::cuda
