// One CUDA thread's asynchronous copies (cp.async). A GPU may read and write at any time until the
// thread waits for them. So NaN is where they go to until then, which shows a missing wait, and the
// source is read twice, at the start and at the wait: it must be the same, and a race detector sees
// who writes to it in between.
#pragma once

#include <vector>

#include "kernels/cuda/emulation/warp.h"

namespace trainyard::kernels::cuda::emulation {

class Copies {
 public:
  // Where not `valid`: of zeros.
  void Start(void* to, const void* from, int bytes, bool valid, const Site& site);
  void Commit() { ++group_; }
  // Lands all groups but the newest `still_in_flight`.
  void Wait(int still_in_flight);
  void Forget();

 private:
  static constexpr int kBytesMax = 16;
  struct Copy {
    void* to;
    const void* from;
    int bytes, group;
    bool valid;
    Site site;
    unsigned char content[kBytesMax];
  };
  std::vector<Copy> under_way_;
  int group_ = 0;
};

}  // namespace trainyard::kernels::cuda::emulation
