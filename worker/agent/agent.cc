#include "worker/agent/agent.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/agent/report_buffer.h"

namespace trainyard::agent {
namespace {

using std::chrono::milliseconds;

// Of a grace time, what is kept back for the last report to be acknowledged and the goodbye.
constexpr milliseconds kFarewellShare{3'000};

// A runner that does not come back this long after it was told to give up hangs in a kernel; it is
// left behind with the process.
constexpr milliseconds kHungAfter{10'000};

}  // namespace

Agent::Agent(std::shared_ptr<grpc::Channel> session_channel, AttemptRunner& runner,
             AgentOptions options)
    : options_(std::move(options)),
      runner_(runner),
      session_(std::move(session_channel), options_.session,
               {[this](v1::CoordinatorMessage message) { Post(std::move(message)); },
                [this] { Post(Orphaned{}); },
                [this](std::string why) { Post(Refused{std::move(why)}); }}) {}

Agent::~Agent() {
  for (const auto& attempt : {current_.get(), next_.get()}) {
    if (attempt == nullptr) continue;
    attempt->control->Abandon("the worker ends");
    if (attempt->thread.joinable()) attempt->thread.join();
  }
  session_.Close("");
}

void Agent::Leave(std::string reason, int exit_code) {
  Post(LeaveRequested{std::move(reason), exit_code});
}

int Agent::Run() {
  session_.Start();
  while (!leaving_ || current_) {
    std::optional<Event> event = Next();
    if (event) std::visit([this](auto& what) { On(std::move(what)); }, *event);
    CheckDeadlines();
  }
  return Farewell();
}

void Agent::Post(Event event) {
  std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
  posted_.notify_all();
}

std::optional<Agent::Event> Agent::Next() {
  std::unique_lock lock(mutex_);
  posted_.wait_until(lock, Deadline(), [this] { return !events_.empty(); });
  if (events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

Clock::time_point Agent::Deadline() const {
  Clock::time_point deadline = Clock::now() + std::chrono::hours(1);
  if (current_ && current_->give_up_at) deadline = std::min(deadline, *current_->give_up_at);
  return deadline;
}

void Agent::CheckDeadlines() {
  if (!current_ || !current_->give_up_at || Clock::now() < *current_->give_up_at) return;
  if (current_->control->wish() < Wish::kGiveUp) {
    spdlog::warn("{}: the grace time is over", Describe(current_->start.attempt()));
    current_->control->GiveUp();
  } else if (leaving_) {
    spdlog::error("{}: does not stop; it is left behind", Describe(current_->start.attempt()));
    spdlog::shutdown();
    _exit(leaving_->exit_code);
  }
  current_->give_up_at = Clock::now() + kHungAfter;
}

void Agent::On(v1::CoordinatorMessage message) {
  switch (message.message_case()) {
    case v1::CoordinatorMessage::kStart:
      return OnStart(std::move(*message.mutable_start()));
    case v1::CoordinatorMessage::kStop:
      return OnStop(message.stop());
    case v1::CoordinatorMessage::kAdjust:
      return OnAdjust(std::move(*message.mutable_adjust()));
    case v1::CoordinatorMessage::kSuperseded:
      return OnSuperseded(message.superseded());
    case v1::CoordinatorMessage::kShutdown:
      spdlog::info("told to leave: {}", message.shutdown().reason());
      if (!leaving_) leaving_ = Leaving{"", kExitDismissed, Clock::now()};
      next_.reset();
      if (current_) {
        session_.Release(current_->start.attempt());
        current_->control->Abandon(message.shutdown().reason());
        current_->give_up_at = Clock::now() + kHungAfter;
      }
      return;
    default:
      return;
  }
}

void Agent::OnStart(v1::Start start) {
  const v1::AttemptRef& ref = start.attempt();
  // The coordinator sends an assignment again until it has heard of it.
  if (session_.Holds(ref) || (current_ && SameAttempt(current_->start.attempt(), ref))) return;
  if (leaving_) {
    spdlog::info("{}: not taken, for this worker is leaving", Describe(ref));
    return;
  }
  spdlog::info("{}: taken: trial {}, attempt {} of it{}{}", Describe(ref), start.trial_number(),
               start.attempt_number(), start.finishing() ? ", finishing" : "",
               start.checkpoint_sha256().empty() ? "" : ", from a checkpoint");
  auto attempt = std::make_unique<Attempt>();
  attempt->start = std::move(start);
  session_.Hold(attempt->start.attempt(), attempt->control);
  if (current_) {
    current_->control->Abandon("another attempt was assigned");
    next_ = std::move(attempt);
  } else {
    Launch(std::move(attempt));
  }
}

void Agent::Launch(std::unique_ptr<Attempt> attempt) {
  current_ = std::move(attempt);
  current_->thread = std::thread([this, &attempt = *current_] {
    Post(Ended{attempt.start.attempt(), runner_.Run(attempt.start, session_, *attempt.control)});
  });
}

void Agent::OnStop(const v1::Stop& stop) {
  if (next_ && SameAttempt(next_->start.attempt(), stop.attempt())) {
    v1::AttemptEnded ended;
    *ended.mutable_attempt() = stop.attempt();
    ended.set_outcome(v1::AttemptEnded::STOPPED);
    ended.set_message("stopped before it began");
    session_.ReportEnded(std::move(ended));
    next_.reset();
    return;
  }
  if (!current_ || !SameAttempt(current_->start.attempt(), stop.attempt())) return;
  spdlog::info("{}: told to stop: {}", Describe(stop.attempt()), stop.reason());
  StopAttempt({stop.checkpoint(), true, stop.reason()},
              Clock::now() + milliseconds(stop.grace_ms()));
}

void Agent::OnAdjust(v1::Adjust adjust) {
  for (const auto& attempt : {current_.get(), next_.get()}) {
    if (attempt == nullptr || !SameAttempt(attempt->start.attempt(), adjust.attempt())) continue;
    attempt->control->Adjust(std::move(*adjust.mutable_adjustment()));
    return;
  }
}

void Agent::StopAttempt(StopRequest request, Clock::time_point give_up_at) {
  if (!current_) return;
  if (!current_->give_up_at || give_up_at < *current_->give_up_at) {
    current_->give_up_at = give_up_at;
  }
  current_->control->RequestStop(std::move(request));
}

void Agent::OnSuperseded(const v1::Superseded& superseded) {
  // The session forgot it already; what is left is to end the work.
  if (next_ && SameAttempt(next_->start.attempt(), superseded.attempt())) next_.reset();
  if (!current_ || !SameAttempt(current_->start.attempt(), superseded.attempt())) return;
  spdlog::info("{}: superseded: {}", Describe(superseded.attempt()), superseded.reason());
  current_->control->Abandon(superseded.reason());
}

void Agent::On(Ended ended) {
  current_->thread.join();
  const bool orphan = current_->control->stop() && !current_->control->stop()->publish;
  const bool device_lost = current_->control->device_lost();
  if (orphan) left_checkpoint_ = true;
  current_.reset();
  if (device_lost) LeaveWithoutDevice();
  if (ended.report) {
    spdlog::info("{}: ended as {}: {}", Describe(ended.attempt),
                 v1::AttemptEnded::Outcome_Name(ended.report->outcome()), ended.report->message());
    session_.ReportEnded(*std::move(ended.report));
  } else {
    session_.Release(ended.attempt);
  }
  if (next_) Launch(std::move(next_));
}

// What is left of this process's use of the GPU fails whatever it is told: only another process can
// begin anew.
void Agent::LeaveWithoutDevice() {
  if (!leaving_) {
    leaving_ = Leaving{"its process can use its GPU no more", kExitDeviceLost,
                       Clock::now() + options_.grace};
  }
  if (!next_) return;
  session_.Release(next_->start.attempt());
  next_.reset();
}

void Agent::On(LeaveRequested request) {
  if (leaving_) return;
  spdlog::info("leaving: {}", request.reason);
  const Clock::time_point deadline = Clock::now() + options_.grace;
  leaving_ = Leaving{request.reason, request.exit_code, deadline};
  if (next_) {
    session_.Release(next_->start.attempt());
    next_.reset();
  }
  StopAttempt({true, true, request.reason},
              deadline - std::min(kFarewellShare, options_.grace / 4));
}

void Agent::On(Orphaned) {
  if (leaving_) return;
  spdlog::error("no coordinator for the orphan limit: checkpointing here and leaving");
  leaving_ = Leaving{"", kExitUnreachable, Clock::now()};
  next_.reset();
  StopAttempt({true, false, "the coordinator is out of reach"}, Clock::now() + options_.grace);
}

void Agent::On(Refused refused) {
  if (leaving_) return;
  spdlog::error("the coordinator does not let this worker in: {}", refused.why);
  leaving_ = Leaving{"", kExitRefused, Clock::now()};
}

int Agent::Farewell() {
  // Without this the coordinator would learn only from the lost session that a checkpoint is there.
  if (!session_.WaitForAcknowledgements(leaving_->deadline)) {
    spdlog::warn("leaving with reports that the coordinator has not acknowledged");
  }
  session_.Close(leaving_->goodbye);
  return leaving_->exit_code;
}

}  // namespace trainyard::agent
