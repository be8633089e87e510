// The worker as a whole: one attempt at a time, one session, one decision loop.
//
// Everything that happens (commands, the end of an attempt, signals, orphanhood) comes as an event
// to Run()'s thread, which alone decides; an attempt runs on a thread of its own, the session on
// its own two. Nothing is kept on disk that a worker needs to come back: after kill -9 the
// coordinator starts the attempt elsewhere.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>

#include "trainyard/v1/worker.pb.h"
#include "worker/agent/attempt_runner.h"
#include "worker/agent/session.h"

namespace trainyard::agent {

// How the process ends. A signal gives 128 + its number, as shells do: 143 for SIGTERM.
inline constexpr int kExitDismissed = 0;  // told to by the coordinator
inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnreachable = 6;  // no coordinator for the orphan limit
inline constexpr int kExitRefused = 8;      // the coordinator does not let this worker in
inline constexpr int kExitDeviceLost = 9;   // its process can use its GPU no more
inline constexpr int kExitSigterm = 143;

struct AgentOptions {
  SessionOptions session;
  // After a signal: from then on until the process has ended, checkpoint stored or not.
  std::chrono::milliseconds grace{25'000};
};

class Agent {
 public:
  // Both outlive the agent.
  Agent(std::shared_ptr<grpc::Channel> session_channel, AttemptRunner& runner,
        AgentOptions options);
  ~Agent();

  // Works until told to leave; returns the exit code. Once.
  int Run();

  // Checkpoint, say goodbye, end Run with `exit_code`. From any thread.
  void Leave(std::string reason, int exit_code);

  // True once an orphaned attempt left a checkpoint in the work folder.
  bool left_checkpoint() const { return left_checkpoint_; }

 private:
  struct Ended {
    v1::AttemptRef attempt;
    std::optional<v1::AttemptEnded> report;
  };
  struct LeaveRequested {
    std::string reason;
    int exit_code;
  };
  struct Orphaned {};
  struct Refused {
    std::string why;
  };
  using Event = std::variant<v1::CoordinatorMessage, Ended, LeaveRequested, Orphaned, Refused>;

  struct Attempt {
    v1::Start start;
    std::shared_ptr<AttemptControl> control = std::make_shared<AttemptControl>();
    std::optional<Clock::time_point> give_up_at;
    std::thread thread;
  };
  struct Leaving {
    std::string goodbye;  // empty: without a word
    int exit_code;
    Clock::time_point deadline;
  };

  void Post(Event event);
  std::optional<Event> Next();
  Clock::time_point Deadline() const;

  void On(v1::CoordinatorMessage message);
  void On(Ended ended);
  void On(LeaveRequested request);
  void On(Orphaned);
  void On(Refused refused);
  void OnStart(v1::Start start);
  void OnStop(const v1::Stop& stop);
  void OnAdjust(v1::Adjust adjust);
  void OnSuperseded(const v1::Superseded& superseded);
  void Launch(std::unique_ptr<Attempt> attempt);
  void StopAttempt(StopRequest request, Clock::time_point give_up_at);
  void LeaveWithoutDevice();
  void CheckDeadlines();
  int Farewell();

  const AgentOptions options_;
  AttemptRunner& runner_;

  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<Event> events_;

  // Run()'s own.
  std::unique_ptr<Attempt> current_;  // its thread may still be winding down
  std::unique_ptr<Attempt> next_;     // waits for that
  std::optional<Leaving> leaving_;
  bool left_checkpoint_ = false;

  Session session_;  // last: its threads post events
};

}  // namespace trainyard::agent
