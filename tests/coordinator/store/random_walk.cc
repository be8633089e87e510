#include "tests/coordinator/store/random_walk.h"

#include <utility>

namespace trainyard::coordinator {

core::State Durable(core::State state) {
  core::Forget(state);
  for (auto& [id, attempt] : state.attempts) attempt.live = {};
  for (auto& [id, worker] : state.workers) worker.live = {};
  for (auto& [id, launch] : state.launches) launch.live = {};
  state.settings = {};
  state.hosts.clear();
  state.shutting_down = false;
  return state;
}

network::Configuration SmallConfiguration() {
  network::Configuration configuration;
  configuration.network.input = {1, 28, 28};
  configuration.network.classes = 10;
  network::Residual residual;
  residual.body = {{network::Conv{.filters = 4}}, {network::BatchNorm{}}};
  residual.body[0] = {network::Conv{.filters = 4, .padding = {.same = true}}};
  configuration.network.layers = {{network::Conv{.filters = 4}},
                                  {network::Relu{}},
                                  {residual},
                                  {network::Pool{}},
                                  {network::Dropout{.rate = 0.1}},
                                  {network::Flatten{}},
                                  {network::Dense{.units = 10}}};
  configuration.training.epochs = 3;
  configuration.training.seed = ~uint64_t{0};
  return configuration;
}

RandomWalk::RandomWalk(uint64_t seed) : random_(seed) {
  state_.settings.pools["process"].hosts[""].resize(2);
}

core::Result RandomWalk::Step() { return Take(Choose()); }

core::Result RandomWalk::Restart(core::State state) {
  state.settings = state_.settings;
  state_ = std::move(state);
  pending_.clear();
  return Take(core::CoordinatorRecovered{});
}

core::Result RandomWalk::Take(What what) {
  now_ms_ += 1 + Draw(Draw(20) == 0 ? 5'000 : 100);
  core::Result result = core::Step(state_, {now_ms_, now_ms_ + 1'700'000'000'000, std::move(what)});
  See(result.effects);
  return result;
}

core::JobRequest RandomWalk::Request() {
  core::JobRequest request;
  request.commit = Hash();
  request.snapshot_sha256 = Hash();
  request.spec_hash = "spec" + std::to_string(Draw(5));
  request.spec_blob = std::string("\x00\xff binary \xc3", 11);
  request.name = "job \xff";  // no UTF-8
  request.source = "/a/path";
  if (Draw(2) == 0) request.request_key = Hash();
  request.configuration = SmallConfiguration();
  request.target = {Draw(4) == 0 ? core::TargetMetric::kValLoss : core::TargetMetric::kValAccuracy,
                    Draw(2) == 0 ? 0.9 : 0.5};
  request.tuning.max_trials = 1 + Draw(4);
  request.budget = {.trials = 4, .time_ms = 100'000'000, .epochs = 40};
  request.manual = Draw(3) == 0;
  request.again = Draw(3) == 0;
  request.train_images = 1'000;
  return request;
}

RandomWalk::What RandomWalk::FromPeople() {
  const auto job = [&] {
    core::JobId id{1 + Draw(static_cast<int>(state_.counters.job) + 1)};
    return id;
  };
  switch (Draw(10)) {
    case 0:
      return core::ProjectAdded{{1}, "project" + std::to_string(Draw(4)), "url", "main"};
    case 1:
      return Draw(5) != 0 ? What(core::TimePassed{}) : core::ProjectRemoved{{1}, {1 + Draw(4)}};
    case 2:
    case 3:
      return core::PushSeen{{1 + Draw(4)}, Hash()};
    case 4:
      return core::JobSubmitted{{1}, Request()};
    case 5:
      return Draw(4) != 0 ? What(core::JobResumed{{1}, job()}) : core::JobCancelled{{1}, job()};
    case 6:
      return Draw(4) != 0 ? What(core::JobPaused{{1}, job()}) : core::JobConcluded{{1}, job()};
    case 7:
      return Draw(2) == 0 ? core::TweakRequested{{1}, job(), std::nullopt}
                          : core::TweakRequested{{1}, job(), SmallConfiguration()};
    case 8:
      return Draw(3) == 0 ? What(core::WorkerDrained{{1}, {1 + Draw(10)}})
                          : core::CheckpointPinned{{1}, {1 + Draw(20)}, Draw(2) == 0};
    default:
      return core::TimePassed{};
  }
}

RandomWalk::What RandomWalk::FromWorker(Training& training) {
  const core::Claim claim = training.claim;
  switch (Draw(8)) {
    case 0:
      return core::LeaseRenewed{claim, training.epoch * 10 + Draw(10), core::Phase::kTraining};
    case 1:
    case 2:
    case 3: {
      ++training.epoch;
      core::EpochReported report{claim, training.epoch, training.epoch, training.epoch * 10};
      report.metrics = {Fraction(), Fraction(), Fraction(), Fraction(), 1.0 / 3};
      report.images_per_second = 1e300;
      report.seconds = Fraction();
      report.exact = Draw(2) == 0;
      return report;
    }
    case 4:
    case 5:
      return core::CheckpointStored{
          claim, 0, Hash(), 10, training.epoch * 10, training.epoch, training.epoch > 0};
    case 6: {
      if (training.epoch < 3 && Draw(3) != 0) return core::TimePassed{};
      core::AttemptEnded ended{claim, 0, static_cast<core::Outcome>(Draw(7)), "because \xfe"};
      if (training.epoch >= 3) ended.outcome = core::Outcome::kCompleted;
      ended.confusion = {Draw(10), Draw(10), Draw(10), Draw(10)};
      return ended;
    }
    default: {
      const auto attempt = state_.attempts.find(claim.attempt);
      if (attempt == state_.attempts.end() || !attempt->second.finishing) {
        return core::TimePassed{};
      }
      return core::ModelFinished{claim, 0, {"onnx", "tensors", 1, 2, 0.5, 0.25, 4, {1, 2, 3, 4}}};
    }
  }
}

RandomWalk::What RandomWalk::Choose() {
  if (!pending_.empty() && Draw(3) == 0) {
    std::swap(pending_[Draw(static_cast<int>(pending_.size()))], pending_.back());
    What what = std::move(pending_.back());
    pending_.pop_back();
    return what;
  }
  if (!trainings_.empty() && Draw(4) != 0) {
    auto chosen = trainings_.begin();
    std::advance(chosen, Draw(static_cast<int>(trainings_.size())));
    const auto attempt = state_.attempts.find(chosen->first);
    if (attempt != state_.attempts.end() && attempt->second.held()) {
      return FromWorker(chosen->second);
    }
    trainings_.erase(chosen);
  }
  switch (Draw(6)) {
    case 0: {
      core::WorkerRegistered worker{{1}, Hash(), "host/1", "external"};
      if (!state_.launches.empty() && Draw(2) == 0) {
        worker.launch = state_.launches.rbegin()->first;
        worker.pool = "process";
      }
      return worker;
    }
    case 1:
    case 2:
      return core::WorkerConnected{{state_.counters.worker - Draw(3)}, {}};
    case 3:
      return Draw(5) != 0 ? What(core::TimePassed{})
                          : core::WorkerLeft{{state_.counters.worker}, "bye"};
    default:
      return FromPeople();
  }
}

void RandomWalk::See(const std::vector<core::Effect>& effects) {
  for (const core::Effect& effect : effects) {
    if (const auto* start = std::get_if<core::StartAttempt>(&effect)) {
      Training& training = trainings_[start->claim.attempt];
      training.claim = start->claim;
      const auto attempt = state_.attempts.find(start->claim.attempt);
      if (start->restore == core::Restore::kContinue && attempt != state_.attempts.end()) {
        const auto from = state_.checkpoints.find(attempt->second.from);
        if (from != state_.checkpoints.end()) training.epoch = from->second.epoch;
      }
    } else if (const auto* prepare = std::get_if<core::PrepareSource>(&effect)) {
      if (Draw(4) == 0) {
        pending_.push_back(core::SourceRefused{prepare->push, "no spec\nat all"});
      } else {
        pending_.push_back(core::SourcePrepared{prepare->push, Request()});
      }
    } else if (const auto* launch = std::get_if<core::LaunchWorker>(&effect)) {
      if (Draw(4) == 0) {
        pending_.push_back(
            core::WorkerLaunchFailed{launch->launch, core::LaunchFault::kPassing, "no"});
      } else {
        pending_.push_back(core::WorkerLaunched{launch->launch, "123 456"});
      }
    } else if (const auto* stop = std::get_if<core::StopWorker>(&effect)) {
      pending_.push_back(core::WorkerExited{stop->launch, core::ExitKind::kCode, 0, "exit 0"});
    } else if (const auto* halt = std::get_if<core::StopAttempt>(&effect)) {
      pending_.push_back(core::AttemptEnded{halt->claim, 0, core::Outcome::kStopped, "asked to"});
    } else if (const auto* drop = std::get_if<core::DropCheckpoint>(&effect)) {
      pending_.push_back(core::CheckpointDropped{drop->checkpoint});
    } else if (const auto* notify = std::get_if<core::Notify>(&effect)) {
      pending_.push_back(core::NoticeSent{notify->notice});
    }
  }
}

}  // namespace trainyard::coordinator
