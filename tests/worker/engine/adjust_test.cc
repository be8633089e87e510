// Changes in mid-run: whoever has the list of adjustments repeats the trial byte for byte, however
// often it is killed, and whether the list was there from the start or came while it ran.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <optional>
#include <random>

#include "tests/worker/engine/support/examples.h"
#include "worker/engine/initialise.h"
#include "worker/engine/trainer.h"

namespace trainyard::engine {
namespace {

using network::Configuration;
using network::OptimizerKind;
using ::testing::ElementsAre;
using Wish = TrainingObserver::Wish;

constexpr int64_t kStepsPerEpoch = 10;

// What the coordinator and the disk have of a trial when a process of it is gone.
struct Remains {
  std::string checkpoint;             // bytes of the last one handed over
  std::map<int, std::string> epochs;  // metrics by epoch
  std::vector<Adjustment> adjustments;
};

// Offers what is still to come of a list, each at a step of its own.
class Tinkerer : public Recorder {
 public:
  Tinkerer(Trainer& trainer, Remains* remains) : trainer_(trainer), remains_(*remains) {}

  void OnEpoch(const EpochMetrics& metrics) override {
    Recorder::OnEpoch(metrics);
    const std::string text = Reproducible(metrics);
    const auto [row, fresh] = remains_.epochs.emplace(metrics.epoch, text);
    EXPECT_TRUE(fresh || row->second == text) << row->second << " came out again as " << text;
  }
  void OnCheckpoint(Checkpoint checkpoint) override {
    remains_.checkpoint = SerializeCheckpoint(checkpoint);
    ended_at_checkpoint.push_back(trainer_.ended());
    Recorder::OnCheckpoint(std::move(checkpoint));
  }
  Wish AtStepBoundary() override {
    const int64_t done = trainer_.steps_done();
    while (remains_.adjustments.size() < to_offer.size()) {
      const auto& [offer_at, adjustment] = to_offer[remains_.adjustments.size()];
      if (offer_at > done) break;
      const auto number = static_cast<int>(remains_.adjustments.size() + 1);
      const AdjustmentAnswer answer = trainer_.Offer(number, adjustment);
      EXPECT_TRUE(answer.taken) << "number " << number << " of step " << adjustment.step
                                << " at step " << done;
      remains_.adjustments.push_back(adjustment);
    }
    return Recorder::AtStepBoundary();
  }

  std::vector<std::pair<int64_t, Adjustment>> to_offer;  // from so many steps on
  std::vector<bool> ended_at_checkpoint;

 private:
  Trainer& trainer_;
  Remains& remains_;
};

void SetDropout(double rate, std::vector<network::Layer>* layers) {
  for (network::Layer& layer : *layers) {
    if (auto* dropout = std::get_if<network::Dropout>(&layer.op)) dropout->rate = rate;
  }
}

// Some of everything that may change in mid-run, steps in order.
std::vector<Adjustment> RandomAdjustments(Configuration now, std::mt19937* random) {
  const auto below = [&](int n) {
    return static_cast<int>((*random)() % static_cast<unsigned>(n));
  };
  std::vector<Adjustment> adjustments;
  int64_t step = 0;
  for (int i = 1 + below(4); i > 0; --i) {
    Adjustment adjustment;
    step += below(9);
    adjustment.step = step;
    network::Training& training = now.training;
    switch (below(6)) {
      case 0:
        training.optimizer.learning_rate *= 0.3;
        break;
      case 1:
        training.optimizer.momentum = 0.1 * below(9);
        training.optimizer.beta1 = 0.1 * below(9);
        training.optimizer.clip_norm = below(3);
        break;
      case 2:
        SetDropout(0.1 * below(6), &now.network.layers);
        break;
      case 3:
        training.label_smoothing = 0.05 * below(4);
        training.augmentation.shift = below(3);
        training.augmentation.cutout = below(5);
        training.augmentation.flip = below(2) == 1;
        break;
      case 4:
        adjustment.at_epoch = true;
        training.epochs = 2 + below(3);
        training.optimizer.weight_decay = 0.001 * below(3);
        break;
      default:
        adjustment.at_epoch = true;
        training.schedule.kind = network::ScheduleKind::kCosine;
        training.schedule.final_factor = 0.1 * below(5);
    }
    adjustment.configuration = now;
    if (adjustment.at_epoch) step = (step + kStepsPerEpoch - 1) / kStepsPerEpoch * kStepsPerEpoch;
    adjustments.push_back(adjustment);
  }
  return adjustments;
}

class AdjustTest : public ::testing::TestWithParam<std::string> {
 protected:
  AdjustTest()
      : configuration_(EverythingConfiguration(OptimizerKind::kSgd)),
        train_(MakePatterns(150, {1, 12, 12}, 5, 60, 1)),
        validation_(MakePatterns(30, {1, 12, 12}, 5, 60, 2)) {
    options_.backend.name = GetParam();
    options_.backend.threads = 1;
    options_.checkpoint_every_steps = 4;
  }

