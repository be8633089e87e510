// TPE finds better places than chance does, in the same number of trials, and the same places
// whatever finishes first.
#include "coordinator/core/tuner/tpe.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "tests/coordinator/core/search_job.h"

namespace trainyard::core {
namespace {

using testing::HasSubstr;

double MedianBest(Algorithm algorithm, const Learning& learning) {
  constexpr int kSeeds = 21;
  std::vector<double> best;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    SearchJob job(algorithm, HillSpace());
    job.task.limits.seed = static_cast<uint64_t>(seed);
    job.Run(learning);
    best.push_back(job.best());
  }
  std::sort(best.begin(), best.end());
  return best[kSeeds / 2];
}

// Trial 1 is not the best place there is.
double FarHill(const network::Configuration& configuration, int epoch) {
  network::Configuration moved = configuration;
  moved.training.optimizer.learning_rate *= 20;  // the best is at 0.001
  return Hill(moved, epoch);
}

TEST(Tpe, ComesCloserThanChanceInAsManyTrials) {
  const double random = MedianBest(Algorithm::kRandom, FarHill);
  const double tpe = MedianBest(Algorithm::kTpe, FarHill);
  EXPECT_LT(0.95 - tpe, 0.5 * (0.95 - random)) << tpe << " against " << random;
}

TEST(Tpe, NeitherTheOrderOfFinishingNorWaitingChangesTheTrials) {
  for (const int parallel : {2, 4}) {
    std::vector<std::string> trace;
    for (uint64_t order = 1; order <= 20; ++order) {
      SearchJob job(Algorithm::kTpe, HillSpace(), parallel);
      job.Run(FarHill, order);
      ASSERT_EQ(job.task.trials.size(), 30);
      if (order == 1) trace = job.trace;
      ASSERT_EQ(job.trace, trace) << order;
    }
  }
}

TEST(Tpe, WaitsForTheTrialsThatItLearnsFrom) {
  SearchJob job(Algorithm::kTpe, HillSpace(), /*parallel=*/2);
  job.Run(FarHill);
  job.task.trials.resize(20);
  job.task.last = 18;
  job.task.trials[18].result = TrialResult::kRunning;  // 19, which trial 21 is to learn from
  Advice advice = job.policy().Propose(job.task, 1);
  EXPECT_TRUE(advice.next.empty());
  EXPECT_TRUE(advice.wait);
  std::swap(job.task.trials[18].result, job.task.trials[19].result);
  advice = job.policy().Propose(job.task, 1);
  ASSERT_EQ(advice.next.size(), 1);
  EXPECT_THAT(advice.next[0].tweak.finding.text,
              HasSubstr("expected improvement from 4 good of 19 trials"));
}

TEST(Tpe, KeepsAwayFromWhereTrialsDiverge) {
  SearchJob job(Algorithm::kTpe, {LogRange("train.lr", 1e-4, 1)});
  job.task.limits.max_trials = 60;
  job.Run([](const network::Configuration& configuration, int) {
    const double rate = configuration.training.optimizer.learning_rate;
    return rate > 0.1 ? std::nan("") : 0.5 + rate;  // better and better, up to the edge
  });
  int diverged = 0;
  for (size_t i = 20; i < 60; ++i) {
    diverged += job.task.trials[i].result == TrialResult::kDiverged;
  }
  EXPECT_LT(diverged, 20);  // a quarter of the space by chance, but right beside the best place
  EXPECT_GT(job.best(), 0.58);
}

TEST(Tpe, GoesOnWhenEverythingFailed) {
  SearchJob job(Algorithm::kTpe, HillSpace());
  job.Run([](const auto&, int) { return std::nan(""); });
  EXPECT_EQ(job.task.trials.size(), 30);
}

TEST(Tpe, PrefersTheChoiceThatDidBetter) {
  const std::vector<Dimension> space = {Choices("train.optimizer", {"sgd", "adamw"}),
                                        Range("train.momentum", 0.1, 0.9)};
  const network::Configuration first = SampleRequest().configuration;
  std::vector<Observation> observations;
  for (int i = 0; i < 30; ++i) {
    const double choice = i % 2;
    observations.push_back({{choice, 0.5 + 0.01 * i}, choice});
  }
  const Space spaces(space, first);
  const Tpe tpe(spaces, observations);
  EXPECT_EQ(tpe.good(), 6);
  EXPECT_EQ(tpe.threshold(), 1);
  for (int redraw = 0; redraw < 50; ++redraw) EXPECT_EQ(tpe.Draw(1, 31, redraw)[0], 1);
}

TEST(Tpe, KnowsNothingWithoutObservations) {
  const std::vector<Dimension> space = {Range("train.momentum", 0.1, 0.9)};
  const network::Configuration first = SampleRequest().configuration;
  const Space spaces(space, first);
  const Tpe tpe(spaces, {});
  int low = 0;
  for (int redraw = 0; redraw < 200; ++redraw) low += tpe.Draw(1, 2, redraw)[0] < 0.5;
  EXPECT_NEAR(low, 100, 40);
}

}  // namespace
}  // namespace trainyard::core
