#include "coordinator/rpc/worker_session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/status.h"

namespace trainyard::coordinator {

WorkerSession::WorkerSession(SessionOwner* owner, grpc::CallbackServerContext* context,
                             size_t queue_max, std::optional<int64_t> launch)
    : owner_(owner), context_(context), queue_max_(queue_max), launch_(launch) {
  StartRead(&incoming_);
}

void WorkerSession::OnReadDone(bool ok) {
  if (!ok) {  // the worker has closed its side, or the connection is gone
    Close(absl::OkStatus());
    return;
  }
  if (const absl::Status status = Handle(incoming_); !status.ok()) {
    Close(status);
    return;
  }
  StartRead(&incoming_);
}

absl::Status WorkerSession::Handle(const v1::WorkerMessage& message) {
  if (worker_) {
    if (message.has_hello()) {
      return absl::InvalidArgumentError("found a second Hello, expected one per session");
    }
    return owner_->Received(worker_, message);
  }
  if (!message.has_hello()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the first message of a session has to be Hello, found kind ",
                     static_cast<int>(message.message_case())));
  }
  worker_ = core::WorkerId{message.hello().worker()};
  return owner_->Opened(this, message.hello());
}

void WorkerSession::Send(v1::CoordinatorMessage message) {
  std::lock_guard lock(mutex_);
  if (closing_ || broken_) return;
  if (queue_.size() >= queue_max_) {
    // It does not read. What it misses comes again when it is back.
    context_->TryCancel();
    broken_ = true;
    return;
  }
  queue_.push_back(std::move(message));
  WriteNext();
}

void WorkerSession::Close(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  if (!closing_) closing_ = status;
  FinishIfDrained();
}

void WorkerSession::WriteNext() {
  if (writing_ || broken_ || queue_.empty()) return;
  writing_ = true;
  StartWrite(&queue_.front());
}

void WorkerSession::FinishIfDrained() {
  if (finished_ || !closing_ || writing_ || (!broken_ && !queue_.empty())) return;
  finished_ = true;
  Finish(ToGrpc(*closing_));
}

void WorkerSession::OnWriteDone(bool ok) {
  std::lock_guard lock(mutex_);
  writing_ = false;
  queue_.pop_front();
  if (!ok) {
    broken_ = true;
    if (!closing_) closing_ = absl::UnavailableError("the connection is gone");
  }
  WriteNext();
  FinishIfDrained();
}

void WorkerSession::OnCancel() {
  std::lock_guard lock(mutex_);
  broken_ = true;
  if (!closing_) closing_ = absl::CancelledError("the connection is gone");
  FinishIfDrained();
}

void WorkerSession::OnDone() {
  entry_.reset();  // nobody ends us any more
  owner_->Closed(this);
  delete this;
}

}  // namespace trainyard::coordinator
