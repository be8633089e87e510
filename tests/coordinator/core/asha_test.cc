// Successive halving gives the epochs to those that deserve them: the best trains to the end, the
// others cost little, and who was faster decides nothing.
#include "coordinator/core/tuner/asha.h"

#include <gmock/gmock.h>

#include "tests/coordinator/core/search_job.h"

namespace trainyard::core {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kEpochs = 27;

// Where a trial ends follows from its learning rate, and so does how far it is at each epoch.
double Rising(const network::Configuration& configuration, int epoch) {
  return Hill(configuration, epoch) * (1 - 0.5 / epoch);
}

SearchJob AshaJob(int trials, int parallel = 1) {
  SearchJob job(Algorithm::kAsha, HillSpace(), parallel);
  job.task.limits.max_trials = trials;
  job.task.trials[0].configuration.training.epochs = kEpochs;
  return job;
}

int TrialsAt(const SearchJob& job, size_t epochs) {
  return static_cast<int>(
      std::count_if(job.task.trials.begin(), job.task.trials.end(),
                    [epochs](const auto& trial) { return trial.epochs.size() >= epochs; }));
}

TEST(Rungs, MultiplyUpToTheEpochs) {
  TuningLimits limits;
  EXPECT_THAT(Rungs(limits, 27), ElementsAre(1, 3, 9, 0));
  EXPECT_THAT(Rungs(limits, 26), ElementsAre(1, 3, 0));
  EXPECT_THAT(Rungs(limits, 3), ElementsAre(1, 0));
  EXPECT_THAT(Rungs(limits, 2), ElementsAre(0));
  limits.min_epochs = 2;
  limits.eta = 4;
  EXPECT_THAT(Rungs(limits, 100'000), ElementsAre(2, 8, 32, 128, 512, 2048, 8192, 0));
}

TEST(Asha, TheBestTrainsToTheEndAndTheOthersCostLittle) {
  SearchJob job = AshaJob(27);
  job.Run(Rising);
  const auto best = std::max_element(job.task.trials.begin(), job.task.trials.end(),
                                     [](const auto& a, const auto& b) {
                                       return Hill(a.configuration, 1) < Hill(b.configuration, 1);
                                     });
  EXPECT_EQ(best->epochs.size(), kEpochs) << "trial " << best->number;
  EXPECT_EQ(best->result, TrialResult::kCompleted);
  EXPECT_EQ(TrialsAt(job, 1), 27);
  EXPECT_GE(TrialsAt(job, 3), 9);
  EXPECT_LE(TrialsAt(job, 3), 15) << "asynchronous: a few more than a third";
  EXPECT_LT(job.epochs, 27 * kEpochs / 4);
  EXPECT_THAT(job.stop, HasSubstr("all 27 trials"));
}

TEST(Asha, PromotesAsSoonAsTheRungHasEnough) {
  SearchJob job = AshaJob(27);
  job.Run([](const auto&, int) { return 0.5; });  // all alike: the first ones go on
  EXPECT_THAT(std::vector(job.trace.begin() + 2, job.trace.begin() + 4),
              ElementsAre("promote 1 to 3", testing::StartsWith("start")));
}

TEST(Asha, NeitherTheOrderOfFinishingNorWaitingChangesTheDecisions) {
  for (const int parallel : {2, 3, 5}) {
    std::vector<std::string> trace;
    for (uint64_t order = 1; order <= 40; ++order) {
      SearchJob job = AshaJob(20, parallel);
      job.Run(Rising, order);
      // What is decided in one breath has no order.
      std::sort(job.trace.begin(), job.trace.end());
      if (order == 1) trace = job.trace;
      ASSERT_EQ(job.trace, trace) << parallel << " slots, order " << order;
      ASSERT_GE(TrialsAt(job, kEpochs), 1);
    }
  }
}

// However few trials there are, one of them is trained to the end.
TEST(Asha, OneReachesTheTopWhateverTheNumberOfTrials) {
  for (int trials = 1; trials <= 12; ++trials) {
    for (const int parallel : {1, 4}) {
      SearchJob job = AshaJob(trials, parallel);
      job.Run(Rising);
      EXPECT_GE(TrialsAt(job, kEpochs), 1) << trials << " trials, " << parallel << " slots";
      EXPECT_EQ(job.task.trials.size(), trials);
    }
  }
}

TEST(Asha, WhatDivergesIsNeverPromoted) {
  SearchJob job = AshaJob(20, /*parallel=*/3);
  job.Run([](const network::Configuration& configuration, int epoch) {
    const double rate = configuration.training.optimizer.learning_rate;
    if (rate > 0.1) return std::nan("");
    return epoch > 3 && rate > 0.01 ? std::nan("") : Rising(configuration, epoch);
  });
  EXPECT_GE(TrialsAt(job, kEpochs), 1);
  for (const TrialHistory& trial : job.task.trials) {
    if (trial.configuration.training.optimizer.learning_rate > 0.1) {
      EXPECT_EQ(trial.result, TrialResult::kDiverged);
      EXPECT_EQ(trial.until_epoch, 1);
    }
  }
}

TEST(Asha, StopsWhenEverythingDiverged) {
  SearchJob job = AshaJob(7, /*parallel=*/2);
  job.Run([](const auto&, int) { return std::nan(""); });
  EXPECT_EQ(job.task.trials.size(), 7);
  EXPECT_THAT(job.stop, HasSubstr("no halted trial"));
}

TEST(Asha, ASpaceThatIsUsedUpEndsAsTheLastTrialDoes) {
  SearchJob job(Algorithm::kAsha, {Choices("train.batch_size", {"32", "64", "128", "256"})});
  job.task.trials[0].configuration.training.epochs = 9;
  job.Run([](const network::Configuration& configuration, int epoch) {
    return 0.001 * configuration.training.batch_size * (1 - 0.5 / epoch);
  });
  EXPECT_EQ(job.task.trials.size(), 4);
  EXPECT_THAT(job.stop, HasSubstr("the space is used up"));
  for (const TrialHistory& trial : job.task.trials) {
    const bool best = trial.configuration.training.batch_size == 256;
    EXPECT_EQ(trial.result == TrialResult::kCompleted, best) << trial.number;
  }
}

TEST(Asha, WhatAPersonStoppedIsLeftAlone) {
  SearchJob job = AshaJob(4);
  job.Run(Rising);
  SearchJob stopped = AshaJob(4);
  stopped.task.trials = job.task.trials;
  for (TrialHistory& trial : stopped.task.trials) {
    trial.result = TrialResult::kCompleted;  // wherever it was
    trial.until_epoch = 1;
  }
  stopped.task.last = 4;
  const Advice advice = stopped.policy().Propose(stopped.task, 1);
  EXPECT_TRUE(advice.promotions.empty());
  EXPECT_FALSE(advice.stop.empty());
}

TEST(Asha, SaysHowFarAHaltedTrialCame) {
  SearchJob job = AshaJob(2);
  job.task.trials[0].result = TrialResult::kHalted;
  job.task.trials[0].until_epoch = 1;
  job.task.trials[0].epochs = {{.val_accuracy = 0.75}};
  job.task.last = 1;
  const Advice advice = job.policy().Propose(job.task, 1);
  EXPECT_EQ(advice.finding.text, "halted after 1 epochs at val_accuracy 0.7500");
  ASSERT_EQ(advice.next.size(), 1);
  EXPECT_EQ(advice.next[0].until_epoch, 1);
}

}  // namespace
}  // namespace trainyard::core
