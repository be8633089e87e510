// What a device can do, measured: the ceilings that the device table holds kernels against.
#pragma once

#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda::testing {

struct Peaks {
  // Read and written by a large copy within the device, the driver's or a kernel's.
  double bytes_per_second = 0;
  // Operations per second out of registers: fp32 multiply-adds, and tensor cores through `mma`,
  // the instruction that our kernels use. (Hopper's wgmma is faster.)
  double fp32 = 0, tf32 = 0, bf16 = 0;

  double Flops(Precision precision) const {
    return precision == Precision::kFp32 ? fp32 : precision == Precision::kTf32 ? tf32 : bf16;
  }
};

// `small`: runs the code at a size for the emulated machine.
Peaks MeasurePeaks(bool small);

}  // namespace trainyard::kernels::cuda::testing
