// Shows on which configuration a person's tweak builds, that a dry run says what the core would do,
// and that what cannot be meant is refused by name.
#include "coordinator/rpc/tweak_plan.h"

#include "coordinator/convert/api.h"
#include "coordinator/core/step.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/small_spec.h"

namespace trainyard::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Job 1, whose trial 1 is queued for a worker; the tests change that by hand.
class TweakPlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Happens(core::CoordinatorRecovered{});
    Happens(core::JobSubmitted{{}, ToRequest(SmallSpec())});
    ASSERT_EQ(state.jobs.size(), 1u);
    request.set_job(1);
  }
  template <typename What>
  void Happens(What what) {
    core::Step(state, core::Event{.now_ms = 1, .wall_ms = 1, .what = std::move(what)});
  }
  core::Job& job() { return state.jobs.at(core::JobId{1}); }
  core::Trial& trial(int number) { return state.trials.at(core::TrialId{number}); }
  // Another trial that runs beside the first.
  void AddTrial() {
    const core::TrialId id{static_cast<int64_t>(job().trials.size()) + 1};
    core::Trial next = trial(1);
    next.id = id;
    next.number = static_cast<int>(id.value);
    next.configuration.training.epochs = 10 + next.number;
    state.trials[id] = next;
    job().trials.push_back(id);
  }
  void Wait(std::optional<core::Proposal> proposal) {
    trial(1).state = core::TrialState::kCompleted;
    state.attempts.at(trial(1).attempt).state = core::AttemptState::kCompleted;
    job().state = core::JobState::kWaiting;
    job().proposal = std::move(proposal);
  }
  absl::StatusOr<TweakPlan> Plan() { return PlanTweak(state, request); }
  // What a dry run says of it.
  std::string Effect() {
    const auto plan = Plan();
    if (!plan.ok()) return std::string(plan.status().message());
    const core::State before = state;
    const auto answer = Foretell(state, plan->event, 1);
    EXPECT_EQ(before, state);
    return answer.ok() ? answer->message : std::string(answer.status().message());
  }

  core::State state;
  v1::TweakJobRequest request;
};

TEST_F(TweakPlanTest, BuildsOnTheRunningTrialWithItsAdjustments) {
  core::Adjustment adjustment{.step = 5, .configuration = SmallConfiguration(), .settled = true};
  adjustment.configuration.training.optimizer.momentum = 0.5;
  trial(1).adjustments.push_back(adjustment);
  request.add_overrides("train.lr=0.005");
  const auto plan = Plan();
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->event.trial, 1);
  EXPECT_EQ(plan->event.configuration->training.optimizer.momentum, 0.5);
  EXPECT_EQ(plan->event.configuration->training.optimizer.learning_rate, 0.005);
  EXPECT_EQ(trainyard::FromProto(plan->response.configuration()), *plan->event.configuration);
  ASSERT_EQ(plan->response.tweak().changes_size(), 1);
  EXPECT_EQ(plan->response.tweak().changes(0).to(), "0.005");
  EXPECT_EQ(plan->response.tweak().base(), 1);
}

TEST_F(TweakPlanTest, WhereSeveralRunTheTrialHasToBeNamed) {
  AddTrial();
  request.add_overrides("train.lr=0.005");
  const auto unnamed = Plan();
  EXPECT_TRUE(absl::IsFailedPrecondition(unnamed.status()));
  EXPECT_THAT(std::string(unnamed.status().message()),
              HasSubstr("trials 1, 2 are running: say which one is meant, as --trial 1"));
  request.set_trial(2);
  const auto named = Plan();
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(named->event.configuration->training.epochs, 12) << "the base is trial 2";
}

TEST_F(TweakPlanTest, ATrialThatDoesNotRunIsRefusedByName) {
  AddTrial();
  trial(2).state = core::TrialState::kHalted;
  request.add_overrides("train.lr=0.005");
  request.set_trial(2);
  EXPECT_THAT(Effect(), AllOf(HasSubstr("trial 2"), HasSubstr("halted")));
  request.set_trial(7);
  EXPECT_THAT(Effect(), HasSubstr("job 1 has no trial 7"));
}

