// One worker's bidirectional stream: its messages become events, effects become messages to it.
//
// Messages to the worker wait in a bounded queue; a worker that does not read is cut off, and comes
// back. The stream is finished only once that queue is drained.
#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "coordinator/access/open_calls.h"
#include "coordinator/core/event.h"
#include "coordinator/core/ids.h"
#include "trainyard/v1/worker.grpc.pb.h"

namespace trainyard::coordinator {

class WorkerSession;

// What a session needs of its gateway. All are called without the session's lock.
class SessionOwner {
 public:
  virtual ~SessionOwner() = default;
  // NOT_FOUND if no such worker is registered: it has to register again.
  virtual absl::Status Opened(WorkerSession* session, const v1::Hello& hello) = 0;
  // An error ends the session; the worker comes back and resends.
  virtual absl::Status Received(core::WorkerId worker, const v1::WorkerMessage& message) = 0;
  // The last call; the session is gone after it.
  virtual void Closed(WorkerSession* session) = 0;
};

class WorkerSession final
    : public grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage> {
 public:
  // Deletes itself when the stream is over. `launch`: whose workers the caller may speak for, as
  // SpeaksFor says.
  WorkerSession(SessionOwner* owner, grpc::CallbackServerContext* context, size_t queue_max,
                std::optional<int64_t> launch);

  core::WorkerId worker() const { return worker_; }
  std::optional<int64_t> launch() const { return launch_; }

  // Held until the stream is over; given before its handler returns.
  void Keep(std::unique_ptr<OpenCalls::Entry> entry) { entry_ = std::move(entry); }

  void Send(v1::CoordinatorMessage message);
  // Finishes the stream after what waits was sent. The first call counts.
  void Close(const absl::Status& status);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  absl::Status Handle(const v1::WorkerMessage& message);
  // With mutex_ held.
  void WriteNext();
  void FinishIfDrained();

  SessionOwner* const owner_;
  grpc::CallbackServerContext* const context_;
  const size_t queue_max_;
  const std::optional<int64_t> launch_;
  std::unique_ptr<OpenCalls::Entry> entry_;

  v1::WorkerMessage incoming_;  // the reader's
  core::WorkerId worker_;       // set by the first message, before anybody else knows the session

  std::mutex mutex_;
  std::deque<v1::CoordinatorMessage> queue_;  // the front one is being written while writing_
  bool writing_ = false;
  bool broken_ = false;  // nothing more can be written
  bool finished_ = false;
  std::optional<absl::Status> closing_;
};

}  // namespace trainyard::coordinator
