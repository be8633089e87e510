// The wire between an attempt's thread and the rest of the worker: what is wanted of it, and how
// far it is. Thread-safe.
//
//   agent:  control.RequestStop(...); control.Abandon(...); control.Adjust(...);
//   runner: if (control.wish() != Wish::kContinue) ...; control.set_step(steps);
//           for (auto& adjustment : control.TakeAdjustments()) ...
//   session, at each renewal: control.step(), control.phase()
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "trainyard/v1/worker.pb.h"

namespace trainyard::agent {

using Clock = std::chrono::steady_clock;

// Each includes what the one before asks for: stopping, then giving up what is left to store, then
// dropping everything. It only ever grows.
enum class Wish {
  kContinue,
  kStop,     // end at the next step boundary, as StopRequest says
  kGiveUp,   // the grace time is over: store nothing more, report how it ended
  kAbandon,  // end at once, nothing more is to be reported
};

struct StopRequest {
  bool checkpoint = true;  // store one first
  bool publish = true;     // and upload it; false: the coordinator is out of reach, keep it here
  std::string reason;      // for people
};

class AttemptControl {
 public:
  // The first request counts; the agent ends the grace time by GiveUp().
  void RequestStop(StopRequest request);
  void GiveUp();
  void Abandon(std::string reason);

  Wish wish() const { return wish_.load(); }
  std::optional<StopRequest> stop() const;
  std::string reason() const;  // of the last change

  // Waits for `duration`, or less if the wish becomes at least `until`. True: the wish is below it.
  bool Sleep(std::chrono::milliseconds duration, Wish until) const;

  // Changes in mid-run, as they come; the same one is sent again until it is answered. Whoever
  // trains takes them between two steps, so that none slips in between a step and its reports.
  void Adjust(v1::Adjustment adjustment);
  std::vector<v1::Adjustment> TakeAdjustments();

  // Progress, for renewals.
  void set_step(int64_t step) { step_.store(step, std::memory_order_relaxed); }
  int64_t step() const { return step_.load(std::memory_order_relaxed); }
  void set_phase(v1::Phase phase) { phase_.store(phase, std::memory_order_relaxed); }
  v1::Phase phase() const { return static_cast<v1::Phase>(phase_.load()); }

  // The runner found, as DeviceLost says, that this process can use its GPU no more: the worker is
  // to leave once the attempt has ended.
  void set_device_lost() { device_lost_.store(true); }
  bool device_lost() const { return device_lost_.load(); }

  // While it lives, `interrupt` is called once as soon as the wish is at least `at`: at once where
  // it is already. It runs on the asking thread and must not block.
  class Interrupt {
   public:
    Interrupt(AttemptControl& control, Wish at, std::function<void()> interrupt);
    ~Interrupt();
    Interrupt(const Interrupt&) = delete;
    Interrupt& operator=(const Interrupt&) = delete;

   private:
    AttemptControl& control_;
    int64_t id_;
  };

 private:
  void Raise(Wish wish);  // with mutex_ held

  std::atomic<Wish> wish_{Wish::kContinue};
  std::atomic<int64_t> step_{0};
  std::atomic<int> phase_{v1::PHASE_LOADING};
  std::atomic<bool> device_lost_{false};
  std::atomic<bool> adjusted_{false};  // something waits to be taken

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::optional<StopRequest> stop_;
  std::string reason_;
  std::vector<v1::Adjustment> adjustments_;
  int64_t next_id_ = 0;
  struct Waiting {
    Wish at;
    std::function<void()> interrupt;
  };
  std::map<int64_t, Waiting> interrupts_;
};

}  // namespace trainyard::agent