TEST_F(TweakPlanTest, ADryRunSaysWhenTheChangeTakesEffect) {
  request.add_overrides("train.lr=0.005");
  EXPECT_THAT(Effect(), HasSubstr("trial 1 changes from step "));
  request.set_overrides(0, "train.epochs=9");
  EXPECT_THAT(Effect(), HasSubstr("trial 1 changes at the end of an epoch"));
  request.set_overrides(0, "network.layers[0].conv.filters=16");
  EXPECT_EQ(Effect(), "trial 1 is stopped, trial 2 follows");
}

TEST_F(TweakPlanTest, ASecondChangeWaitsForTheFirst) {
  request.add_overrides("train.lr=0.005");
  const auto plan = Plan();
  ASSERT_TRUE(plan.ok());
  Happens(plan->event);
  ASSERT_EQ(trial(1).adjustments.size(), 1u);
  request.set_overrides(0, "train.lr=0.001");
  EXPECT_THAT(Effect(), HasSubstr("on its way"));
}

TEST_F(TweakPlanTest, WhatASpecMayNotHaveIsRefusedAndNothingHappens) {
  for (const char* text : {"train.learning=0.1", "train.lr=-1", "train.lr=fast", "name=other",
                           "network.layers[3].dense=3", "network.layers[9].dense=3", "train.lr"}) {
    request.clear_overrides();
    request.add_overrides("train.epochs=9");
    request.add_overrides(text);
    EXPECT_TRUE(absl::IsInvalidArgument(Plan().status())) << text;
  }
  request.clear_overrides();
  request.add_overrides("train.epochs=3");
  EXPECT_THAT(Effect(), HasSubstr("nothing would change"));
  EXPECT_TRUE(trial(1).adjustments.empty());
}

TEST_F(TweakPlanTest, NothingToChangeInANamedTrialIsRefused) {
  request.set_trial(1);
  EXPECT_TRUE(absl::IsInvalidArgument(Plan().status()));
  EXPECT_THAT(Effect(), HasSubstr("expected --set key=value"));
}

TEST_F(TweakPlanTest, AWaitingJobsProposalIsShownAcceptedOrChanged) {
  core::Proposal proposal{.tweak = {.reason = "longer", .base = 1},
                          .configuration = SmallConfiguration()};
  proposal.configuration.training.epochs = 8;
  Wait(proposal);
  auto plan = Plan();
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_FALSE(plan->event.configuration);
  EXPECT_EQ(plan->response.tweak().reason(), "longer");
  EXPECT_EQ(Effect(), "trial 2 starts");
  request.add_overrides("train.lr=0.005");
  plan = Plan();
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->event.configuration->training.epochs, 8) << "on top of the proposal";
  EXPECT_EQ(plan->response.tweak().changes_size(), 2) << "all that differs from trial 1";
  EXPECT_EQ(Effect(), "trial 2 starts");
}

TEST_F(TweakPlanTest, WithoutAProposalThereIsNothingToAccept) {
  Wait(std::nullopt);
  job().reason = "tuning is off";
  EXPECT_TRUE(absl::IsFailedPrecondition(Plan().status()));
  EXPECT_THAT(Effect(), AllOf(HasSubstr("no proposal to accept (tuning is off)"),
                              HasSubstr("--set key=value")));
}

TEST_F(TweakPlanTest, AForecastSaysWhatWouldFollow) {
  for (int epoch = 1; epoch <= 3; ++epoch) {
    core::Epoch& row = state.epochs[core::EpochKey{trial(1).id, epoch, trial(1).attempt}];
    row.key = {trial(1).id, epoch, trial(1).attempt};
    row.job = job().id;
    row.metrics.train_accuracy = row.metrics.val_accuracy = 0.5;
    row.metrics.train_loss = row.metrics.val_loss = 1;
  }
  v1::TweakJobResponse forecast = Forecast(state, job());
  EXPECT_THAT(forecast.effect(),
              HasSubstr("if what runs now ended as it is, trial 2 would start, built on trial 1"));
  EXPECT_GT(forecast.tweak().changes_size(), 0);
  EXPECT_NE(forecast.tweak().finding(), "");
  job().request.manual = true;
  EXPECT_THAT(Forecast(state, job()).effect(), HasSubstr("trial 2 would be proposed"));
  job().request.tuning.enabled = false;
  EXPECT_THAT(Forecast(state, job()).effect(), HasSubstr("tuning is off"));
}

}  // namespace
}  // namespace trainyard::coordinator
