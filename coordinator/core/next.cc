// What comes after a trial: another one, several, waiting for a person, or the end of training.
#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/ranking.h"
#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuner/policy.h"
#include "coordinator/core/tuning.h"
#include "coordinator/core/walk.h"
#include "network/adjust.h"
#include "network/shapes.h"

namespace trainyard::core {
namespace {

// Why no further trial may start; empty: one may.
std::string Spent(const State& state, const Job& job) {
  const Budget& budget = job.request.budget;
  if (budget.time_ms > 0 && TrainingTime(state, job) >= budget.time_ms) {
    return absl::StrFormat("the budget of %.0f s is spent", budget.time_ms / 1000.0);
  }
  if (budget.epochs > 0 && LiveEpochs(state, job) >= budget.epochs) {
    return absl::StrCat("the budget of ", budget.epochs, " epochs is spent");
  }
  return "";
}

// How many of the last trials came no closer than one before them. Of trials in parallel only
// those count that are surely over when the next one starts, whichever is faster.
int WithoutProgress(const State& state, const Job& job) {
  int since = 0;
  std::optional<double> best;
  const int counted = static_cast<int>(job.trials.size()) + 1 - job.request.tuning.parallel;
  for (const TrialId id : job.trials) {
    const Trial& trial = state.trials.at(id);
    if (!trial.ended() || trial.number > counted) continue;
    const std::optional<double> value = BestValue(state, job, id);
    const bool better = value && (!best || Better(job.request.target, *value, *best));
    since = better ? 0 : since + 1;
    if (better) best = value;
  }
  return since;
}

// Why the tuner may not start another trial; empty: it may.
std::string TuningSpent(const State& state, const Job& job) {
  const TuningLimits& tuning = job.request.tuning;
  const int trials = static_cast<int>(job.trials.size());
  for (const int limit : {job.request.budget.trials, tuning.max_trials}) {
    if (limit > 0 && trials >= limit) {
      return absl::StrCat("the budget of ", limit, limit == 1 ? " trial" : " trials", " is spent");
    }
  }
  if (!tuning.enabled) {
    return job.request.configuration.IsProgram()
               ? "tuning is off, or the program takes no changes from outside"
               : "tuning is off";
  }
  // ASHA halts what gets no closer by itself.
  if (tuning.patience > 0 && tuning.algorithm != Algorithm::kAsha &&
      WithoutProgress(state, job) >= tuning.patience) {
    return absl::StrCat("no progress in ", tuning.patience,
                        tuning.patience == 1 ? " trial" : " trials");
  }
  return "";
}

int TrialsLeft(const Job& job) {
  const int most = TrialsMax(job);
  if (most == 0) return std::numeric_limits<int>::max();
  return std::max(0, most - static_cast<int>(job.trials.size()));
}

// What a trial built on this one starts from; none: from fresh weights.
CheckpointId WeightsFrom(const State& state, const Job& job, const Trial* base) {
  if (base == nullptr || !job.request.tuning.inherit) return {};
  if (base->configuration.IsProgram()) return {};
  const Checkpoint* weights = WeightsOf(state, *base);
  return weights != nullptr ? weights->id : CheckpointId{};
}

// A failure that another configuration would meet too: the last two that ended failed, and none
// that goes on shows otherwise.
bool FailsForGood(const State& state, const Job& job) {
  if (!Going(state, job).empty()) return false;
  int failed = 0;
  int ended = 0;
  for (auto id = job.trials.rbegin(); id != job.trials.rend() && ended < 2; ++id) {
    const Trial& trial = state.trials.at(*id);
    if (!trial.ended()) continue;
    ++ended;
    const bool for_good = trial.state == TrialState::kFailed &&
                          state.attempts.at(trial.attempt).cause != Cause::kOutOfMemory;
    if (ended == 1 && !for_good) return false;
    failed += for_good ? 1 : 0;
  }
  return failed > 0 && failed == ended && (ended == 2 || job.trials.size() == 1);
}

void TellDiagnosis(Turn& turn, const Job& job, TrialId trial, const Finding& finding) {
  if (finding.kind == FindingKind::kNone && finding.text.empty()) return;
  turn.Tell({.kind = HistoryKind::kDiagnosis,
             .job = job.id,
             .trial = trial,
             .text = absl::StrCat(FindingName(finding.kind), ": ", finding.text)});
}

void StartProposal(Turn& turn, JobId id, const Proposal& proposal, CheckpointId inherits,
                   int until_epoch = 0) {
  Job& job = turn.Change(id);
  job.state = JobState::kRunning;
  job.reason.clear();
  job.proposal.reset();
  const TrialId trial = StartTrial(turn, id,
                                   {.configuration = proposal.configuration,
                                    .tweak = proposal.tweak,
                                    .inherits = inherits,
                                    .until_epoch = until_epoch});
  turn.Tell({.kind = HistoryKind::kTweak,
             .job = id,
             .trial = trial,
             .text = absl::StrCat(proposal.tweak.reason, ": ",
                                  absl::StrJoin(proposal.tweak.changes, ", ", ChangeText))});
}

void Wait(Turn& turn, JobId id, std::optional<Proposal> proposal, CheckpointId inherits,
          const std::string& why) {
  Job& job = turn.Change(id);
  job.state = JobState::kWaiting;
  job.reason = why;
  job.proposal = std::move(proposal);
  job.proposal_inherits = inherits;
  turn.Tell({.kind = HistoryKind::kWaiting, .job = id, .trial = job.trials.back(), .text = why});
}

// What a person decided starts as soon as the trial that it replaces has stopped.
bool StartDecided(Turn& turn, JobId id) {
  const Job& job = turn.state.jobs.at(id);
  if (!job.decided) return false;
  const Trial* base = TrialOf(turn.state, job, job.decided->tweak.base);
  if (base != nullptr && base->going()) return false;
  const CheckpointId inherits = WeightsFrom(turn.state, job, base);
  const Proposal decided = *job.decided;
  turn.Change(id).decided.reset();
  StartProposal(turn, id, decided, inherits);
  return true;
}

void Finish(Turn& turn, JobId id, const std::string& why) {
  EndTrials(turn, id, why);
  FinishJob(turn, id, /*target_met=*/false, MissedText(turn.state, turn.state.jobs.at(id), why));
}

void Follow(Turn& turn, JobId id, const Advice& advice) {
  for (const Promotion& promotion : advice.promotions) {
    const Trial* trial = TrialOf(turn.state, turn.state.jobs.at(id), promotion.trial);
    if (trial == nullptr || trial->state != TrialState::kHalted) continue;
    PromoteTrial(turn, trial->id, promotion.until_epoch);
  }
  for (const NextTrial& next : advice.next) {
    const Job& job = turn.state.jobs.at(id);
    const Trial* base = next.inherit ? TrialOf(turn.state, job, next.base) : nullptr;
    StartProposal(turn, id, {next.tweak, next.configuration}, WeightsFrom(turn.state, job, base),
                  next.until_epoch);
  }
}

// A manual job has one trial at a time, and a person says which.
void AskPerson(Turn& turn, JobId id, const Advice& advice, const std::string& spent) {
  const Job& job = turn.state.jobs.at(id);
  if (advice.next.empty() || !spent.empty()) {
    return Wait(turn, id, std::nullopt, CheckpointId{}, spent.empty() ? advice.stop : spent);
  }
  const NextTrial& next = advice.next.front();
  const Trial* base = next.inherit ? TrialOf(turn.state, job, next.base) : nullptr;
  Wait(turn, id, Proposal{next.tweak, next.configuration}, WeightsFrom(turn.state, job, base),
       next.tweak.reason);
}

// The problems of a person's configuration, one a line; empty: none.
std::string ProblemsOf(const network::Configuration& configuration) {
  std::vector<network::Problem> problems;
  if (configuration.IsProgram()) {
    problems = network::CheckChanges(configuration.changes);
  } else {
    problems = network::CheckNetwork(configuration.network);
    if (problems.empty()) {
      problems = network::CheckTraining(configuration.training, configuration.network);
    }
  }
  return absl::StrJoin(problems, "\n", [](std::string* out, const network::Problem& problem) {
    absl::StrAppend(out, problem.path, ": ", problem.message);
  });
}

// Likewise, as a trial of its own.
std::string ProblemsAsTrial(const State& state, const Job& job,
                            const network::Configuration& configuration) {
  for (const TrialId id : job.trials) {
    const Trial& trial = state.trials.at(id);
    if (trial.configuration != configuration) continue;
    return absl::StrCat("the same as trial ", trial.number, ": nothing would change");
  }
  return ProblemsOf(configuration);
}

Tweak ByPerson(const Trial& base, const network::Configuration& wanted) {
  return {.finding = {.kind = FindingKind::kManual, .text = "a person decided"},
          .reason = "a person decided",
          .changes = Difference(base.current(), wanted),
          .move = "manual",
          .base = base.number};
}

// The trial that a person means, or nullptr after saying why there is none.
const Trial* TrialMeant(Turn& turn, const TweakRequested& event, const Job& job) {
  const std::vector<TrialId> going = Going(turn.state, job);
  const auto refuse = [&](const std::string& why) {
    turn.Refuse(event.request, absl::StatusCode::kFailedPrecondition, why);
    return nullptr;
  };
  if (event.trial == 0) {
    if (going.size() == 1) return &turn.state.trials.at(going.front());
    const auto number = [&](std::string* out, TrialId id) {
      absl::StrAppend(out, turn.state.trials.at(id).number);
    };
    return refuse(absl::StrCat("trials ", absl::StrJoin(going, ", ", number),
                               " are running: say which one is meant"));
  }
  const Trial* trial = TrialOf(turn.state, job, event.trial);
  if (trial == nullptr) {
    return refuse(absl::StrCat("job ", job.id.value, " has no trial ", event.trial));
  }
  if (!trial->going()) {
    return refuse(absl::StrCat("trial ", event.trial, " is not running: ", Name(trial->state)));
  }
  return trial;
}

// Why the trial cannot be changed in flight now; empty: it can.
std::string InTheWay(const State& state, const Trial& trial, const network::Configuration& wanted) {
  if (Unsettled(trial)) {
    return absl::StrCat("an earlier change of trial ", trial.number,
                        " is still on its way to the worker: try again in a moment");
  }
  const bool ends = !trial.adjustments.empty() && trial.adjustments.back().stop;
  if (ends || state.attempts.at(trial.attempt).cause == Cause::kTweaked) {
    return absl::StrCat("trial ", trial.number, " is about to end");
  }
  const int done = LiveEpochs(state, trial.id);
  if (wanted.training.epochs <= done) {
    return absl::StrCat("train.epochs: found ", wanted.training.epochs, ", expected more than the ",
                        done, " that are done");
  }
  return "";
}

void TweakRunning(Turn& turn, const TweakRequested& event, const Job& job) {
  const auto refuse = [&](absl::StatusCode code, std::string why) {
    turn.Refuse(event.request, code, std::move(why));
  };
  const Trial* trial = TrialMeant(turn, event, job);
  if (trial == nullptr) return;
  const network::Configuration& wanted = *event.configuration;
  if (wanted == trial->current()) {
    return refuse(absl::StatusCode::kInvalidArgument,
                  absl::StrCat("trial ", trial->number, " is like that: nothing would change"));
  }
  const network::Boundary boundary = network::BoundaryOf(trial->current(), wanted);
  if (boundary == network::Boundary::kTrial) {
    const std::string problems = ProblemsAsTrial(turn.state, job, wanted);
    if (!problems.empty()) return refuse(absl::StatusCode::kInvalidArgument, problems);
    if (job.decided) {
      return refuse(absl::StatusCode::kFailedPrecondition,
                    "a trial is being stopped for an earlier change: try again when the next one "
                    "runs");
    }
    const TrialId stopped = trial->id;
    turn.Accept(event.request, event.job.value, false,
                absl::StrCat("trial ", trial->number, " is stopped, trial ", job.trials.size() + 1,
                             " follows"));
    turn.Change(event.job).decided = Proposal{ByPerson(*trial, wanted), wanted};
    return StopAttemptFor(turn, turn.state.trials.at(stopped).attempt, Cause::kTweaked,
                          "stopped for a person's tweak");
  }
  if (const std::string problems = ProblemsOf(wanted); !problems.empty()) {
    return refuse(absl::StatusCode::kInvalidArgument, problems);
  }
  if (const std::string why = InTheWay(turn.state, *trial, wanted); !why.empty()) {
    return refuse(absl::StatusCode::kFailedPrecondition, why);
  }
  const std::string effect = AdjustTrial(turn, trial->id,
                                         {.at_epoch = boundary == network::Boundary::kEpoch,
                                          .configuration = wanted,
                                          .tweak = ByPerson(*trial, wanted)});
  turn.Accept(event.request, event.job.value, false, effect);
}

void TweakWaiting(Turn& turn, const TweakRequested& event, const Job& job) {
  if (event.trial != 0) {
    return turn.Refuse(
        event.request, absl::StatusCode::kFailedPrecondition,
        absl::StrCat("trial ", event.trial, " is not running: the job waits for the next one"));
  }
  const bool as_proposed =
      job.proposal && (!event.configuration || *event.configuration == job.proposal->configuration);
  if (!as_proposed) {
    const std::string problems = ProblemsAsTrial(turn.state, job, *event.configuration);
    if (!problems.empty()) {
      return turn.Refuse(event.request, absl::StatusCode::kInvalidArgument, problems);
    }
  }
  const Trial& base = BaseOfProposal(turn.state, job);
  const Proposal proposal =
      as_proposed ? *job.proposal
                  : Proposal{ByPerson(base, *event.configuration), *event.configuration};
  const CheckpointId inherits =
      job.proposal ? job.proposal_inherits : WeightsFrom(turn.state, job, &base);
  turn.Accept(event.request, event.job.value, false,
              absl::StrCat("trial ", job.trials.size() + 1, " starts"));
  StartProposal(turn, event.job, proposal, inherits);
}

}  // namespace

std::string MissedText(const State& state, const Job& job, const std::string& why) {
  const Target& target = job.request.target;
  const Checkpoint* best = BestOfJob(state, job);
  if (best == nullptr) return why;
  return absl::StrFormat("best %s misses %s by %.4f: %s%s", ValueText(target, *best->metric),
                         TargetText(target), std::abs(Needed(target) - *best->metric), why,
                         NextTry(state, job));
}

void FillUp(Turn& turn, JobId id, TrialId last) {
  const Job& job = turn.state.jobs.at(id);
  const TuningLimits& tuning = job.request.tuning;
  const int going = static_cast<int>(Going(turn.state, job).size());
  const int parallel = job.request.manual ? 1 : tuning.parallel;
  const int room = parallel - going - (job.decided ? 1 : 0);
  if (room <= 0) return;
  const std::string spent = TuningSpent(turn.state, job);
  const bool over = !spent.empty() && TrialsLeft(job) > 0;  // nothing that is halted goes on either
  Advice advice;
  if (!over || going == 0) {
    advice = PolicyOf(tuning.algorithm).Propose(TaskOf(turn.state, job, last), room);
    if (last) TellDiagnosis(turn, job, last, advice.finding);
  }
  if (over) advice.promotions.clear();
  if (!spent.empty()) advice.next.clear();
  const auto left = static_cast<size_t>(TrialsLeft(job));
  if (advice.next.size() > left) advice.next.resize(left);
  if (job.request.manual && advice.promotions.empty()) {
    return AskPerson(turn, id, advice, spent);
  }
  if (!advice.next.empty() || !advice.promotions.empty()) return Follow(turn, id, advice);
  if (going > 0 || job.decided) return;
  Finish(turn, id, spent.empty() ? advice.stop : spent);
}

void DecideNext(Turn& turn, JobId id, TrialId last) {
  const Job& job = turn.state.jobs.at(id);
  if (FailsForGood(turn.state, job)) {
    const std::string reason = turn.state.trials.at(last).reason;
    if (job.trials.size() == 1) return EndJob(turn, id, JobState::kFailed, reason);
    return Finish(turn, id, reason);
  }
  if (const std::string spent = Spent(turn.state, job); !spent.empty()) {
    return Finish(turn, id, spent);
  }
  StartDecided(turn, id);
  FillUp(turn, id, last);
}

void On(Turn& turn, const TweakRequested& event) {
  const Job* job = FindJob(turn, event.request, event.job);
  if (job == nullptr) return;
  if (job->state == JobState::kFinishing) {
    return turn.Refuse(event.request, absl::StatusCode::kFailedPrecondition,
                       "training is over: the best checkpoint is being published");
  }
  if (!event.configuration && !job->proposal) {
    return turn.Refuse(event.request, absl::StatusCode::kFailedPrecondition,
                       "there is no proposal to accept; say what to change");
  }
  if (job->state == JobState::kWaiting) return TweakWaiting(turn, event, *job);
  TweakRunning(turn, event, *job);
}

}  // namespace trainyard::core
