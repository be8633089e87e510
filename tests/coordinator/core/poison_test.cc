// One poisoned record sets its own job aside, at a start, and touches nothing else.
#include <gtest/gtest.h>

#include <functional>

#include "coordinator/core/invariants.h"
#include "coordinator/core/step.h"
#include "tests/coordinator/core/durable.h"
#include "tests/coordinator/core/text.h"

namespace trainyard::core {
namespace {

class Poison : public testing::Test {
 protected:
  // Two jobs, each with a worker that trains its first trial.
  void SetUp() override {
    Do("recovered");
    for (const char* spec : {"a", "b"}) {
      Do(std::string("job_submitted spec=") + spec);
      Do(std::string("worker_registered pool=external incarnation=") + spec);
    }
    Do("worker_connected worker=1");
    Do("worker_connected worker=2");
    Do("epoch_reported claim=1/1/1 sequence=1 epoch=1 step=10 train=0.5 val=0.5");
    ASSERT_TRUE(CheckState(state_).empty());
  }

  void Do(const std::string& line) { Do(ParseEvent(line)); }
  Result Do(const Event& event) {
    Result result = Step(state_, event);
    store_.Commit(state_, result.changes);
    return result;
  }

  // Restarts with what `poison` did to the records; job 2 must go on as if nothing had been.
  void RestartWith(const std::function<void(State&)>& poison) {
    state_ = store_.Load(Settings{});
    poison(state_);
    Do(Event{.what = CoordinatorRecovered{}});
    ASSERT_EQ(state_.jobs.at(JobId{1}).state, JobState::kFailed);
    EXPECT_NE(state_.jobs.at(JobId{1}).reason.find("set aside"), std::string::npos);
    EXPECT_EQ(state_.jobs.at(JobId{2}).state, JobState::kRunning);
    Forget(state_);
    EXPECT_TRUE(CheckState(state_).empty());
    Do("worker_connected worker=2 running=2/2/2");
    Do("epoch_reported claim=2/2/2 sequence=1 epoch=1 step=10 train=0.5 val=0.5");
    EXPECT_EQ(state_.epochs.size(), 1);
    Do("worker_connected worker=1 running=1/1/1");
    Do("time_passed");
    EXPECT_TRUE(CheckState(state_).empty());
  }

  State state_;
  Durable store_;
};

TEST_F(Poison, AMissingTrial) {
  RestartWith([](State& state) { state.trials.erase(TrialId{1}); });
}

TEST_F(Poison, AMissingAttempt) {
  RestartWith([](State& state) { state.attempts.erase(AttemptId{1}); });
}

TEST_F(Poison, AMissingRow) {
  RestartWith([](State& state) {
    Epoch row = state.epochs.begin()->second;
    row.key.epoch = 3;
    state.epochs[row.key] = row;
  });
}

TEST_F(Poison, AnAttemptOfAnotherTrial) {
  RestartWith([](State& state) { state.trials.at(TrialId{1}).attempt = AttemptId{2}; });
}

TEST_F(Poison, AJobWithoutTrials) {
  RestartWith([](State& state) { state.jobs.at(JobId{1}).trials.clear(); });
}

TEST_F(Poison, ARecordThatTheStoreCannotRead) {
  state_ = store_.Load(Settings{});
  Do(Event{.what = CoordinatorRecovered{.unreadable = {{JobId{1}, "trials: row 1: bad blob"}}}});
  EXPECT_EQ(state_.jobs.at(JobId{1}).state, JobState::kFailed);
  EXPECT_EQ(state_.jobs.at(JobId{2}).state, JobState::kRunning);
}

TEST_F(Poison, AJobThatIsMissingAltogetherLeavesNothingBehind) {
  state_ = store_.Load(Settings{});
  state_.jobs.erase(JobId{1});
  Do(Event{.what = CoordinatorRecovered{.unreadable = {{JobId{1}, "jobs: row 1: bad blob"}}}});
  EXPECT_TRUE(CheckState(state_).empty());
  EXPECT_EQ(state_.attempts.size(), 1);
  EXPECT_EQ(state_.workers.at(WorkerId{1}).state, WorkerState::kIdle);
}

}  // namespace
}  // namespace trainyard::core
