#include "kernels/cuda/emulation/warp.h"

#include <algorithm>

namespace trainyard::kernels::cuda::emulation {

bool SameLine(const Site& a, const Site& b) {
  return a.line() == b.line() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

void Warp::StartBlock(unsigned lanes) {
  exited_ = lanes == kLanes ? 0 : ~0u << lanes;
  spare_.insert(spare_.end(), meetings_.begin(), meetings_.end());
  meetings_.clear();
}

WarpMeeting& Warp::Find(uint32_t mask, unsigned lane) {
  for (WarpMeeting* meeting : meetings_) {
    if (meeting->mask == mask && !meeting->complete && meeting->Expects(lane)) return *meeting;
  }
  if (spare_.empty()) {
    const Unobserved unobserved;
    all_.push_back(std::make_unique<WarpMeeting>());
    all_.back()->waiting.reserve(kLanes);
    meetings_.reserve(all_.size());
    spare_.reserve(all_.size());
    spare_.push_back(all_.back().get());
  }
  WarpMeeting* meeting = spare_.back();
  spare_.pop_back();
  meetings_.push_back(meeting);
  meeting->operation = nullptr;
  meeting->mask = mask;
  meeting->arrived = meeting->departed = 0;
  meeting->complete = false;
  meeting->waiting.clear();  // of a kernel that failed
  meeting->edge.Renew();
  return *meeting;
}

bool Warp::Completes(WarpMeeting& meeting) const {
  if (meeting.complete || (meeting.mask & ~meeting.arrived & live()) != 0) return false;
  meeting.complete = true;
  return true;
}

void Warp::Depart(WarpMeeting& meeting, unsigned lane) {
  meeting.departed |= 1u << lane;
  if (meeting.departed != meeting.arrived) return;
  *std::find(meetings_.begin(), meetings_.end(), &meeting) = meetings_.back();
  meetings_.pop_back();
  spare_.push_back(&meeting);
}

}  // namespace trainyard::kernels::cuda::emulation
