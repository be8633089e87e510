#include "worker/agent/session.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/agent/blob_client.h"

namespace trainyard::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kConnectSlice{250};  // how often a worker without connection looks up
constexpr milliseconds kFarewell{2'000};    // how long a coordinator may take to hear a goodbye

}  // namespace

Session::Session(std::shared_ptr<grpc::Channel> channel, SessionOptions options, Listener listener)
    : channel_(std::move(channel)),
      stub_(v1::WorkerGateway::NewStub(channel_)),
      options_(std::move(options)),
      listener_(std::move(listener)),
      backoff_(milliseconds(100), milliseconds(3'000)),
      orphan_limit_(options_.orphan_limit) {}

Session::~Session() { Close(""); }

void Session::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Session::Hold(const v1::AttemptRef& attempt, std::shared_ptr<AttemptControl> control) {
  std::lock_guard lock(mutex_);
  held_ = Held{attempt, std::move(control), 0, Clock::now() + lease_, std::nullopt};
  changed_.notify_all();
}

bool Session::Holds(const v1::AttemptRef& attempt) {
  std::lock_guard lock(mutex_);
  return held_ && SameAttempt(held_->attempt, attempt);
}

void Session::ReportEnded(v1::AttemptEnded ended) {
  std::lock_guard lock(mutex_);
  // Superseded in the meantime: nobody wants to know.
  if (!held_ || !SameAttempt(held_->attempt, ended.attempt())) return;
  v1::WorkerMessage report;
  *report.mutable_ended() = std::move(ended);
  held_->ended_sequence = reports_.Add(std::move(report));
  changed_.notify_all();
}

void Session::Release(const v1::AttemptRef& attempt) {
  std::lock_guard lock(mutex_);
  ReleaseLocked(attempt);
}

void Session::ReleaseLocked(const v1::AttemptRef& attempt) {
  reports_.Drop(attempt);
  if (held_ && SameAttempt(held_->attempt, attempt)) held_.reset();
  changed_.notify_all();
}

void Session::Report(v1::WorkerMessage report, AttemptControl& control) {
  const v1::AttemptRef attempt = AttemptOf(report);
  AttemptControl::Interrupt interrupt(control, Wish::kStop, [this] { changed_.notify_all(); });
  std::unique_lock lock(mutex_);
  const auto held = [&] { return held_ && SameAttempt(held_->attempt, attempt); };
  // Polled as well: the wish changes under a lock that is not this one.
  while (report.has_epoch() && held() && reports_.size() >= options_.reports_max &&
         control.wish() < Wish::kStop) {
    changed_.wait_for(lock, kConnectSlice);
  }
  if (!held() || control.wish() >= Wish::kAbandon) return;
  reports_.Add(std::move(report));
  changed_.notify_all();
}

bool Session::WaitForLease(milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout,
                           [&] { return held_ && Clock::now() < held_->lease_until; });
}

bool Session::WaitForAcknowledgements(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [&] { return reports_.empty(); });
}

void Session::Close(const std::string& goodbye) {
  {
    std::lock_guard lock(mutex_);
    if (!closing_) goodbye_ = goodbye;
    closing_ = true;
    if (registering_ != nullptr) registering_->TryCancel();
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Session::Run() {
  for (;;) {
    const bool connected =
        channel_->WaitForConnected(std::chrono::system_clock::now() + kConnectSlice);
    {
      std::lock_guard lock(mutex_);
      if (closing_) return;
      CheckOrphaned(false);
    }
    if (!connected) {
      if (std::exchange(last_failure_, "unreachable") != "unreachable") {
        const std::string why = WhyUnreachable(channel_, options_.keys);
        spdlog::warn("the coordinator is out of reach{}; trying again until it answers, for {} s",
                     why.empty() ? "" : " (" + why + ")", orphan_limit_.count() / 1000);
      }
      continue;
    }
    if (worker_ == 0 && !Register()) {
      Pause();
      continue;
    }
    const grpc::Status status = Converse();
    std::unique_lock lock(mutex_);
    if (closing_) return;
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
      spdlog::warn("the coordinator does not know worker {} any more; registering again", worker_);
      worker_ = 0;
    } else {
      spdlog::warn("session ended ({}); opening a new one",
                   status.ok() ? "by the coordinator" : FromGrpc(status).ToString());
    }
    lock.unlock();
    CheckRefused(status);
    last_failure_.clear();
    Pause();
  }
}

bool Session::CheckRefused(const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::UNAUTHENTICATED &&
      status.error_code() != grpc::StatusCode::PERMISSION_DENIED) {
    return false;
  }
  std::lock_guard lock(mutex_);
  // What is being trained goes on until the orphan limit: the token may be mended before that.
  if (held_ && held_->ended_sequence == 0) return false;
  if (!std::exchange(refused_, true)) listener_.on_refused(status.error_message());
  return true;
}

void Session::Pause() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, backoff_.Next(), [&] { return closing_; });
}

