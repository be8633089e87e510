#include "kernels/cuda/emulation/copies.h"

#include <cstring>

#include "kernels/cuda/emulation/machine.h"

namespace trainyard::kernels::cuda::emulation {
namespace {

// With constant sizes, so that sanitizers see plain accesses of the thread that copies.
void Move(void* to, const void* from, int bytes) {
  switch (bytes) {
    case 4:
      std::memcpy(to, from, 4);
      break;
    case 8:
      std::memcpy(to, from, 8);
      break;
    default:
      std::memcpy(to, from, 16);
  }
}

}  // namespace

void Copies::Start(void* to, const void* from, int bytes, bool valid, const Site& site) {
  Copy copy{to, from, bytes, group_, valid, site, {}};
  if (valid) Move(copy.content, from, bytes);
  unsigned char poison[kBytesMax];
  std::memset(poison, 0xff, sizeof poison);
  Move(to, poison, bytes);
  under_way_.push_back(copy);
}

void Copies::Wait(int still_in_flight) {
  std::erase_if(under_way_, [&](const Copy& copy) {
    if (copy.group >= group_ - still_in_flight) return false;
    unsigned char now[kBytesMax] = {};
    if (copy.valid) Move(now, copy.from, copy.bytes);
    if (std::memcmp(now, copy.content, kBytesMax) != 0) {
      Machine::Current().Fail("cp.async at " + Text(copy.site) +
                              ": its source changed before the wait for it");
    }
    Move(copy.to, copy.content, copy.bytes);
    return true;
  });
}

void Copies::Forget() {
  under_way_.clear();
  group_ = 0;
}

}  // namespace trainyard::kernels::cuda::emulation
