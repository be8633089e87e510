// A run that is killed and continued ends with the same bytes as one that is not: final checkpoint
// and every epoch's metrics, wherever it is killed and however often. The network has batch norm,
// dropout, a residual and augmentation; both optimizers; each backend of this build.
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>

#include "tests/worker/engine/support/examples.h"
#include "worker/engine/trainer.h"

namespace trainyard::engine {
namespace {

using network::OptimizerKind;

struct Case {
  std::string backend;
  OptimizerKind optimizer;
};

// What is left of a trial when its process is gone.
struct Remains {
  std::string checkpoint;             // bytes of the last one handed over
  std::map<int, std::string> epochs;  // metrics by epoch
};

class Survivor : public Recorder {
 public:
  explicit Survivor(Remains* remains) : remains_(*remains) {}
  void OnEpoch(const EpochMetrics& metrics) override {
    const std::string text = Reproducible(metrics);
    const auto [row, fresh] = remains_.epochs.emplace(metrics.epoch, text);
    EXPECT_TRUE(fresh || row->second == text) << row->second << " came out again as " << text;
  }
  void OnCheckpoint(Checkpoint checkpoint) override {
    remains_.checkpoint = SerializeCheckpoint(checkpoint);
  }

 private:
  Remains& remains_;
};

class ResumeTest : public ::testing::TestWithParam<Case> {
 protected:
  ResumeTest()
      : train_(MakePatterns(150, {1, 12, 12}, 5, 60, 1)),
        validation_(MakePatterns(30, {1, 12, 12}, 5, 60, 2)) {
    options_.backend.name = GetParam().backend;
    options_.backend.threads = 2;
    options_.checkpoint_every_steps = 4;
  }

  // Goes on from the remains until `kill_at` steps are done, as a process of its own would.
  Outcome Go(Remains* remains, int64_t kill_at) {
    Trainer trainer(EverythingConfiguration(GetParam().optimizer), {&train_, &validation_, 0, 1},
                    options_);
    if (!remains->checkpoint.empty()) {
      EXPECT_TRUE(trainer.Restore(ParseCheckpoint(remains->checkpoint)));
    }
    Survivor survivor(remains);
    survivor.end_at_step = kill_at;
    return trainer.Run(survivor);
  }

  Remains Undisturbed() {
    Remains remains;
    EXPECT_EQ(Go(&remains, INT64_MAX), Outcome::kCompleted);
    return remains;
  }

  Dataset train_, validation_;
  TrainerOptions options_;
  static constexpr int64_t kStepsPerEpoch = 10, kSteps = 30;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const char* backend : {TRAINYARD_BACKENDS}) {
    cases.push_back({backend, OptimizerKind::kSgd});
    cases.push_back({backend, OptimizerKind::kAdamW});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Backends, ResumeTest, ::testing::ValuesIn(Cases()), [](const auto& info) {
  return info.param.backend + (info.param.optimizer == OptimizerKind::kSgd ? "Sgd" : "AdamW");
});

TEST_P(ResumeTest, KilledOnceAtAnyOfTwentyRandomSteps) {
  const Remains expected = Undisturbed();
  ASSERT_EQ(expected.epochs.size(), 3u);
  std::mt19937 random(20);
  for (int run = 0; run < 20; ++run) {
    const auto kill_at = static_cast<int64_t>(1 + random() % (kSteps - 1));
    Remains remains;
    EXPECT_EQ(Go(&remains, kill_at), Outcome::kAbandoned);
    EXPECT_EQ(Go(&remains, INT64_MAX), Outcome::kCompleted);
    EXPECT_TRUE(remains.checkpoint == expected.checkpoint) << "killed at step " << kill_at;
    EXPECT_EQ(remains.epochs, expected.epochs) << "killed at step " << kill_at;
  }
}

TEST_P(ResumeTest, KilledAtAnEpochsEnd) {
  const Remains expected = Undisturbed();
  for (int64_t kill_at : {kStepsPerEpoch - 1, kStepsPerEpoch, kStepsPerEpoch + 1}) {
    Remains remains;
    Go(&remains, kill_at);
    Go(&remains, INT64_MAX);
    EXPECT_TRUE(remains.checkpoint == expected.checkpoint) << "killed at step " << kill_at;
    EXPECT_EQ(remains.epochs, expected.epochs);
  }
}

TEST_P(ResumeTest, KilledOverAndOverInOneTrial) {
  const Remains expected = Undisturbed();
  std::mt19937 random(7);
  Remains remains;
  int kills = 0;
  std::optional<Outcome> outcome;
  while (outcome != Outcome::kCompleted) {
    const int64_t done = remains.checkpoint.empty() ? 0 : ParseCheckpoint(remains.checkpoint).step;
    // Far enough for the next checkpoint most times, else the same steps are done again.
    outcome = Go(&remains, done + 1 + static_cast<int64_t>(random() % 6));
    ASSERT_LT(++kills, 100);
  }
  EXPECT_GT(kills, 6);
  EXPECT_TRUE(remains.checkpoint == expected.checkpoint);
  EXPECT_EQ(remains.epochs, expected.epochs);
}

TEST_P(ResumeTest, HandingOverCheckpointsMoreOftenChangesNothing) {
  const Remains expected = Undisturbed();
  options_.checkpoint_every_steps = 1;
  EXPECT_TRUE(Undisturbed().checkpoint == expected.checkpoint);
  options_.checkpoint_every_steps = 0;
  EXPECT_TRUE(Undisturbed().checkpoint == expected.checkpoint);
}

}  // namespace
}  // namespace trainyard::engine
