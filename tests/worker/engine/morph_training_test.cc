// A grown network trains on from what its parent knew, on each backend of this build.
#include <gtest/gtest.h>

#include "tests/worker/engine/support/examples.h"
#include "worker/engine/morph/morph.h"
#include "worker/engine/trainer.h"

namespace trainyard::engine {
namespace {

using network::BatchNorm;
using network::Configuration;
using network::Conv;
using network::Relu;

constexpr kernels::ValueShape kShape{1, 12, 12};

class MorphTraining : public ::testing::TestWithParam<std::string> {
 protected:
  MorphTraining()
      : train_(MakePatterns(240, kShape, 5, 110, 1)),
        validation_(MakePatterns(200, kShape, 5, 110, 2)) {
    options_.backend.name = GetParam();
    options_.backend.threads = 1;
    parent_.network = PlainNetwork({1, 12, 12}, 5);
    parent_.training.batch_size = 32;
    parent_.training.epochs = 4;
    parent_.training.optimizer.learning_rate = 0.02;
  }

  Trainer Make(const Configuration& configuration) {
    return Trainer(configuration, {&train_, &validation_, 0, 1}, options_);
  }

  // Twice as wide, with a batch norm, and a conv deeper.
  Configuration Grown() const {
    Configuration child = parent_;
    auto& layers = child.network.layers;
    std::get<Conv>(layers[0].op).filters = 8;
    layers.insert(layers.begin() + 2, {Convolution(8, 3, 1, false), {BatchNorm{}}, {Relu{}}});
    layers.insert(layers.begin() + 1, {BatchNorm{}});
    child.training.epochs = 2;
    return child;
  }

  // The child's first state as a checkpoint that its trainer continues from.
  static Checkpoint Start(const Trainer& trainer, const Configuration& child,
                          const Checkpoint& parent, const kernels::ProgramState& state) {
    Checkpoint start;
    start.seed = child.training.seed;
    start.end_of_epoch = true;
    start.fingerprint = trainer.fingerprint();
    start.normalise_mean = parent.normalise_mean;
    start.normalise_inverse_std = parent.normalise_inverse_std;
    start.parameters = network::Parameters(child.network);
    start.state = state;
    return start;
  }

  Dataset train_, validation_;
  TrainerOptions options_;
  Configuration parent_;
};

INSTANTIATE_TEST_SUITE_P(Backends, MorphTraining, ::testing::Values(TRAINYARD_BACKENDS),
                         [](const auto& info) { return info.param; });

TEST_P(MorphTraining, GoesOnFromTheParentAndGetsBetterThanAFreshStart) {
  Recorder parent, grown, fresh;
  ASSERT_EQ(Make(parent_).Run(parent), Outcome::kCompleted);
  const Checkpoint& checkpoint = parent.checkpoints.back();
  const Configuration child = Grown();
  const Inheritance inheritance = Inherit(parent_.network, checkpoint, child);
  EXPECT_TRUE(inheritance.preserving);

  Trainer trainer = Make(child);
  ASSERT_TRUE(trainer.Restore(Start(trainer, child, checkpoint, inheritance.state)));
  EXPECT_NEAR(trainer.EvaluateValidation().loss, parent.epochs.back().val_loss,
              1e-4 * parent.epochs.back().val_loss);
  ASSERT_EQ(trainer.Run(grown), Outcome::kCompleted);
  ASSERT_EQ(Make(child).Run(fresh), Outcome::kCompleted);
  EXPECT_LT(grown.epochs[0].train_loss, fresh.epochs[0].train_loss);
  EXPECT_LT(grown.epochs[1].train_loss, fresh.epochs[1].train_loss);
  EXPECT_LT(grown.epochs[1].train_loss, parent.epochs.back().train_loss);
}

TEST_P(MorphTraining, EveryNewWeightLearns) {
  Recorder parent, grown;
  Make(parent_).Run(parent);
  Configuration child = parent_;
  std::get<Conv>(child.network.layers[0].op).filters = 8;
  child.training.epochs = 1;
  child.training.optimizer.weight_decay = 0;  // would move even what is never read
  const Checkpoint& checkpoint = parent.checkpoints.back();
  const Inheritance inheritance = Inherit(parent_.network, checkpoint, child);
  Trainer trainer = Make(child);
  trainer.Restore(Start(trainer, child, checkpoint, inheritance.state));
  trainer.Run(grown);
  const auto& before = inheritance.state.parameters;
  const auto& after = grown.checkpoints.back().state.parameters;
  size_t still = 0;
  for (size_t i = 0; i < before.size(); ++i) still += before[i] == after[i];
  EXPECT_EQ(still, 0u) << "of " << before.size();
}

}  // namespace
}  // namespace trainyard::engine
