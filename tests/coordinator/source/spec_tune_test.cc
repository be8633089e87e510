// `tune` and `target.confidence`: what is read, and every mistake with its place, what was found
// and what was expected.
#include <gmock/gmock.h>

#include "coordinator/convert/tuning.h"
#include "coordinator/source/spec_writer.h"
#include "tests/coordinator/source/spec_sample.h"

namespace trainyard::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kConvSpec[] = R"(data: {format: cifar, train: a.bin, classes: 10}
network:
  input: [3, 32, 32]
  layers:
    - conv: {filters: 8, padding: same}
    - relu
    - flatten
    - dropout: 0.5
    - dense: 10
)";

constexpr char kProgramSpec[] = "program: {command: ./train, framework: keras}\n";

v1::Tune Tune(const std::string& lines, const std::string& spec = kConvSpec) {
  return Accepted(spec + "tune:\n" + lines).tune;
}

// The refusal of the spec with a space of this one line, which is line 12.
std::string RefusalOfSpace(const std::string& line) {
  return Refusal(std::string(kConvSpec) + "tune:\n  space:\n    " + line + "\n");
}
std::string RefusalOfTune(const std::string& value) {
  return Refusal(std::string(kConvSpec) + "tune: " + value + "\n");
}

TEST(SpecTune, HasTheDefaultsOfTheCore) {
  core::TuningLimits expected;
  expected.max_trials = 10;
  EXPECT_EQ(FromTune(Accepted(kConvSpec).tune), expected);
  expected.enabled = false;
  EXPECT_EQ(FromTune(Accepted(std::string(kConvSpec) + "tune: false\n").tune), expected);
}

