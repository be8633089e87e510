// Where the lanes of a warp meet for one operation: each leaves a value and, once all that the mask
// names have come, takes what it needs from the others'.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <source_location>
#include <vector>

#include "kernels/cuda/emulation/sanitizers.h"

namespace trainyard::kernels::cuda::emulation {

constexpr unsigned kLanes = 32;

// Where a kernel called what can wait.
using Site = std::source_location;
bool SameLine(const Site& a, const Site& b);

struct CudaThread;

struct WarpOperation {
  const char* name;
  bool aligned = false;  // PTX's .aligned: all lanes execute the same instruction, on one line
  // If any: what the last lane to come does with the values of all.
  void (*combine)(struct WarpMeeting& meeting) = nullptr;
};

struct WarpMeeting {
  static constexpr size_t kValueBytes = 32;

  bool Expects(unsigned lane) const { return (mask & ~arrived) >> lane & 1; }

  const WarpOperation* operation = nullptr;
  Site site;  // of the first to come
  uint32_t mask = 0, arrived = 0, departed = 0;
  bool complete = false;
  std::vector<CudaThread*> waiting;
  Edge edge;
  alignas(16) unsigned char values[kLanes][kValueBytes];
};

// The meetings of one warp that somebody is still in.
class Warp {
 public:
  // `lanes`: how many of the 32 the block has; the others count as exited.
  void StartBlock(unsigned lanes);

  // The meeting for `mask` that waits for `lane`, or a new one. The latter has no operation.
  WarpMeeting& Find(uint32_t mask, unsigned lane);
  // Whether all have come that have not exited; true once for each meeting.
  bool Completes(WarpMeeting& meeting) const;
  void Depart(WarpMeeting& meeting, unsigned lane);
  void Exit(unsigned lane) { exited_ |= 1u << lane; }

  uint32_t live() const { return ~exited_; }
  const std::vector<WarpMeeting*>& meetings() const { return meetings_; }

 private:
  uint32_t exited_ = 0;
  std::vector<WarpMeeting*> meetings_, spare_;
  std::vector<std::unique_ptr<WarpMeeting>> all_;
};

}  // namespace trainyard::kernels::cuda::emulation
