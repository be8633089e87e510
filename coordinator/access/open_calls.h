// Calls that stay open for long: sessions, watchers, transfers. Who was let in once is asked again
// every second, and put out when the token has died meanwhile.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "coordinator/access/policy.h"

namespace trainyard::coordinator {

// Thread-safe.
class OpenCalls {
 public:
  using Recheck = std::function<absl::Status(const Caller&)>;
  using End = std::function<void(const absl::Status& why)>;

  explicit OpenCalls(Recheck recheck,
                     std::chrono::milliseconds every = std::chrono::milliseconds(1000));
  ~OpenCalls();

  // One call, for as long as this object lives.
  class Entry {
   public:
    Entry(OpenCalls* calls, int64_t id) : calls_(calls), id_(id) {}
    Entry(const Entry&) = delete;
    ~Entry() { calls_->Remove(id_); }

   private:
    OpenCalls* const calls_;
    const int64_t id_;
  };

  // `end` is called once at most, and not any more when the entry is gone; it must not block, nor
  // destroy an entry. Nothing comes back for a caller whom nobody asks.
  std::unique_ptr<Entry> Add(const Caller& caller, End end);

 private:
  struct Call {
    Caller caller;
    End end;
  };
  void Remove(int64_t id);
  void Run();

  const Recheck recheck_;
  const std::chrono::milliseconds every_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, Call> calls_;
  int64_t last_id_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace trainyard::coordinator
