// Where in device memory batches lie that a program was asked to work on.
#pragma once

#include <cstdint>

#include "kernels/cuda/step_block.h"

namespace trainyard::kernels::cuda {

struct Placement {
  BatchSource source;
  int64_t batches = 0;  // so many of those asked for
  // The images lie one after another from image `first` on; else each where its index says.
  bool side_by_side = false;
  int64_t first = 0;
};

}  // namespace trainyard::kernels::cuda
