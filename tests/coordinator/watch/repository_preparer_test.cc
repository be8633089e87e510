// Repositories become requests: those without a spec as the program that they are by their looks,
// with the data sets that a data root has.
#include "coordinator/watch/repository_preparer.h"

#include <gmock/gmock.h>

#include "coordinator/store/blobs.h"
#include "tests/coordinator/source/git_sample.h"

namespace trainyard::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kProgram[] =
    "import keras\n"
    "(x, y), _ = keras.datasets.fashion_mnist.load_data()\n"
    "model = keras.Sequential([keras.layers.Conv2D(8, 3)])\n"
    "model.fit(x, y)\n";

class RepositoryPreparerTest : public testing::Test {
 protected:
  RepositoryPreparerTest() : repository_(folder_ / "clothes") {
    auto blobs = Blobs::Open(folder_ / "blobs");
    EXPECT_TRUE(blobs.ok()) << blobs.status();
    blobs_ = *std::move(blobs);
    std::filesystem::create_directories(folder_ / "data/fashion-mnist");
    RepositoryOptions options;
    options.folder = folder_ / "work";
    options.data_roots = {folder_ / "data"};
    preparer_ = MakeRepositoryPreparer(options, blobs_.get());
  }

  absl::StatusOr<core::JobRequest> Prepare(const SpecWishes& wishes = {}) {
    repository_.Commit();
    return preparer_->FromRepository(repository_.path(), "", wishes);
  }
  // `count` images of one value, of two classes.
  void WriteImages(int count) {
    const std::string big_endian = {0, 0, static_cast<char>(count >> 8), static_cast<char>(count)};
    const std::string one = {0, 0, 0, 1};
    std::string labels(count, 0);
    labels.back() = 1;
    repository_.Write("images", std::string{0, 0, 8, 3} + big_endian + one + one + labels);
    repository_.Write("labels", std::string{0, 0, 8, 1} + big_endian + labels);
  }
  v1::Program ProgramOf(const core::JobRequest& request) {
    v1::JobSpec spec;
    EXPECT_TRUE(spec.ParseFromString(request.spec_blob));
    return spec.program();
  }

  TempFolder folder_;
  GitRepository repository_;
  std::unique_ptr<Blobs> blobs_;
  std::unique_ptr<SourcePreparer> preparer_;
};

TEST_F(RepositoryPreparerTest, ARepositoryWithoutASpecIsTheProgramThatItLooksLike) {
  repository_.Write("train.py", kProgram);
  const auto request = Prepare();
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->name, "clothes");
  EXPECT_TRUE(request->configuration.IsProgram());
  EXPECT_EQ(request->needs.runtime, "program-keras");
  EXPECT_EQ(request->target.bound, 0.8);
  const v1::Program program = ProgramOf(*request);
  EXPECT_THAT(program.command(), ElementsAre("python3", "train.py"));
  EXPECT_TRUE(program.cnn());
  EXPECT_TRUE(program.takes_changes());
  ASSERT_EQ(program.data_size(), 1);
  EXPECT_EQ(program.data(0).name(), "fashion_mnist");
  EXPECT_EQ(program.data(0).file().host_path(), folder_ / "data/fashion-mnist");
}

TEST_F(RepositoryPreparerTest, WhatTheSpecSaysWinsAndTheRestIsFoundOut) {
  repository_.Write("train.py", kProgram);
  repository_.Write("other.py", kProgram);
  repository_.Write("trainyard.yaml", "target: 0.9\nprogram: python3 other.py --fast\n");
  const auto request = Prepare({.overrides = {"changes.epochs=3"}});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->needs.runtime, "program-keras");
  EXPECT_EQ(request->target.bound, 0.9);
  EXPECT_EQ(request->configuration.changes.epochs, 3);
  EXPECT_THAT(ProgramOf(*request).command(), ElementsAre("sh", "-c", "python3 other.py --fast"));
}

TEST_F(RepositoryPreparerTest, APersonDecidesAboutOneTrialAtATime) {
  repository_.Write("train.py", kProgram);
  repository_.Write("trainyard.yaml", "program: {}\ntune: {parallel: 2}\n");
  EXPECT_TRUE(Prepare().ok());
  EXPECT_EQ(std::string(Prepare({.manual = true}).status().message()),
            "trainyard.yaml:2:18: tune.parallel: found 2 in a manual job, expected 1: a person "
            "decides about one trial after the other");
}

