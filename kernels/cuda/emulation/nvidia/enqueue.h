// The emulated machine's streams, for files that see NVIDIA's headers instead of its own.
#pragma once

#include <functional>

namespace trainyard::kernels::cuda::emulation::nvidia {

// Does `work` on `stream` (the emulated machine's cudaStream_t, or null: the default one): now, or,
// while the stream captures, at each replay. False where the stream refuses it.
bool Enqueue(void* stream, std::function<void()> work);

}  // namespace trainyard::kernels::cuda::emulation::nvidia
