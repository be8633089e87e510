// What the instructions of kernels/cuda/instructions.h do here; they say what that is.
#pragma once

#include <cstdint>

#include "kernels/cuda/emulation/warp.h"

namespace trainyard::kernels::cuda::emulation {

void MmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const Site& site);
void MmaTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const Site& site);
void LoadMatrices(uint32_t (&out)[4], const void* shared_row, bool transposed, const Site& site);
void StartCopy(void* shared, const void* global, int bytes, bool valid, const Site& site);
void CommitCopies();
void WaitForCopies(int still_in_flight);

}  // namespace trainyard::kernels::cuda::emulation