  Trainer Make() { return Trainer(configuration_, {&train_, &validation_, 0, 1}, options_); }

  // Goes on from the remains until `kill_at` steps are done, as a process of its own would.
  Outcome Go(Remains* remains, int64_t kill_at,
             const std::vector<std::pair<int64_t, Adjustment>>& to_offer = {}) {
    options_.adjustments = remains->adjustments;
    Trainer trainer = Make();
    if (!remains->checkpoint.empty()) {
      EXPECT_TRUE(trainer.Restore(ParseCheckpoint(remains->checkpoint)));
    }
    Tinkerer tinkerer(trainer, remains);
    tinkerer.to_offer = to_offer;
    tinkerer.end_at_step = kill_at;
    return trainer.Run(tinkerer);
  }

  Remains Undisturbed(const std::vector<Adjustment>& adjustments) {
    Remains remains;
    remains.adjustments = adjustments;
    EXPECT_EQ(Go(&remains, INT64_MAX), Outcome::kCompleted);
    return remains;
  }

  // Another rate from this step on.
  Adjustment RateAt(int64_t step, double rate = 0.001) const {
    Adjustment adjustment{.step = step, .configuration = configuration_};
    adjustment.configuration.training.optimizer.learning_rate = rate;
    return adjustment;
  }
  Adjustment EpochsAt(int64_t step, int epochs) const {
    Adjustment adjustment{.step = step, .at_epoch = true, .configuration = configuration_};
    adjustment.configuration.training.epochs = epochs;
    return adjustment;
  }

