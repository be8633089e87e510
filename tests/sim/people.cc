// Jobs, and what people do to them. Who asks, asks again until there is an answer.
#include "absl/strings/str_cat.h"
#include "tests/coordinator/core/text.h"
#include "tests/sim/world.h"

namespace trainyard::sim {

using namespace core;  // NOLINT: see shell.cc

// Workers of this machine; or hosts with a worker of its own for each attempt; or both.
void World::PlanPools(Random& plan) {
  const std::set<std::string> runtimes = {"native", "program-keras"};
  const int64_t kind = plan.Between(1, 3);
  if (kind != 2) {
    std::vector<core::Abilities>& slots = settings_.pools["process"].hosts[""];
    slots.assign(static_cast<size_t>(plan.Between(1, 3)), {.runtimes = runtimes});
    slots.front().gpu = plan.Chance(40);
  }
  if (kind == 1) return;
  core::PoolSettings& farm = settings_.pools["farm"];
  farm.one_attempt = true;
  farm.queues = plan.Chance(40);
  for (const char* host : {"east", "west"}) {
    farm.hosts[host].assign(static_cast<size_t>(plan.Between(1, 2)),
                            {.gpu = plan.Chance(50), .runtimes = runtimes});
  }
}

// A job may insist on a GPU: there is one that can be launched on for good.
bool World::HasGpu() const {
  for (const auto& [name, pool] : settings_.pools) {
    for (const auto& [host, slots] : pool.hosts) {
      if (host != "west" && slots.front().gpu) return true;
    }
  }
  return false;
}

// A job that searches a space, on rungs or not.
void PlanSearch(Random& plan, JobRequest& request) {
  TuningLimits& tuning = request.tuning;
  constexpr Algorithm kAlgorithms[] = {Algorithm::kRandom, Algorithm::kTpe, Algorithm::kAsha};
  tuning.algorithm = kAlgorithms[plan.Between(0, 2)];
  tuning.parallel = static_cast<int>(plan.Between(1, 3));
  tuning.max_trials = static_cast<int>(plan.Between(3, 7));
  tuning.eta = 2;
  if (request.configuration.IsProgram()) {
    tuning.space = {{.path = "changes.width", .min = 1, .max = 4}};
    request.configuration.changes.epochs = 4;
    return;
  }
  request.configuration.training.epochs = 4;
  tuning.space = {{.path = "train.lr", .min = 0.01, .max = 1.5, .log = true},
                  {.path = "network.width", .min = 0.5, .max = 4, .step = 0.5}};
}

void World::PlanJobs() {
  Random plan(options_.seed ^ 0x706c616e);
  PlanPools(plan);
  const int64_t jobs = plan.Between(1, 3);
  for (int64_t i = 0; i < jobs; ++i) {
    JobRequest request = SampleRequest();
    // Few specs, so that jobs share blobs.
    const int64_t spec = plan.Between(1, 3);
    request.spec_hash = absl::StrCat("spec", spec);
    request.configuration.training.seed = static_cast<uint64_t>(spec);
    request.configuration.training.epochs = static_cast<int>(plan.Between(2, 3));
    request.configuration.training.optimizer.learning_rate = plan.Chance(15) ? 2.0 : 0.05;
    if (plan.Chance(25)) {
      request.configuration = {};
      request.needs.runtime = "program-keras";
    }
    if (HasGpu() && plan.Chance(40)) request.needs.gpu = GpuWish::kRequired;
    constexpr double kBounds[] = {0.80, 0.86, 0.89, 0.95};
    request.target.bound = kBounds[plan.Between(0, 3)];
    request.budget.trials = static_cast<int>(plan.Between(1, 4));
    request.budget.epochs = plan.Chance(20) ? plan.Between(3, 8) : 0;
    request.needs.priority = static_cast<int>(plan.Between(0, 2));
    request.manual = plan.Chance(20);
    request.tuning.parallel = plan.Chance(30) ? 2 : 1;
    if (plan.Chance(30)) PlanSearch(plan, request);
    if (request.tuning.algorithm != Algorithm::kDiagnose) request.budget.trials = 0;
    request.tuning.inherit = plan.Chance(80);
    request.tuning.patience = plan.Chance(20) ? 2 : 0;
    request.again = true;
    const int64_t delay_ms = plan.Between(0, 5'000);
    if (plan.Chance(30)) {
      const std::string commit = absl::StrCat("commit", i);
      request.commit = commit;
      commits_[commit] = request;
      clock_.After(delay_ms, [this, commit] { Watch(commit); });
    } else {
      request.request_key = absl::StrCat("job", i);
      clock_.After(delay_ms, [this, request] { Submit(request); });
    }
    ++jobs_planned_;
  }
  if (plan.Chance(20)) clock_.After(plan.Between(0, 5'000), [this] { Watch("bad"); });
  clock_.After(1'000, [this] { AcceptProposals(); });
}

// A project of its own for each commit; the one whose spec is bad is given up.
void World::Watch(const std::string& commit) {
  const auto added = [this, commit](const Answer&) {
    for (const auto& [id, project] : state_.projects) {
      if (project.name != commit) continue;
      Push(id, commit);
      if (commits_.count(commit) > 0) continue;
      clock_.After(4'000, [this, id = id] {
        Want(
            [id](RequestId request) {
              return Event{.what = ProjectRemoved{request, id}};
            },
            [](const Answer&) {});
      });
    }
  };
  Want([commit](RequestId id) { return Event{.what = ProjectAdded{id, commit, "u", "b"}}; }, added);
}

void World::Want(std::function<Event(RequestId)> ask, std::function<void(const Answer&)> done) {
  const auto wish = static_cast<int64_t>(wishes_.size());
  wishes_[wish] = {std::move(ask), std::move(done)};
  Ask(wish);
}

void World::Ask(int64_t wish) {
  if (wishes_.at(wish).granted) return;
  if (up_) {
    // A person calls once; it is the network that repeats events, not requests.
    const RequestId request{++requests_};
    asked_[request] = wish;
    queue_.push_back(wishes_.at(wish).ask(request));
    Post({.what = TimePassed{}});
  }
  clock_.After(2'000, [this, wish] { Ask(wish); });
}

void World::Submit(JobRequest request) {
  Want(
      [request](RequestId id) {
        return Event{.what = JobSubmitted{id, request}};
      },
      [](const Answer&) {});
}

// Polled: the tip is told again and again.
void World::Push(ProjectId project, const std::string& commit) {
  Post({.what = PushSeen{project, commit}});
  if (clock_.now_ms() > kFaultMs + 10'000) return;
  clock_.After(3'000, [this, project, commit] { Push(project, commit); });
}

void World::AcceptProposals() {
  if (up_) {
    for (const auto& [id, job] : state_.jobs) {
      if (job.state != JobState::kWaiting) continue;
      const bool accepts = job.proposal.has_value();
      Want(
          [id = id, accepts](RequestId request) {
            return accepts ? Event{.what = TweakRequested{request, id, std::nullopt}}
                           : Event{.what = JobConcluded{request, id}};
          },
          [](const Answer&) {});
    }
  }
  clock_.After(1'500, [this] { AcceptProposals(); });
}

// Somebody plays with a trial while it runs; sometimes so that its loss runs away.
void World::Adjust() {
  if (!Faulty()) return;
  clock_.After(random_.Between(300, 2'500), [this] { Adjust(); });
  const auto found = state_.jobs.find(AnyJob());
  if (!up_ || found == state_.jobs.end() || found->second.ended()) return;
  const Job& job = found->second;
  const auto number = static_cast<int>(random_.Between(1, static_cast<int64_t>(job.trials.size())));
  network::Configuration wanted =
      state_.trials.at(job.trials[static_cast<size_t>(number - 1)]).current();
  if (wanted.IsProgram()) return;
  wanted.training.optimizer.learning_rate = random_.Chance(15)   ? 3.0
                                            : random_.Chance(50) ? .02
                                                                 : .03;
  if (random_.Chance(30)) wanted.training.epochs += random_.Chance(50) ? 1 : -1;
  touched_.insert(job.id);
  Want(
      [id = job.id, wanted, number](RequestId request) {
        return Event{.what = TweakRequested{request, id, wanted, number}};
      },
      [this](const Answer& answer) {
        Count(answer.code == absl::StatusCode::kOk ? "adjusted" : "adjustment refused");
      });
}

JobId World::AnyJob() {
  if (state_.counters.job == 0) return JobId{1};
  return JobId{random_.Between(1, state_.counters.job)};
}

// A person does something to a job or a worker.
void World::Meddle() {
  const JobId job = AnyJob();
  const auto ignore = [](const Answer&) {};
  // The first two change what work there is.
  switch (random_.Between(same_path_ ? 2 : 0, 6)) {
    case 2:
    case 3:
      Want(
          [job](RequestId id) {
            return Event{.what = JobPaused{id, job}};
          },
          [this, job, ignore](const Answer&) {
            clock_.After(random_.Between(100, 6'000), [this, job, ignore] {
              Want([job](RequestId id) { return Event{.what = JobResumed{id, job}}; }, ignore);
            });
          });
      break;
    case 0:
      touched_.insert(job);
      if (random_.Between(0, 1) == 0) {
        Want([job](RequestId id) { return Event{.what = JobCancelled{id, job}}; }, ignore);
      } else {
        Want([job](RequestId id) { return Event{.what = JobConcluded{id, job}}; }, ignore);
      }
      break;
    case 1: {
      touched_.insert(job);
      network::Configuration wanted = SampleRequest().configuration;
      wanted.training.epochs = 2;
      wanted.training.optimizer.learning_rate = 0.01;
      const auto meant = state_.jobs.find(job);
      if (meant != state_.jobs.end() && meant->second.request.configuration.IsProgram()) {
        wanted = {.changes = {.epochs = 3, .learning_rate = 0.01}};
      }
      Want(
          [job, wanted](RequestId id) {
            return Event{.what = TweakRequested{id, job, wanted}};
          },
          ignore);
      break;
    }
    case 4: {
      const WorkerId worker{random_.Between(1, state_.counters.worker + 1)};
      Want([worker](RequestId id) { return Event{.what = WorkerDrained{id, worker}}; }, ignore);
      break;
    }
    case 5: {
      const CheckpointId checkpoint{random_.Between(1, state_.counters.checkpoint + 1)};
      Want(
          [checkpoint](RequestId id) {
            return Event{.what = CheckpointPinned{id, checkpoint}};
          },
          ignore);
      break;
    }
    default:
      Post({.what = ShutdownRequested{}});
  }
}

}  // namespace trainyard::sim