TEST_F(RepositoryPreparerTest, AshaNeedsNoPersonBetweenTrials) {
  repository_.Write("train.py", kProgram);
  repository_.Write("trainyard.yaml",
                    "program: {}\nchanges: {epochs: 9}\n"
                    "tune: {algorithm: asha, space: {changes.lr: [0.1, 0.2]}}\n");
  EXPECT_TRUE(Prepare().ok());
  EXPECT_EQ(std::string(Prepare({.manual = true}).status().message()),
            "trainyard.yaml:3:19: tune.algorithm: found asha in a manual job, expected diagnose, "
            "random or tpe: asha needs no person between trials");
}

// A tenth of the images is set aside, rounded as in training.
TEST_F(RepositoryPreparerTest, AConfidenceThatNoAccuracyCouldShowIsRefused) {
  repository_.Write("trainyard.yaml",
                    "data: {format: idx, train: {images: images, labels: labels}}\n"
                    "network: [flatten, dense: 2]\n"
                    "validation: 0.1\n"
                    "target: {at_least: 0.9, confidence: 0.99}\n");
  WriteImages(486);
  const auto request = Prepare();
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->target.images, 49);
  WriteImages(484);
  EXPECT_EQ(
      std::string(Prepare().status().message()),
      "trainyard.yaml:4:37: target.confidence: found 0.99 with 48 validation images, expected "
      "at least 49 images or a lower confidence: not even all of them right could show 0.9");
  WriteImages(3);
  EXPECT_THAT(std::string(Prepare().status().message()), HasSubstr("with 1 validation images"));
}

TEST_F(RepositoryPreparerTest, ALossBelowOneIsATargetLikeAnyOther) {
  repository_.Write("trainyard.yaml",
                    "data: {format: idx, train: {images: images, labels: labels}}\n"
                    "network: [flatten, dense: 2]\n"
                    "target: val_loss <= 0.01\n");
  WriteImages(20);
  EXPECT_TRUE(Prepare().ok()) << Prepare().status();
}

TEST_F(RepositoryPreparerTest, ASpaceIsForProgramsThatTakeChanges) {
  repository_.Write("train.sh", "echo\n");
  repository_.Write("trainyard.yaml",
                    "program: {command: sh train.sh, framework: other}\n"
                    "tune: {space: {changes.lr: [0.1, 0.2]}}\n");
  EXPECT_THAT(std::string(Prepare().status().message()),
              HasSubstr("trainyard.yaml:2:15: tune.space: found a space for a program that takes "
                        "no changes from outside"));
}

TEST_F(RepositoryPreparerTest, ARepositoryThatIsNotClearIsRefusedWithWhatWasSeen) {
  repository_.Write("fit_a.py", kProgram);
  repository_.Write("fit_b.py", kProgram);
  const auto request = Prepare();
  EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(request.status().message()),
              testing::AllOf(HasSubstr("fit_a.py:4: model.fit(x, y)"),
                             HasSubstr("fit_b.py:4: model.fit(x, y)"),
                             HasSubstr("program:\n  command: python3 fit_a.py")));
}

TEST_F(RepositoryPreparerTest, DetectionTellsWhatAJobWouldBe) {
  repository_.Write("train.py", kProgram);
  repository_.Commit();
  v1::DetectRequest request;
  request.set_url(repository_.path());
  const auto found = preparer_->Detect(request);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->runtime(), "program-keras");
  EXPECT_THAT(found->datasets(), ElementsAre("fashion_mnist"));
  EXPECT_THAT(found->warnings(), testing::IsEmpty()) << "a data root has the data set";
}

TEST_F(RepositoryPreparerTest, DetectionReadsTheSpecAsAJobDoes) {
  repository_.Write("trainyard.yaml", "program: {framework: fortran}\n");
  repository_.Commit();
  v1::DetectRequest request;
  request.set_url(repository_.path());
  EXPECT_THAT(std::string(preparer_->Detect(request).status().message()),
              HasSubstr("trainyard.yaml:1:22: program.framework"));
  request.set_url(folder_ / "nowhere");
  EXPECT_FALSE(preparer_->Detect(request).ok());
  request.clear_url();
  request.set_snapshot_sha256(std::string(64, 'a'));
  EXPECT_EQ(preparer_->Detect(request).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace trainyard::coordinator
