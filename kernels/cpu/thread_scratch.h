// Memory for one item's work, of those that a loop spreads over threads.
#pragma once

#include <omp.h>

#include <cstdint>

namespace trainyard::kernels::cpu {

// Slots of `floats` each, one behind another: as many as there are threads, or items if those are
// fewer.
struct ThreadScratch {
  float* base = nullptr;
  int64_t floats = 0;  // a multiple of 16

  // For item `item` of `items`, within the loop: its thread's, or its own where threads abound.
  float* Of(int64_t item, int64_t items) const {
    return base + (items < omp_get_num_threads() ? item : omp_get_thread_num()) * floats;
  }
};

}  // namespace trainyard::kernels::cpu
