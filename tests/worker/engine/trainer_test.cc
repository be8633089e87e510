// The trainer keeps what trainer.h promises: what it reports and when, what it hands over, what it
// refuses. On each backend of this build.
#include "worker/engine/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <future>
#include <numeric>
#include <utility>

#include "tests/worker/engine/support/examples.h"

namespace trainyard::engine {
namespace {

using network::OptimizerKind;
using ::testing::Each;
using ::testing::ElementsAre;
using Wish = TrainingObserver::Wish;

constexpr kernels::ValueShape kShape{1, 12, 12};

class TrainerTest : public ::testing::TestWithParam<std::string> {
 protected:
  TrainerTest()
      : train_(MakePatterns(100, kShape, 5, 60, 1)),
        validation_(MakePatterns(30, kShape, 5, 60, 2)) {
    configuration_ = EverythingConfiguration(OptimizerKind::kSgd);
    data_ = {&train_, &validation_, 0, 1};
    options_.backend.name = GetParam();
    options_.backend.threads = 2;
    options_.spec_hash = "this";
  }

  Trainer Make() { return Trainer(configuration_, data_, options_); }

  Dataset train_, validation_;
  network::Configuration configuration_;
  TrainingData data_;
  TrainerOptions options_;
};

INSTANTIATE_TEST_SUITE_P(Backends, TrainerTest, ::testing::Values(TRAINYARD_BACKENDS),
                         [](const auto& info) { return info.param; });

TEST_P(TrainerTest, ReportsEveryStepEpochAndPhase) {
  Trainer trainer = Make();
  EXPECT_EQ(trainer.steps_per_epoch(), 7);  // 100 images by 16: the last batch has 4
  Recorder recorder;
  EXPECT_EQ(trainer.Run(recorder), Outcome::kCompleted);
  std::vector<int64_t> steps(21);
  std::iota(steps.begin(), steps.end(), 1);
  EXPECT_EQ(recorder.steps, steps);
  ASSERT_EQ(recorder.epochs.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(recorder.epochs[i].epoch, i + 1);
    EXPECT_EQ(recorder.epochs[i].step, 7 * (i + 1));
    EXPECT_GT(recorder.epochs[i].train_loss, 0);
    EXPECT_GT(recorder.epochs[i].val_loss, 0);
    EXPECT_GT(recorder.epochs[i].images_per_second, 0);
  }
  EXPECT_THAT(recorder.phases,
              ElementsAre(Phase::kTraining, Phase::kEvaluating, Phase::kTraining,
                          Phase::kEvaluating, Phase::kTraining, Phase::kEvaluating));
  EXPECT_EQ(trainer.steps_done(), 21);
  EXPECT_EQ(trainer.epochs_done(), 3);
}

TEST_P(TrainerTest, GivesTheSameWhereverItsNetworkWasLowered) {
  const auto result = [&](LoweredNetwork lowered) {
    Trainer trainer(configuration_, data_, options_, std::move(lowered));
    Recorder recorder;
    recorder.end_at_step = 8;
    recorder.end_wish = Wish::kStop;
    trainer.Run(recorder);
    return SerializeCheckpoint(recorder.checkpoints.back());
  };
  const std::string here = result({});
  const auto elsewhere = [&](int64_t images) {
    return std::async(
               std::launch::async,
               [&, images] { return LowerNetwork(configuration_, images, options_.backend); })
        .get();
  };
  EXPECT_EQ(elsewhere(100).plan.graph.batch_size, 16);
  EXPECT_EQ(elsewhere(5).plan.graph.batch_size, 5);
  EXPECT_TRUE(result(elsewhere(100)) == here);
  EXPECT_TRUE(result(elsewhere(5)) == here) << "for another batch than it turned out to be";
}

TEST_P(TrainerTest, TrainsOnTheLastPartialBatchToo) {
  Trainer trainer = Make();
  Recorder recorder;
  recorder.end_at_step = 7;
  recorder.end_wish = Wish::kStop;
  EXPECT_EQ(trainer.Run(recorder), Outcome::kStopped);
  ASSERT_EQ(recorder.checkpoints.size(), 1u);
  EXPECT_EQ(recorder.checkpoints[0].epoch_images, 100);
}

TEST_P(TrainerTest, LastBatchOfASingleImageIsTrainedOn) {
  configuration_.training.batch_size = 33;
  Trainer trainer = Make();
  EXPECT_EQ(trainer.steps_per_epoch(), 4);
  Recorder recorder;
  EXPECT_EQ(trainer.Run(recorder), Outcome::kCompleted);
}

TEST_P(TrainerTest, BatchLargerThanTheDataIsOneStep) {
  configuration_.training.batch_size = 1000;
  Trainer trainer = Make();
  EXPECT_EQ(trainer.steps_per_epoch(), 1);
  Recorder recorder;
  EXPECT_EQ(trainer.Run(recorder), Outcome::kCompleted);
}

TEST_P(TrainerTest, HandsOverCheckpointsAtEpochEndsAndBetween) {
  options_.checkpoint_every_steps = 3;
  Trainer trainer = Make();
  Recorder recorder;
  trainer.Run(recorder);
  std::vector<int64_t> steps;
  for (const Checkpoint& checkpoint : recorder.checkpoints) {
    steps.push_back(checkpoint.step);
    EXPECT_EQ(checkpoint.end_of_epoch, checkpoint.step % 7 == 0);
    EXPECT_EQ(checkpoint.epoch, checkpoint.step / 7);
    EXPECT_EQ(checkpoint.spec_hash, "this");
    EXPECT_EQ(checkpoint.fingerprint, trainer.fingerprint());
    EXPECT_TRUE(checkpoint.exact);
    EXPECT_TRUE(checkpoint.state.moment2.empty());
  }
  EXPECT_THAT(steps, ElementsAre(3, 6, 7, 9, 12, 14, 15, 18, 21));
}

TEST_P(TrainerTest, HandsOverCheckpointsByTime) {
  options_.checkpoint_every_ms = 1;
  configuration_.training.epochs = 1;
  class Slow : public Recorder {
    void OnStep(int64_t steps_done) override {
      Recorder::OnStep(steps_done);
      const auto start = std::chrono::steady_clock::now();
      while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(2)) {
      }
    }
  } recorder;
  Make().Run(recorder);
  EXPECT_EQ(recorder.checkpoints.size(), 7u);
}

TEST_P(TrainerTest, SameSeedSameBytesOtherSeedOthers) {
  const auto final_bytes = [&] {
    Recorder recorder;
    Make().Run(recorder);
    return SerializeCheckpoint(recorder.checkpoints.back());
  };
  const std::string first = final_bytes();
  EXPECT_EQ(final_bytes(), first);
  ++configuration_.training.seed;
  EXPECT_NE(final_bytes(), first);
}

TEST_P(TrainerTest, AbandonEndsAtOnceAndSilently) {
  Trainer trainer = Make();
  Recorder recorder;
  recorder.end_at_step = 5;
  EXPECT_EQ(trainer.Run(recorder), Outcome::kAbandoned);
  EXPECT_EQ(recorder.steps.size(), 5u);
  EXPECT_TRUE(recorder.checkpoints.empty());
  EXPECT_TRUE(recorder.epochs.empty());
}

TEST_P(TrainerTest, EvaluationCanBeInterruptedAndIsThenDoneAgain) {
  class DuringEvaluation : public Recorder {
    void OnPhase(Phase phase) override {
      Recorder::OnPhase(phase);
      if (phase == Phase::kEvaluating) end_at_step = 0;
    }
  } recorder;
  recorder.end_wish = Wish::kStop;
  EXPECT_EQ(Make().Run(recorder), Outcome::kStopped);
  EXPECT_TRUE(recorder.epochs.empty());
  ASSERT_EQ(recorder.checkpoints.size(), 1u);
  EXPECT_EQ(recorder.checkpoints[0].step, 7);
  EXPECT_FALSE(recorder.checkpoints[0].end_of_epoch);

  Trainer again = Make();
  EXPECT_TRUE(again.Restore(recorder.checkpoints[0]));
  Recorder continued, undisturbed;
  again.Run(continued);
  Make().Run(undisturbed);
  ASSERT_EQ(continued.epochs.size(), 3u);
  EXPECT_EQ(Reproducible(continued.epochs[0]), Reproducible(undisturbed.epochs[0]));
  EXPECT_EQ(SerializeCheckpoint(continued.checkpoints.back()),
            SerializeCheckpoint(undisturbed.checkpoints.back()));
}

TEST_P(TrainerTest, LossThatIsNoNumberEndsTheTrialAndNoCheckpointHoldsOne) {
  configuration_.training.optimizer.learning_rate = 100;
  configuration_.training.optimizer.clip_norm = 0;
  configuration_.training.schedule.kind = network::ScheduleKind::kConstant;
  configuration_.training.epochs = 200;
  configuration_.network = PlainNetwork({1, 12, 12}, 5);
  options_.checkpoint_every_steps = 1;
  Recorder recorder;
  Trainer trainer = Make();
  EXPECT_EQ(trainer.Run(recorder), Outcome::kDiverged);
  ASSERT_FALSE(recorder.epochs.empty());
  EXPECT_FALSE(std::isfinite(recorder.epochs.back().train_loss) &&
               std::isfinite(recorder.epochs.back().val_loss));
  for (const Checkpoint& checkpoint : recorder.checkpoints) {
    EXPECT_LT(checkpoint.step, trainer.steps_done());
    for (float value : checkpoint.state.parameters) ASSERT_TRUE(std::isfinite(value));
  }
}

TEST_P(TrainerTest, ValidationMetricsAreThoseOfTheWeightsAtTheEpochsEnd) {
  Trainer trainer = Make();
  Recorder recorder;
  trainer.Run(recorder);
  const Evaluation validation = trainer.EvaluateValidation();
  EXPECT_EQ(validation.count, 30);
  EXPECT_EQ(validation.loss, recorder.epochs.back().val_loss);
  EXPECT_EQ(validation.accuracy, recorder.epochs.back().val_accuracy);
  const Evaluation evaluation = trainer.Evaluate(validation_);
  EXPECT_EQ(evaluation.loss, validation.loss);
  EXPECT_EQ(evaluation.confusion, validation.confusion);
}

TEST_P(TrainerTest, ConfusionCountsEveryImageAndAgreesWithLogitsAndAccuracy) {
  Trainer trainer = Make();
  Recorder recorder;
  trainer.Run(recorder);
  const Evaluation evaluation = trainer.Evaluate(validation_);
  ASSERT_EQ(evaluation.confusion.size(), 25u);
  int64_t right = 0;
  for (int truth = 0; truth < 5; ++truth) {
    const auto row = evaluation.confusion.begin() + truth * 5;
    EXPECT_EQ(std::accumulate(row, row + 5, int64_t{0}), 6) << "images of class " << truth;
    right += row[truth];
  }
  EXPECT_DOUBLE_EQ(evaluation.accuracy, right / 30.0);
  const std::vector<float> logits = trainer.Logits(validation_);
  ASSERT_EQ(logits.size(), 150u);
  double loss = 0;
  for (int i = 0; i < 30; ++i) {
    double sum = 0;
    for (int k = 0; k < 5; ++k) sum += std::exp(double{logits[i * 5 + k]});
    loss += std::log(sum) - logits[i * 5 + validation_.images().labels[i]];
  }
  EXPECT_NEAR(evaluation.loss, loss / 30, 1e-5);
}

TEST_P(TrainerTest, WithoutValidationSetThePartSetAsideIsNotTrainedOn) {
  data_.validation = nullptr;
  data_.validation_fraction = 0.2;
  Trainer trainer = Make();
  EXPECT_EQ(trainer.steps_per_epoch(), 5);  // 80 images by 16
  EXPECT_EQ(trainer.EvaluateValidation().count, 20);
}

TEST_P(TrainerTest, WithoutAnyValidationTrainingGoesOn) {
  data_.validation = nullptr;
  Trainer trainer = Make();
  Recorder recorder;
  EXPECT_EQ(trainer.Run(recorder), Outcome::kCompleted);
  EXPECT_EQ(recorder.epochs.size(), 3u);
  EXPECT_EQ(trainer.EvaluateValidation().count, 0);
}

TEST_P(TrainerTest, CompletedTrialHasNothingLeftToDo) {
  Recorder recorder;
  Make().Run(recorder);
  Trainer trainer = Make();
  trainer.Restore(recorder.checkpoints.back());
  Recorder nothing;
  EXPECT_EQ(trainer.Run(nothing), Outcome::kCompleted);
  EXPECT_TRUE(nothing.steps.empty());
  EXPECT_EQ(trainer.EvaluateValidation().loss, recorder.epochs.back().val_loss);
}

TEST_P(TrainerTest, CheckpointOfAnotherTrialIsRefusedByWhatDiffers) {
  Recorder recorder;
  Make().Run(recorder);
  const Checkpoint good = recorder.checkpoints.front();
  const auto refuses = [&](auto change, std::vector<std::string> words) {
    Checkpoint bad = good;
    change(bad);
    return ThrowsNaming([&] { Make().Restore(bad); }, words);
  };
  EXPECT_TRUE(refuses([](Checkpoint& c) { c.spec_hash = "that"; }, {"spec hash", "that", "this"}));
  EXPECT_TRUE(refuses([](Checkpoint& c) { c.seed = 9; }, {"seed", "found 9"}));
  EXPECT_TRUE(refuses([](Checkpoint& c) { c.parameters.pop_back(); }, {"number of tensors"}));
  EXPECT_TRUE(refuses([](Checkpoint& c) { c.parameters[0].dims[0] = 4; },
                      {"tensor", "layers.0.weight (4, 1, 3, 3)", "layers.0.weight (8, 1, 3, 3)"}));
  EXPECT_TRUE(refuses([](Checkpoint& c) { c.state.moment1.clear(); }, {"first moments"}));
  EXPECT_TRUE(
      refuses([](Checkpoint& c) { c.state.moment2 = c.state.moment1; }, {"second moments"}));
  EXPECT_TRUE(refuses([](Checkpoint& c) { c.normalise_mean[0] += 1; }, {"normalisation"}));
  EXPECT_TRUE(refuses([](Checkpoint& c) { c.step = 6; }, {"step", "found 6"}));
  EXPECT_TRUE(refuses([](Checkpoint& c) { c.epoch = 4; }, {"epoch", "found 4"}));
}

TEST_P(TrainerTest, OtherFingerprintContinuesButIsNeverExactAgain) {
  Recorder recorder;
  Make().Run(recorder);
  Checkpoint foreign = recorder.checkpoints.front();
  foreign.fingerprint = "another machine";
  Trainer trainer = Make();
  EXPECT_FALSE(trainer.Restore(foreign));
  Recorder continued;
  EXPECT_EQ(trainer.Run(continued), Outcome::kCompleted);
  ASSERT_EQ(continued.checkpoints.size(), 2u);
  EXPECT_FALSE(continued.checkpoints[0].exact);
  Trainer later = Make();
  EXPECT_TRUE(later.Restore(continued.checkpoints[0]));
  Recorder last;
  later.Run(last);
  EXPECT_FALSE(last.checkpoints.back().exact);
}

TEST_P(TrainerTest, DataAndNetworkThatDisagreeAreRefused) {
  const auto refuses = [&](std::vector<std::string> words) {
    return ThrowsNaming([&] { Make(); }, words);
  };
  configuration_.network.input = {1, 14, 14};
  EXPECT_TRUE(refuses({"training data", "1x12x12", "1x14x14"}));
  configuration_.network = EverythingNetwork({1, 12, 12}, 4);
  EXPECT_TRUE(refuses({"training data", "label 4", "0 to 3"}));
  configuration_ = EverythingConfiguration(OptimizerKind::kSgd);
  configuration_.training.batch_size = 0;
  EXPECT_TRUE(refuses({"batch_size"}));
  configuration_ = EverythingConfiguration(OptimizerKind::kSgd);
  configuration_.network.layers.pop_back();
  EXPECT_TRUE(refuses({"network"}));
  configuration_ = EverythingConfiguration(OptimizerKind::kSgd);
  const Dataset empty(kShape, {}, {});
  data_.train = &empty;
  EXPECT_TRUE(refuses({"training data", "0 images"}));
  data_.train = nullptr;
  EXPECT_TRUE(refuses({"training data"}));
}

TEST_P(TrainerTest, EvaluatingDataOfAnotherShapeIsRefused) {
  Trainer trainer = Make();
  const Dataset other = MakePatterns(10, {1, 6, 6}, 5, 10, 1);
  EXPECT_TRUE(ThrowsNaming([&] { trainer.Evaluate(other); }, {"data to evaluate", "1x6x6"}));
  EXPECT_TRUE(ThrowsNaming([&] { trainer.Logits(other); }, {"data to evaluate", "1x6x6"}));
}

TEST_P(TrainerTest, NormalisationIsThatOfTheImagesTrainedOn) {
  // Training images of 0 and 255 by turns, validation images of another brightness.
  std::vector<uint8_t> pixels(4 * 144);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = i % 2 ? 255 : 0;
  const Dataset train(kShape, pixels, {0, 1, 2, 3});
  const Dataset validation(kShape, std::vector<uint8_t>(144, 7), {0});
  data_ = {&train, &validation, 0, 1};
  configuration_.training.epochs = 1;
  Recorder recorder;
  Make().Run(recorder);
  EXPECT_THAT(recorder.checkpoints[0].normalise_mean, ElementsAre(0.5f));
  EXPECT_THAT(recorder.checkpoints[0].normalise_inverse_std, ElementsAre(2.0f));
  configuration_.training.augmentation.normalise = false;
  Recorder plain;
  Make().Run(plain);
  EXPECT_THAT(plain.checkpoints[0].normalise_mean, ElementsAre(0.0f));
  EXPECT_THAT(plain.checkpoints[0].normalise_inverse_std, ElementsAre(1.0f));
}

TEST_P(TrainerTest, OneColourImagesDoNotDivideByZero) {
  const Dataset grey(kShape, std::vector<uint8_t>(4 * 144, 100), {0, 1, 2, 3});
  data_ = {&grey, &grey, 0, 1};
  Recorder recorder;
  EXPECT_EQ(Make().Run(recorder), Outcome::kCompleted);
  EXPECT_THAT(recorder.checkpoints[0].normalise_inverse_std, ElementsAre(1.0f));
}

}  // namespace
}  // namespace trainyard::engine
