// Shows that a person's tweak is held to what a spec is held to, and changes nothing else.
#include "coordinator/watch/tweak_overrides.h"

#include "coordinator/source/spec_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/small_spec.h"

namespace trainyard::coordinator {
namespace {

using ::testing::HasSubstr;

class TweakOverridesTest : public ::testing::Test {
 protected:
  v1::JobSpec spec_ = SmallSpec();
  network::Configuration base_ = SmallConfiguration();
};

TEST_F(TweakOverridesTest, WhatIsNamedChangesAndNothingElse) {
  const auto tweaked = ApplyToConfiguration(
      spec_, base_, {"train.lr=0.005", "network.layers[0].conv.filters=16", "train.epochs=9"});
  ASSERT_TRUE(tweaked.ok()) << tweaked.status();
  network::Configuration expected = base_;
  expected.training.optimizer.learning_rate = 0.005;
  expected.training.epochs = 9;
  std::get<network::Conv>(expected.network.layers[0].op).filters = 16;
  EXPECT_EQ(*tweaked, expected);
}

TEST_F(TweakOverridesTest, TheBaseIsTheProposalNotTheSpec) {
  base_.training.batch_size = 64;
  const auto tweaked = ApplyToConfiguration(spec_, base_, {"train.epochs=9"});
  ASSERT_TRUE(tweaked.ok()) << tweaked.status();
  EXPECT_EQ(tweaked->training.batch_size, 64);
}

// The space names layers of trial 1, which a later network may no longer have.
TEST_F(TweakOverridesTest, ASearchedJobIsTweakedLikeAnyOther) {
  spec_.mutable_tune()->set_algorithm(v1::Tune::RANDOM);
  v1::Dimension* dimension = spec_.mutable_tune()->add_space();
  dimension->set_path("network.layers[17].conv.filters");
  dimension->set_max(8);
  const auto tweaked = ApplyToConfiguration(spec_, base_, {"train.epochs=9"});
  ASSERT_TRUE(tweaked.ok()) << tweaked.status();
  EXPECT_EQ(tweaked->training.epochs, 9);
}

TEST_F(TweakOverridesTest, OnlyNetworkAndTrainingMayChange) {
  for (const char* text : {"data.format=cifar", "target=0.5", "name=other", "budget.trials=1"}) {
    const auto tweaked = ApplyToConfiguration(spec_, base_, {text});
    EXPECT_TRUE(absl::IsInvalidArgument(tweaked.status())) << text;
    EXPECT_THAT(std::string(tweaked.status().message()), HasSubstr("network or train"));
  }
}

TEST_F(TweakOverridesTest, ValuesAreHeldToWhatASpecIsHeldTo) {
  for (const char* text : {"train.lr=fast", "train.lr=-1", "train.epochz=3", "train.batch_size=0",
                           "network.layers[0].conv.filters=0", "network.layers[3].dense=3"}) {
    const auto tweaked = ApplyToConfiguration(spec_, base_, {text});
    EXPECT_TRUE(absl::IsInvalidArgument(tweaked.status())) << text << ": " << tweaked.status();
  }
}

TEST(TweakProgram, OneThatTakesNoChangesSaysSo) {
  const auto parsed = ReadSpec({"program: {command: ./train, framework: torch}"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  v1::JobSpec spec = coordinator::ToProto(parsed->spec);
  const auto refused = ApplyToConfiguration(spec, {}, {"changes.epochs=3"});
  EXPECT_THAT(std::string(refused.status().message()), testing::HasSubstr("TRAINYARD_PARAMS_FILE"));
  spec.mutable_program()->set_takes_changes(true);
  const auto tweaked = ApplyToConfiguration(spec, {}, {"changes.epochs=3"});
  ASSERT_TRUE(tweaked.ok()) << tweaked.status();
  EXPECT_EQ(tweaked->changes.epochs, 3);
  const auto native = ApplyToConfiguration(spec, {}, {"train.epochs=3"});
  EXPECT_THAT(std::string(native.status().message()), testing::HasSubstr("expected changes"));
}

}  // namespace
}  // namespace trainyard::coordinator