bool Session::Register() {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  {
    std::lock_guard lock(mutex_);
    if (closing_) return false;
    registering_ = &context;
  }
  v1::RegisterResponse response;
  const grpc::Status status = stub_->Register(&context, options_.identity, &response);
  std::unique_lock lock(mutex_);
  registering_ = nullptr;
  if (!status.ok()) {
    lock.unlock();
    if (CheckRefused(status)) return false;
    const std::string failure = FromGrpc(status).ToString();
    if (std::exchange(last_failure_, failure) != failure) {
      spdlog::warn("registering failed ({}); trying again", failure);
    }
    return false;
  }
  worker_ = response.worker();
  if (response.lease_ms() > 0) lease_ = milliseconds(response.lease_ms());
  if (response.renew_every_ms() > 0) renew_every_ = milliseconds(response.renew_every_ms());
  if (response.orphan_limit_ms() > 0) orphan_limit_ = milliseconds(response.orphan_limit_ms());
  last_contact_ = Clock::now();
  last_failure_.clear();
  spdlog::info("registered as worker {}: lease {} ms, renewed every {} ms", worker_, lease_.count(),
               renew_every_.count());
  return true;
}

grpc::Status Session::Converse() {
  grpc::ClientContext context;
  std::unique_ptr<Stream> stream = stub_->Session(&context);
  {
    std::lock_guard lock(mutex_);
    broken_ = false;
    if (held_) held_->asked.reset();
  }
  std::thread reader([&] { Read(*stream); });
  Write(*stream);
  {
    // A stream that ended by itself has a status to tell; only one that is left has to be
    // cancelled.
    std::lock_guard lock(mutex_);
    if (closing_) context.TryCancel();
  }
  reader.join();
  return stream->Finish();
}

void Session::Write(Stream& stream) {
  std::unique_lock lock(mutex_);
  v1::WorkerMessage message;
  message.mutable_hello()->set_worker(worker_);
  message.mutable_hello()->set_incarnation(options_.identity.incarnation());
  if (held_) *message.mutable_hello()->mutable_running() = held_->attempt;
  int64_t sent = 0;  // every report that waits is sent again in every session
  Clock::time_point renew_at = Clock::now();
  for (;;) {
    lock.unlock();
    const bool written = stream.Write(message);
    lock.lock();
    if (!written) broken_ = true;

    const v1::WorkerMessage* report = nullptr;
    changed_.wait_until(lock, renew_at, [&] {
      return broken_ || closing_ || (report = reports_.After(sent)) != nullptr;
    });
    if (broken_) return;
    if (closing_) return SayGoodbye(stream, lock);
    if (report != nullptr && Clock::now() < renew_at) {  // a flood of reports delays no renewal
      message = *report;
      sent = report->sequence();
    } else {
      CheckOrphaned(channel_->GetState(false) == GRPC_CHANNEL_READY);
      message = Renewal();
      renew_at = Clock::now() + renew_every_;
      if (held_ && !held_->asked) held_->asked = Clock::now();
    }
  }
}

void Session::SayGoodbye(Stream& stream, std::unique_lock<std::mutex>& lock) {
  v1::WorkerMessage message;
  message.mutable_goodbye()->set_reason(goodbye_);
  lock.unlock();
  if (!message.goodbye().reason().empty()) stream.Write(message);
  stream.WritesDone();
  lock.lock();
  changed_.wait_for(lock, kFarewell, [&] { return broken_; });
}

v1::WorkerMessage Session::Renewal() const {
  v1::WorkerMessage message;
  v1::Renewal* renewal = message.mutable_renewal();
  if (held_) {
    *renewal->mutable_attempt() = held_->attempt;
    renewal->set_step(held_->control->step());
    renewal->set_phase(held_->control->phase());
  }
  if (options_.gpu_use) {
    if (std::optional<v1::GpuUse> use = options_.gpu_use()) *renewal->mutable_gpu_use() = *use;
  }
  return message;
}

void Session::Read(Stream& stream) {
  v1::CoordinatorMessage message;
  while (stream.Read(&message)) {
    {
      std::lock_guard lock(mutex_);
      last_contact_ = Clock::now();
      backoff_.Reset();
    }
    Handle(std::move(message));
  }
  std::lock_guard lock(mutex_);
  broken_ = true;
  changed_.notify_all();
}

void Session::Handle(v1::CoordinatorMessage message) {
  std::unique_lock lock(mutex_);
  switch (message.message_case()) {
    case v1::CoordinatorMessage::kAck:
      reports_.Acknowledge(message.ack().sequence());
      if (held_ && held_->ended_sequence > 0 && held_->ended_sequence <= message.ack().sequence()) {
        held_.reset();
      }
      changed_.notify_all();
      return;
    case v1::CoordinatorMessage::kLeased:
      if (held_ && SameAttempt(held_->attempt, message.leased().attempt())) {
        // The coordinator counts from when it got the renewal, which is after it was sent.
        const Clock::time_point from = held_->asked.value_or(Clock::now());
        held_->lease_until = from + milliseconds(message.leased().lease_ms());
        held_->asked.reset();
        changed_.notify_all();
      }
      return;
    case v1::CoordinatorMessage::kStart:
      // Sent again by a coordinator that had not heard of it. Decided here, in the order in which
      // messages came: the acknowledgement of its end may be the next one.
      if (held_ && SameAttempt(held_->attempt, message.start().attempt())) return;
      break;
    case v1::CoordinatorMessage::kSuperseded:
      ReleaseLocked(message.superseded().attempt());
      break;
    default:
      break;
  }
  lock.unlock();
  listener_.on_command(std::move(message));
}

void Session::CheckOrphaned(bool connected) {
  // With an attempt in hand only an answer counts; an idle worker hears nothing for long.
  if (connected && !held_) last_contact_ = Clock::now();
  if (orphaned_ || Clock::now() - last_contact_ < orphan_limit_) return;
  orphaned_ = true;
  listener_.on_orphaned();
}

}  // namespace trainyard::agent
