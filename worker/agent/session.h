// The worker's one conversation with the coordinator, over whatever connections it takes.
//
// One thread registers, opens a session, writes and renews; a second one reads while a session is
// open. A session that breaks is opened again, with pauses that grow and scatter; what was not
// acknowledged is sent again. Training never waits for any of it, but for an epoch's report when a
// great many of them are unacknowledged.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "proto/access.h"
#include "trainyard/v1/worker.grpc.pb.h"
#include "worker/agent/report_buffer.h"
#include "worker/agent/retry.h"
#include "worker/agent/uplink.h"

namespace trainyard::agent {

struct SessionOptions {
  v1::RegisterRequest identity;                            // incarnation included
  AccessKeys keys;                                         // of the channel, to explain failures
  std::chrono::milliseconds orphan_limit{30 * 60 * 1000};  // until the coordinator has said its own
  // Of its GPU, at every renewal; must not block. Empty: it has none.
  std::function<std::optional<v1::GpuUse>()> gpu_use = {};
  size_t reports_max = 100'000;  // unacknowledged ones, before the next epoch's report waits
};

class Session : public Uplink {
 public:
  // Called on the session's threads; must neither block nor call the session. Start, Stop, Adjust,
  // Superseded and Shutdown as they come; `on_orphaned` once, when the coordinator was out of reach
  // for the orphan limit; `on_refused` once, when the coordinator does not let this worker in and
  // no attempt is being worked on that could outlast it.
  struct Listener {
    std::function<void(v1::CoordinatorMessage)> on_command;
    std::function<void()> on_orphaned;
    std::function<void(std::string why)> on_refused;
  };

  Session(std::shared_ptr<grpc::Channel> channel, SessionOptions options, Listener listener);
  ~Session() override;

  void Start();

  // From now on this attempt is renewed, and named when a session is opened. Its lease starts now.
  void Hold(const v1::AttemptRef& attempt, std::shared_ptr<AttemptControl> control);

  // True from Hold until the last report is acknowledged, or the attempt released.
  bool Holds(const v1::AttemptRef& attempt);

  // The attempt's last report. It is held until the coordinator has acknowledged this one.
  void ReportEnded(v1::AttemptEnded ended);

  // The attempt is nobody's business any more: no renewals, and what waits of it is forgotten.
  void Release(const v1::AttemptRef& attempt);

  void Report(v1::WorkerMessage report, AttemptControl& control) override;
  bool WaitForLease(std::chrono::milliseconds timeout) override;

  // Waits until everything is acknowledged, or until `deadline`; returns whether it is.
  bool WaitForAcknowledgements(Clock::time_point deadline);

  // Ends the session, saying goodbye with a reason unless it is empty.
  void Close(const std::string& goodbye);

 private:
  using Stream = grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>;

  void Run();
  bool Register();
  grpc::Status Converse();
  void Write(Stream& stream);
  void SayGoodbye(Stream& stream, std::unique_lock<std::mutex>& lock);
  void Read(Stream& stream);
  void Handle(v1::CoordinatorMessage message);
  v1::WorkerMessage Renewal() const;              // with mutex_ held
  void CheckOrphaned(bool connected);             // with mutex_ held
  bool CheckRefused(const grpc::Status& status);  // whether there is no point in going on
  void ReleaseLocked(const v1::AttemptRef& attempt);
  void Pause();

  // Constant after construction.
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::WorkerGateway::Stub> stub_;
  const SessionOptions options_;
  const Listener listener_;

  // The session thread's own.
  Backoff backoff_;
  std::string last_failure_;

  std::mutex mutex_;
  std::condition_variable changed_;
  ReportBuffer reports_;
  int64_t worker_ = 0;  // 0: not registered, or forgotten
  std::chrono::milliseconds lease_{5'000}, renew_every_{1'000}, orphan_limit_;
  grpc::ClientContext* registering_ = nullptr;  // of the call under way
  bool broken_ = false;                         // the open session has ended
  bool closing_ = false;
  std::string goodbye_;
  Clock::time_point last_contact_ = Clock::now();
  bool orphaned_ = false;
  bool refused_ = false;

  struct Held {
    v1::AttemptRef attempt;
    std::shared_ptr<AttemptControl> control;
    int64_t ended_sequence = 0;  // of its last report; 0: not ended
    Clock::time_point lease_until;
    std::optional<Clock::time_point> asked;  // when the first renewal without an answer was sent
  };
  std::optional<Held> held_;

  std::thread thread_;
};

}  // namespace trainyard::agent
