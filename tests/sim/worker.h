// A worker process as the coordinator sees it: registers, holds a session, trains the toy, reports,
// resends what was not acknowledged, and does what it is told.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/core/effect.h"
#include "coordinator/core/event.h"
#include "tests/sim/clock.h"
#include "tests/sim/random.h"
#include "tests/sim/toy.h"

namespace trainyard::sim {

// An effect as it is on the wire, with what the gateway adds to it.
struct Order {
  core::Effect effect;
  std::vector<core::Adjustment> adjustments = {};  // StartAttempt: all; AdjustAttempt: the one
  int until_epoch = 0;                             // StartAttempt
};

// What the world offers to a worker.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  virtual Clock& clock() = 0;
  virtual Random& random() = 0;
  virtual std::map<std::string, Blob>& blobs() = 0;
  virtual const network::Configuration& ConfigurationOf(core::TrialId trial) = 0;

  // Over the network, to the coordinator; may take long or get lost. `process` names the sender.
  virtual void Register(int process) = 0;
  virtual void Connect(int process) = 0;
  virtual void Send(int process, core::Event event) = 0;

  // A trial's first step is about to be done with these weights.
  virtual void Started(core::TrialId trial, uint64_t weights) = 0;

  // What the claim was to start from is not in the store.
  virtual void Missing(const core::Claim& claim, const std::string& sha256) = 0;

  virtual void Exited(int process, core::ExitKind kind, int number) = 0;
  virtual void Violation(const std::string& what) = 0;
  virtual bool ordered() const = 0;  // messages of a session arrive in order, as on a real one
};

class Worker {
 public:
  Worker(Surroundings& world, int process, core::LaunchId launch)
      : process_(process), launch_(launch), world_(world) {}

  // ---- The process. ----
  void Boot();
  void Die(core::ExitKind kind, int number);
  void Freeze(int64_t for_ms) {
    frozen_until_ms_ = std::max(frozen_until_ms_, world_.clock().now_ms() + for_ms);
  }
  void Hang() { hung_ = true; }  // the training thread only
  void FailSoon(core::Outcome outcome) { fail_ = outcome; }
  bool alive() const { return alive_; }
  bool frozen() const { return world_.clock().now_ms() < frozen_until_ms_; }
  core::LaunchId launch() const { return launch_; }
  core::WorkerId id() const { return id_; }
  bool training() const { return job_ && !job_->start.finishing && !job_->ended; }

  // ---- What arrives. ----
  void Registered(core::WorkerId id);
  void Opened();  // the session; says hello and resends
  void Closed();
  void Refused();  // registration is not possible: the process ends
  void Hear(const Order& order);

  // A report that was not acknowledged yet, or nullptr.
  const core::Event* Unacknowledged(int64_t sequence) const;
  bool Uploaded(const std::string& sha256) const;  // and told of, but not acknowledged

  core::Claim claim() const { return job_ ? job_->start.claim : core::Claim{}; }

 private:
  struct Assignment {
    core::StartAttempt start;
    std::vector<core::Adjustment> adjustments;
    int until_epoch = 0;
    uint64_t weights = 0;
    int64_t step = 0;
    bool loaded = false;
    bool ended = false;  // reported, not acknowledged yet
    std::optional<core::StopAttempt> stop;
    std::map<int64_t, core::Event> reports;  // not acknowledged
  };

  void Do(const Order& order);
  void Beat();
  void Resend();
  void Begin(const core::StartAttempt& start, const Order& order);
  void Adjust(int number, const core::Adjustment& adjustment);
  const network::Configuration& Effective();  // of the step that comes next
  bool Complete();
  void Load();
  void Train();
  void EndEpoch();
  void StoreCheckpoint(bool end_of_epoch);
  void End(core::Outcome outcome, const std::string& message);
  template <typename Report>
  void Tell(Report report);
  // Runs the action later, unless the process died or the assignment changed meanwhile.
  void Later(int64_t delay_ms, std::function<void()> action, bool of_assignment);

  const int process_;
  const core::LaunchId launch_;
  Surroundings& world_;
  bool alive_ = true;
  bool hung_ = false;
  bool connected_ = false;
  bool device_lost_ = false;  // leaves as soon as that is heard
  int64_t frozen_until_ms_ = 0;
  core::WorkerId id_;
  int64_t sequence_ = 0;
  int64_t assignments_ = 0;
  int64_t sessions_ = 0;
  std::optional<core::Outcome> fail_;
  std::optional<Assignment> job_;
};

}  // namespace trainyard::sim
