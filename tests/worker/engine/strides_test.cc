// How many steps a program is given at once is nobody's business but the clock's: checkpoints,
// metrics and outcomes are the same bytes for any lengths, with adjustments, ends, and kills.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>

#include "kernels/cuda/backend.h"
#include "tests/worker/engine/support/examples.h"
#include "worker/engine/trainer.h"

namespace trainyard::engine {
namespace {

using kernels::Backend;
using kernels::Graph;
using kernels::ImageSet;
using kernels::Program;
using kernels::StepResult;
using kernels::StepScalars;
using network::OptimizerKind;

constexpr int64_t kStepsPerEpoch = 10, kSteps = 30;
constexpr int64_t kCheckpointEvery = 4;

// The lengths asked for, and the first steps and lengths of what was trained.
struct Strides {
  std::mt19937 random;
  int most = 1;
  std::vector<std::pair<int64_t, int64_t>> trained;
};

// Another backend's program that asks for strides of random lengths.
class StridingProgram : public Program {
 public:
  StridingProgram(std::unique_ptr<Program> inner, Strides* strides)
      : inner_(std::move(inner)), strides_(*strides) {}

  int StepsAtOnce() const override {
    return 1 + static_cast<int>(strides_.random() % static_cast<unsigned>(strides_.most));
  }
  void TrainSteps(const ImageSet& images, std::span<const int32_t> indices,
                  std::span<const StepScalars> scalars, std::span<StepResult> results) override {
    strides_.trained.emplace_back(scalars[0].step, scalars.size());
    inner_->TrainSteps(images, indices, scalars, results);
  }
  StepResult TrainStep(const ImageSet& images, std::span<const int32_t> indices,
                       const StepScalars& scalars) override {
    return inner_->TrainStep(images, indices, scalars);
  }
  void Expect(const ImageSet& images, std::span<const int32_t> indices) override {
    inner_->Expect(images, indices);
  }
  void SetNormalisation(std::span<const float> mean, std::span<const float> inverse) override {
    inner_->SetNormalisation(mean, inverse);
  }
  void WriteState(const kernels::ProgramState& state) override { inner_->WriteState(state); }
  void ReadState(kernels::ProgramState& state) const override { inner_->ReadState(state); }
  kernels::EvaluationResult Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                                     std::span<float> logits) override {
    return inner_->Evaluate(images, indices, logits);
  }
  void ReadGradients(std::span<float> gradients) const override {
    inner_->ReadGradients(gradients);
  }
  int64_t MemoryBytes() const override { return inner_->MemoryBytes(); }
  std::string Fingerprint() const override { return inner_->Fingerprint(); }

 private:
  const std::unique_ptr<Program> inner_;
  Strides& strides_;
};

class StridingBackend : public Backend {
 public:
  StridingBackend(std::unique_ptr<Backend> inner, Strides* strides)
      : inner_(std::move(inner)), strides_(strides) {}
  std::string name() const override { return inner_->name(); }
  std::unique_ptr<Program> Lower(const Graph& graph) override {
    return std::make_unique<StridingProgram>(inner_->Lower(graph), strides_);
  }

 private:
  const std::unique_ptr<Backend> inner_;
  Strides* const strides_;
};

// All that a trial gives.
struct Given {
  std::optional<Outcome> outcome;
  int64_t steps_done = 0;
  std::vector<std::string> epochs, checkpoints;
  bool operator==(const Given&) const = default;
};

Given GivenBy(const Recorder& recorder, Outcome outcome, const Trainer& trainer) {
  Given given{outcome, trainer.steps_done(), {}, {}};
  for (const EpochMetrics& epoch : recorder.epochs) given.epochs.push_back(Reproducible(epoch));
  for (const Checkpoint& checkpoint : recorder.checkpoints) {
    given.checkpoints.push_back(SerializeCheckpoint(checkpoint));
  }
  return given;
}

class StridesTest : public ::testing::Test {
 protected:
  // The last batch of each epoch is a smaller one.
  StridesTest()
      : configuration_(EverythingConfiguration(OptimizerKind::kSgd)),
        train_(MakePatterns(150, {1, 12, 12}, 5, 60, 1)),
        validation_(MakePatterns(30, {1, 12, 12}, 5, 60, 2)) {
    options_.checkpoint_every_steps = kCheckpointEvery;
  }