TEST(SpecTune, ReadsEveryKey) {
  const core::TuningLimits limits = FromTune(Tune(R"(
  max_trials: 50
  algorithm: asha
  parallel: 4
  patience: 6
  inherit: false
  in_flight: false
  seed: 18446744073709551615
  eta: 4
  min_epochs: 2
  space:
    train.lr: {min: 0.001, max: 0.1, log: true}
    train.batch_size: [32, 64, 128]
    network.width: {min: 0.5, max: 4, step: 0.5}
)"));
  EXPECT_EQ(limits.max_trials, 50);
  EXPECT_EQ(limits.algorithm, core::Algorithm::kAsha);
  EXPECT_EQ(limits.parallel, 4);
  EXPECT_EQ(limits.patience, 6);
  EXPECT_FALSE(limits.inherit);
  EXPECT_FALSE(limits.in_flight);
  EXPECT_EQ(limits.seed, 18446744073709551615u);
  EXPECT_EQ(limits.eta, 4);
  EXPECT_EQ(limits.min_epochs, 2);
  EXPECT_THAT(
      limits.space,
      ElementsAre(core::Dimension{.path = "train.lr", .min = 0.001, .max = 0.1, .log = true},
                  core::Dimension{.path = "train.batch_size", .choices = {"32", "64", "128"}},
                  core::Dimension{.path = "network.width", .min = 0.5, .max = 4, .step = 0.5}));
}

TEST(SpecTune, ASpaceWithoutAnAlgorithmIsSearchedByTpe) {
  EXPECT_EQ(Tune("  space: {train.lr: [0.1, 0.2]}\n").algorithm(), v1::Tune::TPE);
}

TEST(SpecTune, WholeNetworksAreChoicesThatLookAtTheSameImages) {
  const core::TuningLimits limits = FromTune(Tune(R"(
  space:
    network:
      - [flatten, dense: 10]
      - layers:
          - global_avg_pool
          - dense: 10
)"));
  ASSERT_EQ(limits.space.size(), 1);
  const auto& networks = limits.space[0].networks;
  ASSERT_EQ(networks.size(), 2);
  EXPECT_EQ(networks[0].input, (network::Shape{3, 32, 32}));
  EXPECT_EQ(networks[1].classes, 10);
  EXPECT_EQ(network::KindName(networks[1].layers[0]), "global_avg_pool");
}

TEST(SpecTune, LayersAndProgramsHaveTheirOwnPaths) {
  EXPECT_EQ(Tune("  space: {\"network.layers[0].conv.kernel\": [1, 3]}\n").space_size(), 1);
  const std::string space =
      "  space: {changes.lr: {min: 0.001, max: 0.1}, changes.width: [1, 2]}\n";
  EXPECT_EQ(Tune(space, kProgramSpec).space_size(), 2);
}

TEST(SpecTune, IsOverriddenByPath) {
  const std::string spec =
      std::string(kConvSpec) + "tune: {space: {train.lr: {min: 0.01, max: 0.1}}}\n";
  const v1::Tune tune = Accepted(spec, {"tune.parallel=2", "tune.space.train.lr.max=0.5",
                                        "tune.space.train.momentum=[0.8, 0.9]",
                                        "tune.space.network.depth={min: 0, max: 2}"})
                            .tune;
  EXPECT_EQ(tune.parallel(), 2);
  ASSERT_EQ(tune.space_size(), 3);
  EXPECT_EQ(tune.space(0).max(), 0.5);
  EXPECT_THAT(tune.space(1).choices(), ElementsAre("0.8", "0.9"));
  EXPECT_EQ(tune.space(2).path(), "network.depth");
  EXPECT_EQ(Accepted(kConvSpec, {"tune.max_trials=3", "tune.parallel=3"}).tune.parallel(), 3);
  EXPECT_THAT(Refusal(spec, {"tune.space.train.lr.max=0.001"}),
              HasSubstr("tune.space.train.lr: found a min of 0.01 above the max of 0.001"));
  EXPECT_THAT(Refusal(spec, {"tune.space.train.lr.log=1"}),
              HasSubstr("--set tune.space.train.lr.log: found 1, expected true or false"));
}

TEST(SpecTune, NamesWhatIsWrongWithASpace) {
  const std::pair<const char*, const char*> cases[] = {
      {"train.lr: {min: 0.1, max: 0.01}",
       "trainyard.yaml:12:15: tune.space.train.lr: found a min of 0.1 above the max of 0.01"},
      {"train.weight_decay: {min: 0, max: 1, log: true}",
       "trainyard.yaml:12:31: tune.space.train.weight_decay.min: found 0 beside log: true"},
      {"train.lr: {min: 0.1}", "12:15: tune.space.train.lr: found no max, expected both ends"},
      {"train.lr: {min: 0.1, max: 0.2, step: 0}", "train.lr.step: found 0, expected a number"},
      {"train.lr: {min: a, max: 0.2}", "train.lr.min: found \"a\", expected a finite number"},
      {"train.lr: {low: 0.1, max: 0.2}", "12:16: tune.space.train.lr: found the unknown key"},
      {"train.lr: []", "12:15: tune.space.train.lr: found a list of 0, expected 1 to 64 choices"},
      {"train.lr: 0.1", "12:15: tune.space.train.lr: found 0.1, expected a range such as"},
      {"train.lr: ", "tune.space.train.lr: found nothing, expected a range"},
      {"train.lr: [0.1, fast]", "12:21: tune.space.train.lr[1]: found \"fast\", expected a finite"},
      {"train.lr: [0.1, [2]]", "tune.space.train.lr[1]: found a list, expected text"},
      {"train.lr: [0.1, 0]", "tune.space.train.lr[1]: found 0, expected a number greater than 0"},
      {"train.nesterov: [true, yes]", "nesterov[1]: found \"yes\", expected false or true"},
      {"train.batch_size: {min: 16.5, max: 32}", "batch_size.min: found 16.5, expected a whole"},
      {"train.learning_rate: [0.1]",
       "12:5: tune.space: found the unknown path \"train.learning_rate\", did you mean train.lr?"},
      {"lr: [0.1]", "found the unknown path \"lr\", did you mean train.lr?"},
      {"network.widht: [1]",
       "found the unknown path \"network.widht\", did you mean network.width?"},
      {"\"network.layers[1].conv.filters\": [1]", "did you mean network.layers[0].conv.filters?"},
      {"train.precision: [fp32, bf16]", "found the unknown path \"train.precision\""},
      {"train.seed: [1, 2]", "found the unknown path \"train.seed\""},
      {"optics: [1]",
       "found the unknown path \"optics\", expected a key of train such as train.lr"},
      {"changes.lr: [1]", "found the unknown path \"changes.lr\", did you mean train.lr?"},
      {"network: {min: 1, max: 2}", "tune.space.network: found a map, expected a list of networks"},
      {"network: [flatten]", "tune.space.network[0]: found \"flatten\", expected a map with input"},
      {"network: [[flatten, dense: 11]]", "12:32: tune.space.network[0].layers[1].dense.units"},
      {"network: [{input: [1, 28, 28], layers: [flatten, dense: 10]}]",
       "tune.space.network[0].input: found an input, expected none"},
      {"network.depth: {min: 0, max: 20}",
       "depth.max: found 20, expected a whole number of blocks"},
      {"{train.lr: [0.1], train.lr: [0.2]}", "found \"train.lr\" a second time"},
      {"{network: [[flatten, dense: 10]], network.width: [1, 2]}",
       "tune.space.network.width: found beside network, expected either"},
      {"\"network.layers[4].dense.units\": {min: 11, max: 12}",
       "12:5: tune.space: found no valid network at any of"},
  };
  for (const auto& [line, message] : cases) {
    EXPECT_THAT(RefusalOfSpace(line), HasSubstr(message)) << line;
  }
}

TEST(SpecTune, NamesWhatIsWrongWithTheRest) {
  const std::pair<const char*, const char*> cases[] = {
      {"{space: {}}", "10:15: tune.space: found 0 entries, expected a map of 1 to 32 paths"},
      {"{space: []}", "tune.space: found a list, expected a map of 1 to 32 paths"},
      {"{space: }", "tune.space: found nothing, expected a map of 1 to 32 paths"},
      {"{algorithm: tpe}",
       "10:19: tune.algorithm: found \"tpe\" without a space to search, expected tune.space"},
      {"{algorithm: diagnose, space: {train.lr: [0.1]}}",
       "tune.algorithm: found diagnose beside a space, expected random, tpe or asha, or no space"},
      {"{algorithm: grid}", "found \"grid\", expected diagnose, random, tpe or asha"},
      {"{parallel: 0}", "tune.parallel: found 0, expected a whole number from 1 to 256"},
      {"{patience: -1}", "tune.patience: found -1, expected a whole number from 0 to 10000"},
      {"{eta: 1}", "tune.eta: found 1, expected a whole number from 2 to 100"},
      {"{min_epochs: 0}", "tune.min_epochs: found 0, expected a whole number from 1"},
      {"{inherit: 1}", "tune.inherit: found 1, expected true or false"},
      {"{seed: -1}", "tune.seed: found -1, expected a whole number"},
      {"{paralel: 2}", "found the unknown key \"paralel\", did you mean parallel?"},
      {"{algorithm: asha, min_epochs: 4, space: {train.lr: [0.1]}}",
       "10:19: tune.algorithm: found asha with train.epochs of 10, expected at least 12"},
      {"{algorithm: asha, space: {train.lr: [0.1, 1], train.epochs: [9, 12]}}",
       "tune.space.train.epochs: found beside asha, expected none"},
      {"{algorithm: asha, max_trials: 1001, space: {train.lr: [0.1, 1]}}",
       "10:37: tune.max_trials: found 1001 beside asha, expected at most 1000: each decision"},
  };
  for (const auto& [value, message] : cases) {
    EXPECT_THAT(RefusalOfTune(value), HasSubstr(message)) << value;
  }
}

TEST(SpecTune, OfAProgramOnlyItsChangesAreSearched) {
  const auto refusal = [](const std::string& tune) {
    return Refusal(std::string(kProgramSpec) + "tune: " + tune + "\n");
  };
  EXPECT_THAT(refusal("{space: {network.width: [1, 2]}}"),
              HasSubstr("found the unknown path \"network.width\", did you mean changes.width?"));
  EXPECT_THAT(refusal("{space: {train.momentum: [1]}}"), HasSubstr("expected changes.epochs, "));
  EXPECT_THAT(refusal("{space: {changes.dropout: {min: 0, max: 1}}}"),
              HasSubstr("tune.space.changes.dropout.max: found 1, expected a number from 0"));
  EXPECT_THAT(refusal("{algorithm: asha, space: {changes.lr: [0.1, 0.2]}}"),
              HasSubstr("found asha with changes.epochs of 0, expected at least 3"));
}

// What needs the shapes is said once the images are known.
TEST(SpecTune, ANetworkWithoutKnownImagesIsCheckedWithTheData) {
  const std::string spec =
      Replaced(Replaced(kConvSpec, "  input: [3, 32, 32]\n", ""), ", classes: 10", "") +
      "tune: {space: {network.depth: {min: 0, max: 2}}}\n";
  for (const int side : {32, 4}) {
    auto parsed = Read(spec);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    v1::Data data = parsed->spec.data;
    data.mutable_image()->set_channels(3);
    data.mutable_image()->set_height(side);
    data.mutable_image()->set_width(side);
    data.set_classes(10);
    const absl::Status status = CompleteSpec(data, &*parsed);
    if (side == 32) {
      EXPECT_TRUE(status.ok()) << status;
    } else {  // too small for another block
      EXPECT_THAT(std::string(status.message()),
                  HasSubstr("9:31: tune.space.network.depth: found values that all make the same"));
    }
  }
}

TEST(SpecTune, IsWrittenAsItIsRead) {
  for (const char* lines : {R"(
  algorithm: asha
  space:
    train.lr: {min: 0.001, max: 0.1, log: true}
    train.schedule.kind: [cosine, constant]
    network:
      - [flatten, dense: 10]
      - [global_avg_pool, dense: 10]
)",
                            "  space: {\"network.layers[0].conv.kernel\": [1, 3]}\n",
                            "  {parallel: 3, patience: 2}\n"}) {
    const JobSpec spec = Accepted(std::string(kConvSpec) + "tune:\n" + lines);
    EXPECT_EQ(ToProto(Accepted(WriteSpec(spec))).DebugString(), ToProto(spec).DebugString());
  }
}

TEST(SpecTarget, MayAskForConfidence) {
  const std::string spec = std::string(kConvSpec) + "target: ";
  EXPECT_EQ(Accepted(spec + "{at_least: 0.9, confidence: 0.95}\n").target.confidence(), 0.95);
  EXPECT_EQ(Accepted(spec + "{at_least: 0.9}\n").target.confidence(), 0);
  for (const char* wrong : {"0.49", "1", "0", "-1"}) {
    EXPECT_THAT(Refusal(spec + "{confidence: " + wrong + "}\n"),
                HasSubstr("target.confidence: found " + std::string(wrong) +
                          ", expected a number from 0.5 to 0.999"));
  }
  EXPECT_THAT(Refusal(spec + "{confidence: high}\n"), HasSubstr("expected a finite number"));
  EXPECT_THAT(Refusal(spec + "{metric: val_loss, at_most: 1, confidence: 0.9}\n"),
              HasSubstr("target.confidence: found 0.9 of val_loss, expected it of val_accuracy"));
  EXPECT_THAT(Refusal(std::string(kProgramSpec) + "target: {confidence: 0.9}\n"),
              HasSubstr("target.confidence: found 0.9 of a program"));
  EXPECT_THAT(Refusal(spec + "{at_least: 1, confidence: 0.9}\n"),
              HasSubstr("target.confidence: found 0.9 beside at_least: 1, expected none"));
  EXPECT_THAT(Refusal(spec + "{at_least: 1.5}\n"), HasSubstr("target.at_least: found 1.5"));
}

}  // namespace
}  // namespace trainyard::coordinator
