// Virtual time: actions at their time, those of one time in the order in which they were planned.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

namespace trainyard::sim {

class Clock {
 public:
  int64_t now_ms() const { return now_ms_; }

  void After(int64_t delay_ms, std::function<void()> action) {
    actions_.emplace(std::pair(now_ms_ + delay_ms, ++planned_), std::move(action));
  }

  // Performs the next action. False: nothing is planned.
  bool Advance() {
    if (actions_.empty()) return false;
    auto next = actions_.extract(actions_.begin());
    now_ms_ = next.key().first;
    next.mapped()();
    return true;
  }

 private:
  int64_t now_ms_ = 0;
  int64_t planned_ = 0;
  std::map<std::pair<int64_t, int64_t>, std::function<void()>> actions_;
};

}  // namespace trainyard::sim