  // most: of the strides' lengths; `seed` decides on each.
  Trainer Make(int most, unsigned seed, std::unique_ptr<Backend> inner = nullptr) {
    strides_ = {std::mt19937(seed), most, {}};
    if (inner == nullptr) inner = kernels::MakeBackend({"reference", 0});
    return Trainer(configuration_, {&train_, &validation_, 0, 1}, options_,
                   {.backend = std::make_unique<StridingBackend>(std::move(inner), &strides_)});
  }
  Given Run(int most, unsigned seed = 0, std::unique_ptr<Backend> inner = nullptr) {
    Trainer trainer = Make(most, seed, std::move(inner));
    Recorder recorder;
    const Outcome outcome = trainer.Run(recorder);
    return GivenBy(recorder, outcome, trainer);
  }
  Adjustment RateAt(int64_t step, double rate) const {
    Adjustment adjustment{.step = step, .configuration = configuration_};
    adjustment.configuration.training.optimizer.learning_rate = rate;
    return adjustment;
  }

  network::Configuration configuration_;
  Dataset train_, validation_;
  TrainerOptions options_;
  Strides strides_;
};

TEST_F(StridesTest, OfAnyLengthGiveTheSameBytes) {
  for (const OptimizerKind kind : {OptimizerKind::kSgd, OptimizerKind::kAdamW}) {
    configuration_ = EverythingConfiguration(kind);
    for (const int64_t every : {int64_t{0}, kCheckpointEvery}) {
      options_.checkpoint_every_steps = every;
      options_.adjustments = {RateAt(3, 0.002), RateAt(16, 0.0005)};
      const Given expected = Run(1);
      EXPECT_EQ(expected.steps_done, kSteps);
      for (unsigned seed = 0; seed < 4; ++seed) EXPECT_TRUE(Run(9, seed) == expected);
    }
  }
}

TEST_F(StridesTest, EndAtCheckpointsAndLeaveTheMeasuredStepAlone) {
  Run(100);
  int64_t next = 0;
  for (const auto& [first, steps] : strides_.trained) {
    EXPECT_EQ(first, next);
    next = first + steps;
    if (steps == 1) continue;
    EXPECT_EQ(first / kCheckpointEvery, (next - 1) / kCheckpointEvery) << "from step " << first;
    // Of ten, the ninth is the last whole batch, the tenth a smaller one.
    EXPECT_LE(next % kStepsPerEpoch, 8) << "from step " << first;
    EXPECT_EQ(first / kStepsPerEpoch, (next - 1) / kStepsPerEpoch);
  }
  EXPECT_EQ(next, kSteps);
  EXPECT_LT(strides_.trained.size(), static_cast<size_t>(kSteps) * 2 / 3);
}

TEST_F(StridesTest, StopWhereTheTrialIsToStop) {
  for (const int64_t step : {int64_t{1}, int64_t{6}, int64_t{17}}) {
    Adjustment stop{.step = step, .stop = true};
    options_.adjustments = {stop};
    const Given expected = Run(1);
    EXPECT_EQ(expected.outcome, Outcome::kStoppedEarly);
    EXPECT_EQ(expected.steps_done, step);
    EXPECT_TRUE(Run(9) == expected) << "before step " << step;
  }
}

TEST_F(StridesTest, EndAtTheStepThatDivergesWithItsMetrics) {
  options_.checkpoint_every_steps = 0;
  network::Training& training = configuration_.training;
  training.optimizer.clip_norm = 0;
  training.schedule.kind = network::ScheduleKind::kConstant;
  training.epochs = 200;
  configuration_.network = PlainNetwork({1, 12, 12}, 5);
  bool in_mid_stride = false;
  for (const int64_t step : {1, 2, 5, 13}) {
    options_.adjustments = {RateAt(step, 100)};
    const Given expected = Run(1);
    EXPECT_EQ(expected.outcome, Outcome::kDiverged);
    for (unsigned seed = 0; seed < 4; ++seed) {
      EXPECT_TRUE(Run(9, seed) == expected) << "from step " << step;
      const auto [first, steps] = strides_.trained.back();
      in_mid_stride |= first + steps > expected.steps_done;
    }
  }
  EXPECT_TRUE(in_mid_stride);
}

// Offers another rate at every boundary, for a step that is past, the next one, or a later one.
class Tinkerer : public Recorder {
 public:
  Tinkerer(Trainer& trainer, std::vector<Adjustment>* taken, Adjustment adjustment, unsigned seed)
      : trainer_(trainer), taken_(*taken), adjustment_(std::move(adjustment)), random_(seed) {}
  Wish AtStepBoundary() override {
    const int64_t done = trainer_.steps_done();
    adjustment_.step = done - 1 + static_cast<int64_t>(random_() % 6);
    adjustment_.configuration.training.optimizer.learning_rate *= 0.9;
    const int64_t earliest = taken_.empty() ? 0 : taken_.back().step;
    const int64_t step = std::max(adjustment_.step, earliest);
    const AdjustmentAnswer answer =
        trainer_.Offer(static_cast<int>(taken_.size()) + 1, adjustment_);
    EXPECT_EQ(answer, (AdjustmentAnswer{step >= done, step >= done ? step : done}));
    if (answer.taken) {
      taken_.push_back(adjustment_);
      taken_.back().step = answer.step;
    }
    refused |= !answer.taken;
    return Recorder::AtStepBoundary();
  }
  bool refused = false;

