#include "tests/sim/worker.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace trainyard::sim {
namespace {

constexpr int64_t kStepMs = 600;
constexpr int64_t kBeatMs = 1'000;
constexpr int64_t kResendMs = 3'000;

}  // namespace

void Worker::Later(int64_t delay_ms, std::function<void()> action, bool of_assignment) {
  const int64_t assignment = assignments_;
  world_.clock().After(delay_ms, [this, action = std::move(action), assignment, of_assignment] {
    if (!alive_ || (of_assignment && assignment != assignments_)) return;
    // A stopped process does what it was about to do when it goes on.
    if (frozen()) {
      const int64_t rest_ms = frozen_until_ms_ - world_.clock().now_ms();
      return Later(rest_ms, action, of_assignment);
    }
    action();
  });
}

void Worker::Boot() {
  Later(
      world_.random().Between(50, 500), [this] { world_.Register(process_); }, false);
  Later(
      kBeatMs, [this] { Beat(); }, false);
  Later(
      kResendMs, [this] { Resend(); }, false);
}

void Worker::Die(core::ExitKind kind, int number) {
  if (!alive_) return;
  alive_ = false;
  job_.reset();
  world_.Exited(process_, kind, number);
}

void Worker::Registered(core::WorkerId id) {
  if (!alive_) return;
  id_ = id;
  world_.Connect(process_);
}

void Worker::Refused() { Die(core::ExitKind::kCode, 1); }

void Worker::Opened() {
  connected_ = true;
  ++sessions_;
  world_.Send(process_, {.what = core::WorkerConnected{id_, claim()}});
  if (!job_) return;
  for (const auto& [sequence, event] : job_->reports) world_.Send(process_, event);
}

