#include "coordinator/rpc/worker_gateway.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/convert/api.h"
#include "coordinator/rpc/door.h"
#include "coordinator/rpc/registration.h"
#include "coordinator/rpc/status.h"

namespace trainyard::coordinator {
namespace {

absl::Status CheckReport(const v1::WorkerMessage& message, const v1::AttemptRef& attempt) {
  if (message.sequence() <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("sequence: found ", message.sequence(), " on a report, expected 1 or more"));
  }
  if (attempt.attempt() <= 0 || attempt.fencing() <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("attempt: found attempt ", attempt.attempt(),
                                                   " with fencing ", attempt.fencing(),
                                                   ", expected both to be 1 or more"));
  }
  return absl::OkStatus();
}

absl::Status CheckCounts(int64_t step, int64_t epoch) {
  if (step < 0 || epoch < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("found step ", step, " and epoch ", epoch, ", expected none below 0"));
  }
  return absl::OkStatus();
}

}  // namespace

WorkerGateway::WorkerGateway(GatewayOptions options, Loop* loop, Blobs* blobs, Access* access)
    : options_(options), loop_(loop), blobs_(blobs), access_(access) {}

absl::StatusOr<WorkerGateway::Visitor> WorkerGateway::LetIn(
    const grpc::ServerContextBase& context) const {
  if (access_ == nullptr) return Visitor{};
  auto caller = access_->IdentifyWorker(FactsOf(context));
  if (!caller.ok()) return caller.status();
  const auto launch = SpeaksFor(*caller);
  if (!launch.ok()) return launch.status();
  return Visitor{*std::move(caller), *launch};
}

std::unique_ptr<OpenCalls::Entry> WorkerGateway::Keep(const Visitor& visitor,
                                                      OpenCalls::End end) const {
  return access_ == nullptr ? nullptr : access_->open_calls().Add(visitor.caller, std::move(end));
}

absl::Status WorkerGateway::CheckLaunch(const Visitor& visitor,
                                        const v1::RegisterRequest& request) const {
  if (!visitor.launch) return absl::OkStatus();
  if (request.launch() != *visitor.launch) {
    return absl::PermissionDeniedError(
        absl::StrCat(visitor.caller.Describe(), " registers a worker of launch ", request.launch(),
                     ", expected ", *visitor.launch));
  }
  if (request.launch() == 0) return absl::OkStatus();
  const std::string pool = loop_->Read([&](const core::State& state) {
    const auto found = state.launches.find(core::LaunchId{request.launch()});
    return found == state.launches.end() ? "" : found->second.slot.host.pool;
  });
  if (request.pool() == pool) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat(visitor.caller.Describe(), " registers a worker of pool '", Utf8(request.pool()),
                   "', expected '", pool, "'"));
}

grpc::ServerUnaryReactor* WorkerGateway::Register(grpc::CallbackServerContext* context,
                                                  const v1::RegisterRequest* request,
                                                  v1::RegisterResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto visitor = LetIn(*context);
  absl::Status status = visitor.status();
  if (status.ok()) {
    status = loop_->Read(
        [&](const core::State& state) { return CheckRegistration(*request, state.settings); });
  }
  if (status.ok()) status = CheckLaunch(*visitor, *request);
  if (!status.ok()) {
    reactor->Finish(ToGrpc(status));
    return reactor;
  }
  core::WorkerRegistered event;
  event.incarnation = request->incarnation();
  event.name = request->name();
  event.pool = request->pool();
  event.launch = core::LaunchId{request->launch()};
  event.host = request->host();
  event.pid = request->pid();
  event.device = request->device();
  event.abilities = AbilitiesOf(*request);
  event.gpu = GpuOf(*request);
  loop_->AskAsync(std::move(event), [this, reactor, response](absl::StatusOr<core::Answer> answer) {
    if (answer.ok()) {
      response->set_worker(answer->id);
      response->set_lease_ms(options_.lease_ms);
      response->set_renew_every_ms(std::max<int64_t>(options_.lease_ms / 5, 1));
      response->set_orphan_limit_ms(options_.orphan_limit_ms);
    }
    reactor->Finish(ToGrpc(answer.status()));
  });
  return reactor;
}

grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* WorkerGateway::Session(
    grpc::CallbackServerContext* context) {
  using Stream = grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>;
  const auto visitor = LetIn(*context);
  if (!visitor.ok()) return new Refusal<Stream>(ToGrpc(visitor.status()));
  auto* session = new WorkerSession(this, context, options_.session_queue_max, visitor->launch);
  session->Keep(Keep(*visitor, [session](const absl::Status& why) { session->Close(why); }));
  return session;
}

absl::Status WorkerGateway::Opened(WorkerSession* session, const v1::Hello& hello) {
  const core::WorkerId worker = session->worker();
  const auto launch = loop_->Read([&](const core::State& state) -> std::optional<core::LaunchId> {
    const auto found = state.workers.find(worker);
    const bool known = found != state.workers.end() &&
                       found->second.state != core::WorkerState::kGone &&
                       found->second.incarnation == hello.incarnation();
    return known ? std::optional(found->second.launch) : std::nullopt;
  });
  if (!launch) {
    return absl::NotFoundError(absl::StrCat("worker ", worker.value, " is not known: register"));
  }
  if (session->launch() && *session->launch() != launch->value) {
    return absl::PermissionDeniedError(
        absl::StrCat("worker ", worker.value, " came with another token: it is of launch ",
                     launch->value, ", and the token of launch ", *session->launch()));
  }
  std::lock_guard lock(mutex_);
  Connected& connected = sessions_[worker];
  if (connected.session != nullptr) {
    connected.session->Close(absl::AbortedError("the worker has opened a newer session"));
  }
  connected = Connected{session, {}};
  // Under the lock, so that it cannot overtake, or be overtaken by, the end of another session.
  loop_->Post(core::WorkerConnected{worker, FromProto(worker, hello.running())});
  return absl::OkStatus();
}

void WorkerGateway::Closed(WorkerSession* session) {
  std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session->worker());
  if (found == sessions_.end() || found->second.session != session) return;
  sessions_.erase(found);
  loop_->Post(core::WorkerDisconnected{session->worker()});
}