  Configuration configuration_;
  Dataset train_, validation_;
  TrainerOptions options_;
};

INSTANTIATE_TEST_SUITE_P(Backends, AdjustTest, ::testing::Values(TRAINYARD_BACKENDS),
                         [](const auto& info) { return info.param; });

TEST_P(AdjustTest, KilledAtRandomAndAdjustedAtRandomEndsWithTheBytesOfTheListInHand) {
  std::mt19937 random(5);
  for (int run = 0; run < 6; ++run) {
    const OptimizerKind kind = run % 2 == 0 ? OptimizerKind::kSgd : OptimizerKind::kAdamW;
    configuration_ = EverythingConfiguration(kind);
    const std::vector<Adjustment> adjustments = RandomAdjustments(configuration_, &random);
    const Remains expected = Undisturbed(adjustments);
    std::vector<std::pair<int64_t, Adjustment>> to_offer;
    for (const Adjustment& adjustment : adjustments) {
      to_offer.emplace_back(static_cast<int64_t>(random() % (adjustment.step + 1)), adjustment);
    }
    Remains remains;
    // Nobody can offer a change of the first step to a trial that runs; it has to have it.
    while (remains.adjustments.size() < adjustments.size() &&
           adjustments[remains.adjustments.size()].step == 0) {
      remains.adjustments.push_back(adjustments[remains.adjustments.size()]);
    }
    std::optional<Outcome> outcome;
    for (int kills = 0; outcome != Outcome::kCompleted && kills < 100; ++kills) {
      const int64_t done =
          remains.checkpoint.empty() ? 0 : ParseCheckpoint(remains.checkpoint).step;
      outcome = Go(&remains, done + 1 + static_cast<int64_t>(random() % 14), to_offer);
    }
    EXPECT_TRUE(remains.checkpoint == expected.checkpoint) << "run " << run;
    EXPECT_EQ(remains.epochs, expected.epochs) << "run " << run;
  }
}

TEST_P(AdjustTest, EachKindOfChangeChangesTheResultFromItsStepOn) {
  const Remains plain = Undisturbed({});
  std::vector<Adjustment> kinds(4, RateAt(15));
  kinds[1].configuration = configuration_;
  SetDropout(0.5, &kinds[1].configuration.network.layers);
  kinds[2].configuration = configuration_;
  kinds[2].configuration.training.augmentation.cutout = 8;
  kinds[3] = EpochsAt(15, 4);  // the schedule is another one from step 20 on
  for (const Adjustment& adjustment : kinds) {
    const Remains changed = Undisturbed({adjustment});
    EXPECT_EQ(changed.epochs.at(1), plain.epochs.at(1));
    EXPECT_EQ(changed.epochs.at(2) == plain.epochs.at(2), adjustment.at_epoch);
    EXPECT_NE(changed.epochs.at(3), plain.epochs.at(3));
    EXPECT_EQ(changed.epochs.size(), adjustment.at_epoch ? 4u : 3u);
  }
}

TEST_P(AdjustTest, AnswersSayFromWhereOnAndAreRepeated) {
  Trainer trainer = Make();
  using Answer = AdjustmentAnswer;
  EXPECT_EQ(trainer.Offer(2, RateAt(5)), (Answer{false, 0})) << "there is no first one";
  EXPECT_EQ(trainer.Offer(0, RateAt(5)), (Answer{false, 0}));
  EXPECT_EQ(trainer.Offer(1, RateAt(5)), (Answer{true, 5}));
  EXPECT_EQ(trainer.Offer(1, RateAt(7)), (Answer{true, 5})) << "held already";
  class Offering : public Recorder {
   public:
    explicit Offering(std::function<void(int64_t)> offer) : offer_(std::move(offer)) {}
    Wish AtStepBoundary() override {
      offer_(steps.back());
      return Wish::kContinue;
    }
    std::function<void(int64_t)> offer_;
  };
  Answer past, now, past_epoch, at_epoch, behind, while_evaluating;
  Offering observer([&](int64_t done) {
    if (done == 7) past = trainer.Offer(2, RateAt(6));
    if (done == 8) now = trainer.Offer(2, RateAt(8));
    if (done == 13) past_epoch = trainer.Offer(3, EpochsAt(2, 4));
    if (done == 14) at_epoch = trainer.Offer(3, EpochsAt(12, 4));
    if (done == 15) behind = trainer.Offer(4, EpochsAt(16, 4));
    if (done == 40 && trainer.adjusted_at().size() == 4) {
      while_evaluating = trainer.Offer(5, EpochsAt(40, 5));  // the last epoch is no longer the last
    }
  });
  EXPECT_EQ(trainer.Run(observer), Outcome::kCompleted);
  EXPECT_EQ(past, (Answer{false, 7}));
  EXPECT_EQ(now, (Answer{true, 8})) << "no step was made with what it was before";
  EXPECT_EQ(past_epoch, (Answer{false, 13})) << "it would have begun at step 10";
  EXPECT_EQ(at_epoch, (Answer{true, 20}));
  EXPECT_EQ(behind, (Answer{true, 20})) << "not before the one that it stands behind";
  EXPECT_EQ(while_evaluating, (Answer{true, 40}));
  EXPECT_EQ(trainer.steps_done(), 50);
  EXPECT_EQ(trainer.Offer(5, EpochsAt(40, 5)), (Answer{true, 40}));
  EXPECT_EQ(trainer.Offer(6, RateAt(60)), (Answer{false, 50})) << "it has ended";
  EXPECT_TRUE(trainer.ended());
}

TEST_P(AdjustTest, AStopBreaksTheEpochOffAndAnEpochsEndIsWhole) {
  for (const int64_t step : {13, 20}) {
    Remains remains;
    remains.adjustments = {{.step = step, .stop = true}};
    EXPECT_EQ(Go(&remains, INT64_MAX), Outcome::kStoppedEarly);
    EXPECT_EQ(remains.epochs.size(), step == 20 ? 2u : 1u);
    EXPECT_EQ(ParseCheckpoint(remains.checkpoint).step, step == 20 ? 20 : 12);
    // Continued, it ends at once, and as it did.
    const std::string checkpoint = remains.checkpoint;
    EXPECT_EQ(Go(&remains, INT64_MAX), Outcome::kStoppedEarly);
    EXPECT_EQ(remains.checkpoint, checkpoint);
  }
}

TEST_P(AdjustTest, HaltsAtARungAndGoesOnFromThereAsIfItHadNot) {
  const Remains expected = Undisturbed({});
  Remains remains;
  options_.until_epoch = 2;
  EXPECT_EQ(Go(&remains, INT64_MAX), Outcome::kHalted);
  EXPECT_EQ(remains.epochs.size(), 2u);
  EXPECT_EQ(Go(&remains, INT64_MAX), Outcome::kHalted) << "there is nothing left to do";
  options_.until_epoch = 3;  // its last epoch all the same
  EXPECT_EQ(Go(&remains, INT64_MAX), Outcome::kCompleted);
  EXPECT_EQ(remains.epochs, expected.epochs);
  EXPECT_TRUE(remains.checkpoint == expected.checkpoint);
}

TEST_P(AdjustTest, TheLastCheckpointIsKnownAsSuchWhateverEndsTheRun) {
  const auto last_is_known = [&](const std::vector<Adjustment>& adjustments, int until_epoch) {
    options_.adjustments = adjustments;
    options_.until_epoch = until_epoch;
    options_.checkpoint_every_steps = 0;
    Trainer trainer = Make();
    Remains remains;
    Tinkerer tinkerer(trainer, &remains);
    trainer.Run(tinkerer);
    return tinkerer.ended_at_checkpoint;
  };
  EXPECT_THAT(last_is_known({}, 0), ElementsAre(false, false, true));
  EXPECT_THAT(last_is_known({EpochsAt(15, 2)}, 0), ElementsAre(false, true));
  EXPECT_THAT(last_is_known({EpochsAt(15, 4)}, 0), ElementsAre(false, false, false, true));
  EXPECT_THAT(last_is_known({{.step = 20, .stop = true}}, 0), ElementsAre(false, true));
  EXPECT_THAT(last_is_known({}, 2), ElementsAre(false, true));
}

TEST_P(AdjustTest, ACheckpointMadeWithOtherAdjustmentsIsRefusedByStep) {
  const std::vector<Adjustment> held = {RateAt(5), RateAt(14)};
  Remains remains;
  remains.adjustments = held;
  Go(&remains, 13);  // the second one has not taken effect
  const Checkpoint checkpoint = ParseCheckpoint(remains.checkpoint);
  EXPECT_EQ(checkpoint.step, 12);
  ASSERT_EQ(checkpoint.adjusted.size(), 1u);
  EXPECT_EQ(checkpoint.adjusted[0].step, 5);
  const auto refuses = [&](const std::vector<Adjustment>& adjustments,
                           const std::vector<std::string>& words) {
    options_.adjustments = adjustments;
    return ThrowsNaming([&] { Make().Restore(checkpoint); }, words);
  };
  EXPECT_TRUE(refuses({}, {"adjustments", "found at step 5", "expected none"}));
  EXPECT_TRUE(refuses({RateAt(6)}, {"found at step 5", "expected at step 6"}));
  EXPECT_TRUE(refuses({RateAt(5, 0.002)}, {"adjustments", "at step 5"}));
  EXPECT_TRUE(refuses({RateAt(5), RateAt(11)}, {"expected at step 5", "at step 11"}));
  EXPECT_TRUE(refuses({{.step = 5, .stop = true}}, {"adjustments"}));
  options_.adjustments = {RateAt(5), RateAt(12)};
  EXPECT_TRUE(Make().Restore(checkpoint)) << "another one may follow";
}

TEST_P(AdjustTest, WhatCannotBeChangedInMidRunIsRefusedByNumber) {
  Adjustment wider = RateAt(5);
  std::get<network::Conv>(wider.configuration.network.layers[0].op).filters = 16;
  Adjustment seed = RateAt(5);
  ++seed.configuration.training.seed;
  Adjustment precision = RateAt(5);
  precision.configuration.training.precision = network::Precision::kBf16;
  Adjustment negative = RateAt(5, -1);
  Adjustment in_mid_epoch = EpochsAt(5, 4);
  in_mid_epoch.at_epoch = false;
  const std::vector<std::pair<Adjustment, std::string>> cases = {
      {wider, "another trial"}, {seed, "another trial"},           {precision, "another trial"},
      {negative, "train.lr"},   {in_mid_epoch, "end of an epoch"},
  };
  for (const auto& [bad, word] : cases) {
    options_.adjustments = {RateAt(2), bad};
    EXPECT_TRUE(ThrowsNaming([&] { Make(); }, {"adjustment 2", word}));
    options_.adjustments = {RateAt(2)};
    Trainer trainer = Make();
    EXPECT_TRUE(ThrowsNaming([&, &bad = bad] { trainer.Offer(2, bad); }, {"adjustment 2", word}));
    EXPECT_THAT(trainer.adjusted_at(), ElementsAre(2)) << "nothing of it is held";
  }
  Adjustment later = EpochsAt(11, 4);
  options_.adjustments = {RateAt(-1), later, later};
  options_.adjustments[2].at_epoch = false;
  EXPECT_THAT(Make().adjusted_at(), ElementsAre(0, 20, 20)) << "each where it can be";
}

TEST_P(AdjustTest, StartsFromAStateOfItsSizesOnly) {
  const kernels::ProgramState fresh = InitialState(
      network::Parameters(configuration_.network), configuration_.training.initialisation,
      OptimizerKind::kSgd, configuration_.training.seed);
  kernels::ProgramState state = fresh;
  state.moment1.clear();
  Trainer trainer = Make();
  trainer.StartFromState(state);
  Remains remains;
  Tinkerer tinkerer(trainer, &remains);
  EXPECT_EQ(trainer.Run(tinkerer), Outcome::kCompleted);
  EXPECT_TRUE(remains.checkpoint == Undisturbed({}).checkpoint) << "no moments are zeros";

  const auto refuses = [&](auto change, const std::vector<std::string>& words) {
    kernels::ProgramState bad = fresh;
    change(bad);
    return ThrowsNaming([&] { Make().StartFromState(bad); }, words);
  };
  EXPECT_TRUE(refuses([](auto& s) { s.parameters.pop_back(); }, {"parameters", "expected"}));
  EXPECT_TRUE(refuses([](auto& s) { s.statistics.push_back(0); }, {"running statistics"}));
  EXPECT_TRUE(refuses([](auto& s) { s.moment1.pop_back(); }, {"first moments"}));
  EXPECT_TRUE(refuses([](auto& s) { s.parameters[3] = NAN; }, {"no numbers"}));
}

}  // namespace
}  // namespace trainyard::engine
