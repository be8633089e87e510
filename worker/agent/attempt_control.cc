#include "worker/agent/attempt_control.h"

#include <utility>

namespace trainyard::agent {

void AttemptControl::RequestStop(StopRequest request) {
  std::lock_guard lock(mutex_);
  if (stop_) return;
  reason_ = request.reason;
  stop_ = std::move(request);
  Raise(Wish::kStop);
}

void AttemptControl::GiveUp() {
  std::lock_guard lock(mutex_);
  Raise(Wish::kGiveUp);
}

void AttemptControl::Abandon(std::string reason) {
  std::lock_guard lock(mutex_);
  reason_ = std::move(reason);
  Raise(Wish::kAbandon);
}

std::optional<StopRequest> AttemptControl::stop() const {
  std::lock_guard lock(mutex_);
  return stop_;
}

std::string AttemptControl::reason() const {
  std::lock_guard lock(mutex_);
  return reason_;
}

bool AttemptControl::Sleep(std::chrono::milliseconds duration, Wish until) const {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, duration, [&] { return wish_.load() >= until; });
}

void AttemptControl::Adjust(v1::Adjustment adjustment) {
  std::lock_guard lock(mutex_);
  std::erase_if(adjustments_,
                [&](const auto& waiting) { return waiting.number() == adjustment.number(); });
  adjustments_.push_back(std::move(adjustment));
  adjusted_ = true;
}

std::vector<v1::Adjustment> AttemptControl::TakeAdjustments() {
  if (!adjusted_) return {};  // asked in every step
  std::lock_guard lock(mutex_);
  adjusted_ = false;
  return std::exchange(adjustments_, {});
}

void AttemptControl::Raise(Wish wish) {
  if (wish <= wish_.load()) return;
  wish_.store(wish);
  for (auto& [id, waiting] : interrupts_) {
    if (waiting.interrupt && waiting.at <= wish) std::exchange(waiting.interrupt, nullptr)();
  }
  changed_.notify_all();
}

AttemptControl::Interrupt::Interrupt(AttemptControl& control, Wish at,
                                     std::function<void()> interrupt)
    : control_(control) {
  // Called under the lock, so that the destructor waits for a call under way: what it interrupts is
  // alive for as long as the guard is.
  std::lock_guard lock(control_.mutex_);
  id_ = control_.next_id_++;
  if (control_.wish_.load() >= at) {
    interrupt();
  } else {
    control_.interrupts_[id_] = {at, std::move(interrupt)};
  }
}

AttemptControl::Interrupt::~Interrupt() {
  std::lock_guard lock(control_.mutex_);
  control_.interrupts_.erase(id_);
}

}  // namespace trainyard::agent
