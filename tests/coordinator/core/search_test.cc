// A random search proposes what seed and trial number say: new, valid trials within the limits,
// whatever finishes first.
#include "coordinator/core/tuner/search.h"

#include <gmock/gmock.h>

#include <set>

#include "network/shapes.h"
#include "tests/coordinator/core/search_job.h"

namespace trainyard::core {
namespace {

using testing::HasSubstr;

TEST(RandomSearch, TheSameSeedDrawsTheSameTrialsAndAnotherDrawsOthers) {
  std::vector<std::vector<std::string>> traces;
  for (const uint64_t seed : {1, 1, 2}) {
    SearchJob job(Algorithm::kRandom, HillSpace());
    job.task.limits.seed = seed;
    job.Run(Hill);
    traces.push_back(job.trace);
  }
  EXPECT_EQ(traces[0].size(), 29);
  EXPECT_EQ(traces[0], traces[1]);
  EXPECT_NE(traces[0], traces[2]);
}

TEST(RandomSearch, NeitherTheOrderOfFinishingNorTheNumberOfSlotsChangesTheTrials) {
  SearchJob alone(Algorithm::kRandom, HillSpace());
  alone.Run(Hill);
  for (uint64_t order = 1; order <= 20; ++order) {
    SearchJob job(Algorithm::kRandom, HillSpace(), /*parallel=*/4);
    job.Run(Hill, order);
    ASSERT_EQ(job.trace, alone.trace) << order;
  }
}

TEST(RandomSearch, IsSpreadOverTheSpace) {
  SearchJob job(Algorithm::kRandom, HillSpace());
  job.task.limits.max_trials = 200;
  job.Run(Hill);
  int low = 0;
  int adamw = 0;
  for (const TrialHistory& trial : job.task.trials) {
    const network::Optimizer& optimizer = trial.configuration.training.optimizer;
    EXPECT_GE(optimizer.learning_rate, 1e-4);
    EXPECT_LE(optimizer.learning_rate, 1);
    low += optimizer.learning_rate < 1e-2;  // half of the logarithm
    adamw += optimizer.kind == network::OptimizerKind::kAdamW;
  }
  EXPECT_NEAR(low, 100, 25);
  EXPECT_NEAR(adamw, 100, 25);
}

TEST(RandomSearch, StopsWhenTheSpaceIsUsedUp) {
  SearchJob job(Algorithm::kRandom,
                {Choices("train.batch_size", {"32", "64", "128"}), Range("network.depth", 0, 1)});
  job.Run(Hill);
  // Trial 1, with 128 and no block more, is one of the six.
  EXPECT_EQ(job.task.trials.size(), 6);
  EXPECT_THAT(job.stop, HasSubstr("the space is used up"));
}

TEST(RandomSearch, StopsAtTheLastTrialThatTheJobMayHave) {
  SearchJob job(Algorithm::kRandom, HillSpace(), /*parallel=*/3);
  job.task.limits.max_trials = 5;
  job.Run(Hill);
  EXPECT_EQ(job.task.trials.size(), 5);
  EXPECT_THAT(job.stop, HasSubstr("all 5 trials"));
}

TEST(RandomSearch, DrawsAgainWhatIsTooLarge) {
  SearchJob job(Algorithm::kRandom, {Range("network.width", 0.5, 16)});
  const network::Network& first = job.task.trials[0].configuration.network;
  job.task.limits.max_parameters = 4 * network::ParameterCount(first);
  job.task.limits.max_trials = 8;
  job.Run(Hill);  // which holds every trial to the limits
  EXPECT_GT(job.task.trials.size(), 2);
}

TEST(RandomSearch, SaysWhatItDrewAndHowItDiffersFromTrialOne) {
  SearchJob job(Algorithm::kRandom, {Choices("train.batch_size", {"32", "64"})});
  const Advice advice = job.policy().Propose(job.task, 1);
  ASSERT_EQ(advice.next.size(), 1);
  const Tweak& tweak = advice.next[0].tweak;
  EXPECT_EQ(advice.next[0].base, 1);
  EXPECT_EQ(tweak.move, "search");
  EXPECT_EQ(tweak.finding.text, "trial 2 of the random search");
  ASSERT_EQ(tweak.changes.size(), 1);
  EXPECT_EQ(tweak.changes[0].path, "train.batch_size");
  EXPECT_EQ(tweak.changes[0].from, "128");
  EXPECT_THAT(tweak.reason, HasSubstr("train.batch_size " + tweak.changes[0].to));
}

TEST(Search, FillsAllSlotsBeforeAnythingHasEnded) {
  for (const Algorithm algorithm : {Algorithm::kRandom, Algorithm::kTpe, Algorithm::kAsha}) {
    SearchJob job(algorithm, HillSpace(), /*parallel=*/4);
    job.task.trials[0].configuration.training.epochs = 9;
    job.task.trials[0].result = TrialResult::kRunning;
    job.task.trials[0].until_epoch = job.policy().FirstRung(job.task.limits);
    const Advice advice = job.policy().Propose(job.task, 3);
    EXPECT_EQ(advice.next.size(), 3);
    EXPECT_EQ(advice.finding.kind, FindingKind::kNone);
  }
}

// A coordinator that crashed asks again, with the same records.
TEST(Search, TheSameQuestionHasTheSameAnswer) {
  for (const Algorithm algorithm : {Algorithm::kRandom, Algorithm::kTpe, Algorithm::kAsha}) {
    SearchJob job(algorithm, HillSpace(), /*parallel=*/2);
    job.Run(Hill);
    job.task.trials.resize(20);
    job.task.last = 20;
    const Advice once = job.policy().Propose(job.task, 2);
    const Advice again = job.policy().Propose(job.task, 2);
    ASSERT_FALSE(once.next.empty());
    ASSERT_EQ(once.next.size(), again.next.size());
    for (size_t i = 0; i < once.next.size(); ++i) {
      EXPECT_EQ(once.next[i].configuration, again.next[i].configuration);
      EXPECT_EQ(once.next[i].tweak, again.next[i].tweak);
    }
  }
}

TEST(Search, ChangesOfProgramsAreSearchedToo) {
  SearchJob job(Algorithm::kRandom,
                {LogRange("changes.lr", 1e-4, 1e-1), Range("changes.width", 1, 2, 0.5)});
  job.task.trials[0].configuration = {};
  job.task.limits.max_trials = 6;
  job.task.trials[0].configuration.changes.epochs = 3;
  job.Run([](const auto&, int) { return 0.5; });
  EXPECT_EQ(job.task.trials.size(), 6);
  EXPECT_NE(job.task.trials[5].configuration.changes.learning_rate, 0);
}

TEST(Score, IsOfTheBestEpochThatCounts) {
  const Target accuracy{.metric = TargetMetric::kValAccuracy, .bound = 0.9};
  const Target loss{.metric = TargetMetric::kValLoss, .bound = 0.1};
  TrialHistory trial;
  EXPECT_EQ(Score(trial, accuracy), -std::numeric_limits<double>::infinity());
  for (const double a : {0.5, 0.8, std::nan(""), 0.7, 0.9}) {
    trial.epochs.push_back({.val_loss = 1 - a, .val_accuracy = a});
  }
  EXPECT_EQ(Score(trial, accuracy), 0.9);
  EXPECT_EQ(Score(trial, accuracy, 4), 0.8);
  EXPECT_EQ(Score(trial, loss, 1), -0.5);
}

}  // namespace
}  // namespace trainyard::core