 private:
  Trainer& trainer_;
  std::vector<Adjustment>& taken_;
  Adjustment adjustment_;
  std::mt19937 random_;
};

TEST_F(StridesTest, AdjustedAtBoundariesAndKilledGiveTheBytesOfTheListInHand) {
  bool refused = false;
  for (unsigned seed = 0; seed < 5; ++seed) {
    std::mt19937 random(seed);
    std::vector<Adjustment> taken;
    std::string checkpoint;
    std::optional<Outcome> outcome;
    for (int kills = 0; outcome != Outcome::kCompleted; ++kills) {
      ASSERT_LT(kills, 100);
      options_.adjustments = taken;
      Trainer trainer = Make(7, static_cast<unsigned>(random()));
      if (!checkpoint.empty()) {
        EXPECT_TRUE(trainer.Restore(ParseCheckpoint(checkpoint)));
      }
      Tinkerer tinkerer(trainer, &taken, RateAt(0, 0.002), static_cast<unsigned>(random()));
      tinkerer.end_at_step = trainer.steps_done() + 1 + static_cast<int64_t>(random() % 14);
      outcome = trainer.Run(tinkerer);
      refused |= tinkerer.refused;
      if (!tinkerer.checkpoints.empty()) {
        checkpoint = SerializeCheckpoint(tinkerer.checkpoints.back());
      }
    }
    options_.adjustments = taken;
    EXPECT_TRUE(Run(1).checkpoints.back() == checkpoint) << "seed " << seed;
  }
  EXPECT_TRUE(refused);
}

// The step program itself, with data sets in its memory and such that stream.
TEST_F(StridesTest, OnTheEmulatedMachineGiveTheSameBytesHoweverImagesCome) {
  configuration_.training.epochs = 1;
  const auto run = [&](int most, int64_t data_bytes_max) {
    return Run(
        most, 1,
        kernels::cuda::MakeCudaBackend({.libraries = false, .data_bytes_max = data_bytes_max}));
  };
  const Given expected = run(1, 0);
  EXPECT_EQ(expected.outcome, Outcome::kCompleted);
  EXPECT_TRUE(run(5, 0) == expected);
  EXPECT_TRUE(run(1, 1) == expected);
  EXPECT_TRUE(run(5, 1) == expected);
  EXPECT_TRUE(run(5, 8 * 16 * 148) == expected);
}

}  // namespace
}  // namespace trainyard::engine