void Worker::Closed() {
  connected_ = false;
  ++sessions_;
  if (!alive_) return;
  Later(
      world_.random().Between(200, 2'000), [this] { world_.Connect(process_); }, false);
}

void Worker::Beat() {
  if (id_ && connected_) {
    core::LeaseRenewed renewal{.claim = claim()};
    renewal.claim.worker = id_;
    if (job_) {
      renewal.step = job_->step;
      renewal.phase = job_->loaded ? core::Phase::kTraining : core::Phase::kLoading;
      if (job_->start.finishing) renewal.phase = core::Phase::kEvaluating;
    }
    world_.Send(process_, {.what = renewal});
  }
  Later(
      kBeatMs, [this] { Beat(); }, false);
}

void Worker::Resend() {
  if (job_ && connected_) {
    for (const auto& [sequence, event] : job_->reports) world_.Send(process_, event);
  }
  Later(
      kResendMs, [this] { Resend(); }, false);
}

template <typename Report>
void Worker::Tell(Report report) {
  report.claim = claim();
  report.sequence = ++sequence_;
  core::Event event{.what = report};
  job_->reports[sequence_] = event;
  if (connected_) world_.Send(process_, event);
}

void Worker::Hear(const Order& order) {
  // What came over a session that has closed since is not acted on.
  Later(
      0,
      [this, order, session = sessions_] {
        if (session == sessions_) Do(order);
      },
      false);
}

void Worker::Do(const Order& order) {
  const core::Effect& effect = order.effect;
  const auto drop = [this] {
    job_.reset();
    ++assignments_;
    if (!device_lost_) return;
    world_.Send(process_, {.what = core::WorkerLeft{id_, "its GPU was lost"}});
    Later(
        world_.random().Between(10, 300), [this] { Die(core::ExitKind::kCode, 0); }, false);
  };
  if (const auto* start = std::get_if<core::StartAttempt>(&effect)) {
    Begin(*start, order);
  } else if (const auto* adjust = std::get_if<core::AdjustAttempt>(&effect)) {
    if (claim() != adjust->claim || order.adjustments.empty()) return;
    Adjust(adjust->number, order.adjustments.front());
  } else if (const auto* stop = std::get_if<core::StopAttempt>(&effect)) {
    if (claim() == stop->claim) job_->stop = *stop;
  } else if (const auto* supersede = std::get_if<core::SupersedeAttempt>(&effect)) {
    if (claim() == supersede->claim) drop();
  } else if (const auto* acknowledge = std::get_if<core::Acknowledge>(&effect)) {
    if (claim() != acknowledge->claim) return;
    job_->reports.erase(acknowledge->sequence);
    if (job_->ended && job_->reports.empty()) drop();
  } else if (std::holds_alternative<core::DismissWorker>(effect)) {
    Later(
        world_.random().Between(10, 300), [this] { Die(core::ExitKind::kCode, 0); }, false);
  }
}

const core::Event* Worker::Unacknowledged(int64_t sequence) const {
  if (!job_) return nullptr;
  const auto report = job_->reports.find(sequence);
  return report == job_->reports.end() ? nullptr : &report->second;
}

bool Worker::Uploaded(const std::string& sha256) const {
  if (!job_) return false;
  for (const auto& [sequence, event] : job_->reports) {
    const auto* stored = std::get_if<core::CheckpointStored>(&event.what);
    if (stored != nullptr && stored->sha256 == sha256) return true;
  }
  return false;
}

const network::Configuration& Worker::Effective() {
  return EffectiveAt(world_.ConfigurationOf(job_->start.trial), job_->adjustments, job_->step);
}

// It takes what is not past; what it holds already it takes again.
void Worker::Adjust(int number, const core::Adjustment& adjustment) {
  if (!job_->loaded || job_->ended || job_->start.finishing) return;
  const auto held = static_cast<int>(job_->adjustments.size());
  if (number > held + 1) return;
  core::AdjustmentAnswered answer;
  answer.number = number;
  answer.taken = number <= held || EffectiveStep(adjustment) >= job_->step;
  if (number > held && answer.taken) job_->adjustments.push_back(adjustment);
  answer.step =
      answer.taken ? EffectiveStep(job_->adjustments[static_cast<size_t>(number - 1)]) : job_->step;
  Tell(answer);
}

bool Worker::Complete() {
  for (const core::Adjustment& adjustment : job_->adjustments) {
    if (adjustment.stop && EffectiveStep(adjustment) <= job_->step) return true;
  }
  int64_t epochs = EpochsOf(Effective());
  if (job_->until_epoch > 0) epochs = std::min<int64_t>(epochs, job_->until_epoch);
  return job_->step >= epochs * kStepsPerEpoch;
}

void Worker::Begin(const core::StartAttempt& start, const Order& order) {
  if (claim() == start.claim) return;
  // An old renewal that overtakes the rest may call a busy worker idle.
  if (job_ && !job_->ended && world_.ordered()) {
    world_.Violation(absl::StrCat("worker ", id_.value, " got attempt ", start.claim.attempt.value,
                                  " while it holds ", claim().attempt.value));
  }
  job_ = Assignment{
      .start = start, .adjustments = order.adjustments, .until_epoch = order.until_epoch};
  ++assignments_;
  Later(
      world_.random().Between(200, 1'500), [this] { Load(); }, true);
}

void Worker::Load() {
  if (hung_) return;
  const core::StartAttempt& start = job_->start;
  const network::Configuration& configuration = world_.ConfigurationOf(start.trial);
  job_->loaded = true;
  job_->weights = FreshWeights(configuration);
  if (start.restore != core::Restore::kNothing) {
    const auto blob = world_.blobs().find(start.checkpoint_sha256);
    if (blob == world_.blobs().end()) {
      world_.Missing(start.claim, start.checkpoint_sha256);
      return End(core::Outcome::kCheckpointBroken, "missing");
    }
    if (blob->second.torn) return End(core::Outcome::kCheckpointBroken, "wrong hash");
    job_->weights = blob->second.weights;
    job_->step = blob->second.step;
  }
  if (start.restore == core::Restore::kInherit) {
    job_->weights = InheritedWeights(configuration, job_->weights);
    job_->step = 0;
  }
  if (!start.finishing && job_->step == 0) world_.Started(start.trial, job_->weights);
  if (!start.finishing && configuration.IsProgram()) {
    core::ProgramReported report;
    report.description = absl::StrCat("dense ", 10 * std::max(configuration.changes.width, 1.0));
    report.note = "the program has begun";
    Tell(report);
  }
  if (!start.finishing)
    return Later(
        kStepMs, [this] { Train(); }, true);
  Later(
      world_.random().Between(500, 2'000),
      [this] {
        if (hung_) return;
        core::ModelFinished finished;
        finished.model.onnx_sha256 = absl::StrCat(absl::Hex(Mix(job_->weights)));
        finished.model.test_accuracy = 0.9;
        finished.model.test_count = 100;
        job_->ended = true;
        Tell(finished);
      },
      true);
}

void Worker::Train() {
  if (hung_ || job_->ended) return;
  if (fail_) {
    const core::Outcome outcome = *fail_;
    fail_.reset();
    return End(outcome, "it broke");
  }
  const network::Configuration& configuration = world_.ConfigurationOf(job_->start.trial);
  const bool program = configuration.IsProgram();  // one continues from ends of epochs only
  if (job_->stop) {
    if (job_->stop->checkpoint && job_->step > 0 && !program) StoreCheckpoint(false);
    return End(core::Outcome::kStopped, "stopped");
  }
  if (Complete()) return End(core::Outcome::kCompleted, "all epochs done");
  const network::Configuration with = Effective();
  job_->weights = StepOnce(job_->weights, ++job_->step, with);
  if (job_->step % kStepsPerEpoch == 0) {
    EndEpoch();
  } else if (job_->step % 5 == 0 && !program) {
    StoreCheckpoint(false);
  }
  if (job_ && !job_->ended)
    Later(
        kStepMs, [this] { Train(); }, true);
}

void Worker::EndEpoch() {
  const int epoch = static_cast<int>(job_->step / kStepsPerEpoch);
  core::EpochReported report;
  report.epoch = epoch;
  report.step = job_->step;
  report.metrics = Measure(
      EffectiveAt(world_.ConfigurationOf(job_->start.trial), job_->adjustments, job_->step - 1),
      epoch, job_->weights);
  Tell(report);
  if (!std::isfinite(report.metrics.train_loss)) {
    return End(core::Outcome::kDiverged, "the loss is not a number");
  }
  StoreCheckpoint(true);
}

void Worker::StoreCheckpoint(bool end_of_epoch) {
  const Blob blob{job_->weights, job_->step};
  core::CheckpointStored stored;
  stored.sha256 = Sha(blob);
  stored.bytes = 8;
  stored.step = job_->step;
  stored.epoch = static_cast<int>(job_->step / kStepsPerEpoch);
  stored.end_of_epoch = end_of_epoch;
  stored.adjusted_at = AdjustedAt(job_->adjustments, job_->step);
  world_.blobs()[stored.sha256] = blob;
  Tell(stored);
}

void Worker::End(core::Outcome outcome, const std::string& message) {
  core::AttemptEnded ended;
  ended.outcome = outcome;
  ended.message = message;
  ended.step = job_->step;
  if (outcome == core::Outcome::kCompleted) {
    for (const core::Adjustment& adjustment : job_->adjustments) {
      ended.adjusted_at.push_back(EffectiveStep(adjustment));
    }
  }
  device_lost_ = outcome == core::Outcome::kDeviceLost;
  job_->ended = true;
  Tell(ended);
}

}  // namespace trainyard::sim