absl::Status WorkerGateway::Received(core::WorkerId worker, const v1::WorkerMessage& message) {
  const int64_t sequence = message.sequence();
  switch (message.message_case()) {
    case v1::WorkerMessage::kRenewal:
      if (auto status = CheckCounts(message.renewal().step(), 0); !status.ok()) return status;
      if (auto status = CheckUse(message.renewal().gpu_use()); !status.ok()) return status;
      return loop_->TryPost(FromProto(worker, message.renewal()));
    case v1::WorkerMessage::kEpoch: {
      const v1::EpochReport& report = message.epoch();
      if (auto status = CheckReport(message, report.attempt()); !status.ok()) return status;
      if (auto status = CheckCounts(report.epoch().step(), report.epoch().epoch()); !status.ok()) {
        return status;
      }
      return loop_->TryPost(FromProto(worker, sequence, report));
    }
    case v1::WorkerMessage::kCheckpoint:
      return ReceivedCheckpoint(worker, message);
    case v1::WorkerMessage::kEnded:
      if (auto status = CheckReport(message, message.ended().attempt()); !status.ok()) {
        return status;
      }
      return loop_->TryPost(FromProto(worker, sequence, message.ended()));
    case v1::WorkerMessage::kFinished:
      if (auto status = CheckReport(message, message.finished().attempt()); !status.ok()) {
        return status;
      }
      return loop_->TryPost(FromProto(worker, sequence, message.finished()));
    case v1::WorkerMessage::kAdjusted:
      if (auto status = CheckReport(message, message.adjusted().attempt()); !status.ok()) {
        return status;
      }
      return loop_->TryPost(FromProto(worker, sequence, message.adjusted()));
    case v1::WorkerMessage::kProgram:
      if (auto status = CheckReport(message, message.program().attempt()); !status.ok()) {
        return status;
      }
      return loop_->TryPost(FromProto(worker, sequence, message.program()));
    case v1::WorkerMessage::kGoodbye:
      return loop_->TryPost(core::WorkerLeft{worker, Utf8(message.goodbye().reason())});
    case v1::WorkerMessage::kHello:
    case v1::WorkerMessage::MESSAGE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("found a message of no known kind");
}

absl::Status WorkerGateway::ReceivedCheckpoint(core::WorkerId worker,
                                               const v1::WorkerMessage& message) {
  const v1::CheckpointReport& report = message.checkpoint();
  if (auto status = CheckReport(message, report.attempt()); !status.ok()) return status;
  if (auto status = CheckCounts(report.step(), report.epoch()); !status.ok()) return status;
  const bool there = blobs_->Has(report.sha256());
  {
    std::lock_guard lock(mutex_);
    if (const auto found = sessions_.find(worker); found != sessions_.end()) {
      found->second.reported[message.sequence()] = report.sha256();
    }
  }
  if (auto status = loop_->TryPost(FromProto(worker, message.sequence(), report)); !status.ok()) {
    return status;
  }
  if (!there) {
    // A resent report whose blob is gone: the trial continues from the checkpoint before it.
    loop_->Post(core::CheckpointBroken{
        report.sha256(), absl::StrCat("blob ", report.sha256(), " is not in the store")});
  }
  return absl::OkStatus();
}

void WorkerGateway::Send(core::WorkerId worker, v1::CoordinatorMessage message) {
  std::lock_guard lock(mutex_);
  const auto found = sessions_.find(worker);
  if (found == sessions_.end()) return;
  found->second.session->Send(std::move(message));
}

bool WorkerGateway::Perform(const core::Effect& effect, const core::State& state) {
  v1::CoordinatorMessage message;
  if (const auto* start = std::get_if<core::StartAttempt>(&effect)) {
    *message.mutable_start() = ToProto(state, *start);
    Send(start->claim.worker, std::move(message));
  } else if (const auto* adjust = std::get_if<core::AdjustAttempt>(&effect)) {
    const auto trial = state.trials.find(adjust->trial);
    if (trial == state.trials.end()) return true;
    const auto index = static_cast<size_t>(adjust->number - 1);
    if (index >= trial->second.adjustments.size()) return true;
    *message.mutable_adjust()->mutable_attempt() = ToRef(state, adjust->claim);
    *message.mutable_adjust()->mutable_adjustment() =
        ToProto(trial->second.adjustments[index], adjust->number);
    Send(adjust->claim.worker, std::move(message));
  } else if (const auto* stop = std::get_if<core::StopAttempt>(&effect)) {
    *message.mutable_stop()->mutable_attempt() = ToRef(state, stop->claim);
    message.mutable_stop()->set_grace_ms(stop->grace_ms);
    message.mutable_stop()->set_checkpoint(stop->checkpoint);
    message.mutable_stop()->set_reason(Utf8(stop->reason));
    Send(stop->claim.worker, std::move(message));
  } else if (const auto* superseded = std::get_if<core::SupersedeAttempt>(&effect)) {
    *message.mutable_superseded()->mutable_attempt() = ToRef(state, superseded->claim);
    message.mutable_superseded()->set_reason(Utf8(superseded->reason));
    Send(superseded->claim.worker, std::move(message));
  } else if (const auto* lease = std::get_if<core::GrantLease>(&effect)) {
    *message.mutable_leased()->mutable_attempt() = ToRef(state, lease->claim);
    message.mutable_leased()->set_lease_ms(lease->lease_ms);
    Send(lease->claim.worker, std::move(message));
  } else if (const auto* ack = std::get_if<core::Acknowledge>(&effect)) {
    message.mutable_ack()->set_sequence(ack->sequence);
    {
      std::lock_guard lock(mutex_);
      const auto found = sessions_.find(ack->claim.worker);
      if (found != sessions_.end()) {
        if (auto blob = found->second.reported.extract(ack->sequence); !blob.empty()) {
          pending_uploads_.End(blob.mapped());
        }
      }
    }
    Send(ack->claim.worker, std::move(message));
  } else if (const auto* dismiss = std::get_if<core::DismissWorker>(&effect)) {
    message.mutable_shutdown()->set_reason(Utf8(dismiss->reason));
    Send(dismiss->worker, std::move(message));
  } else {
    return false;
  }
  return true;
}

void WorkerGateway::CloseSessions(const absl::Status& why) {
  std::lock_guard lock(mutex_);
  for (auto& [worker, connected] : sessions_) connected.session->Close(why);
}

}  // namespace trainyard::coordinator
