#include "coordinator/access/open_calls.h"

#include <spdlog/spdlog.h>

#include <utility>

namespace trainyard::coordinator {

OpenCalls::OpenCalls(Recheck recheck, std::chrono::milliseconds every)
    : recheck_(std::move(recheck)), every_(every), thread_([this] { Run(); }) {}

OpenCalls::~OpenCalls() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

std::unique_ptr<OpenCalls::Entry> OpenCalls::Add(const Caller& caller, End end) {
  if (caller.kind == Caller::Kind::kAnyone) return nullptr;
  std::lock_guard lock(mutex_);
  const int64_t id = ++last_id_;
  calls_.emplace(id, Call{caller, std::move(end)});
  return std::make_unique<Entry>(this, id);
}

void OpenCalls::Remove(int64_t id) {
  std::lock_guard lock(mutex_);
  calls_.erase(id);
}

void OpenCalls::Run() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, every_, [this] { return stopping_; })) {
    // Under the lock, so that no call is ended that is over already.
    for (auto& [id, call] : calls_) {
      if (!call.end) continue;
      const absl::Status status = recheck_(call.caller);
      if (status.ok()) continue;
      spdlog::info("a call of {} is ended: {}", call.caller.Describe(),
                   std::string(status.message()));
      std::exchange(call.end, nullptr)(status);
    }
  }
}

}  // namespace trainyard::coordinator
