// Whole attempts: real training behind a real agent, over real gRPC. Where a test needs training to
// stand still at a known place, the gateway withholds acknowledgements from a worker that buffers
// only so many reports.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <limits>

#include "tests/worker/agent/native_fixture.h"
#include "worker/agent/digest.h"
#include "worker/engine/checkpoint.h"

namespace trainyard::agent {
namespace {

using testing::HasSubstr;
using NativeTest = NativeFixture;

TEST_F(NativeTest, TrainsToTheEndReportingEveryEpochCheckpointAndTheConfusionMatrix) {
  const Record record = RunToEnd(SmallStart(SmallJob(3), snapshot_, 1));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_EQ(record.ended()->step(), 3 * kStepsPerEpoch);
  const std::vector<v1::Epoch> epochs = record.epochs();
  ASSERT_EQ(epochs.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(epochs[i].epoch(), i + 1);
    EXPECT_EQ(epochs[i].step(), (i + 1) * kStepsPerEpoch);
    EXPECT_GT(epochs[i].train_loss(), 0);
    EXPECT_TRUE(epochs[i].exact());
  }
  const v1::CheckpointReport last = record.checkpoints().back();
  EXPECT_TRUE(last.end_of_epoch());
  EXPECT_TRUE(last.final());
  EXPECT_EQ(last.epoch(), 3);
  const engine::Checkpoint checkpoint = engine::ParseCheckpoint(gateway_.blob(last.sha256()));
  EXPECT_EQ(checkpoint.step, 3 * kStepsPerEpoch);
  ASSERT_EQ(record.ended()->confusion_size(), 9);
  int64_t images = 0;
  for (const int64_t count : record.ended()->confusion()) images += count;
  EXPECT_EQ(images, 24) << "a quarter of 96";
}

TEST_F(NativeTest, ReportsEachEpochBeforeItsCheckpoint) {
  const Record record = RunToEnd(SmallStart(SmallJob(4), snapshot_, 1));
  int epochs = 0;
  for (const v1::WorkerMessage& report : record.reports) {
    if (report.has_epoch()) epochs = report.epoch().epoch().epoch();
    if (report.has_checkpoint()) {
      EXPECT_LE(report.checkpoint().epoch(), epochs);
    }
  }
}

TEST_F(NativeTest, SurvivesACutOffInMidTrainingWithoutLosingOrRepeatingAnEpoch) {
  gateway_.Set([](auto& b) { b.acknowledge = false; });
  const auto agent = Agent(2);
  gateway_.SendStart(SmallStart(SmallJob(6), snapshot_, 1));
  // An epoch, and the next one or the checkpoint of the first: whichever was faster fills the
  // buffer.
  gateway_.WaitFor("two reports", [](const Record& r) { return r.reports.size() == 2; });
  gateway_.Cut();
  const Record cut = gateway_.WaitFor(
      "both again", [](const Record& r) { return r.hellos.size() == 2 && r.reports.size() >= 4; });
  EXPECT_EQ(cut.hellos[1].running().attempt(), 1);
  gateway_.Set([](auto& b) { b.acknowledge = true; });
  for (int i = 0; i < 2; ++i) gateway_.SendAck(cut.reports.back().sequence());
  const Record record = WaitForEnd(1);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  ASSERT_EQ(record.epochs().size(), 6u);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(record.epochs()[i].epoch(), i + 1);
  EXPECT_EQ(record.registered.size(), 1u);
}

TEST_F(NativeTest, AStopLeavesACheckpointFromWhichAnotherWorkerEndsWithTheSameBytes) {
  const v1::JobSpec spec = SmallJob(4);
  gateway_.Set([](auto& b) { b.acknowledge = false; });
  {
    const auto agent = Agent(1);
    gateway_.SendStart(SmallStart(spec, snapshot_, 1));
    gateway_.WaitFor("epoch 1", [](const Record& r) { return r.epochs().size() == 1; });
    // Training gets no further than the report of epoch 2, for which there is no room.
    gateway_.SendStop(SmallStart(spec, snapshot_, 1).attempt(), true);
    const Record record = WaitForEnd(1);
    EXPECT_EQ(record.ended()->outcome(), AttemptEnded::STOPPED);
    EXPECT_THAT(record.ended()->message(), HasSubstr("with a checkpoint"));
    EXPECT_TRUE(record.checkpoints().back().final());
    EXPECT_FALSE(record.checkpoints().back().end_of_epoch());
    EXPECT_EQ(record.checkpoints().back().step(), record.ended()->step());
    EXPECT_GT(record.ended()->step(), kStepsPerEpoch);
    EXPECT_LT(record.ended()->step(), 3 * kStepsPerEpoch);
    gateway_.Set([](auto& b) { b.acknowledge = true; });
    gateway_.SendAck(record.reports.back().sequence());
  }
  v1::Start second = SmallStart(spec, snapshot_, 2);
  second.set_checkpoint_sha256(gateway_.record().checkpoints().back().sha256());
  const auto agent = Agent();
  gateway_.SendStart(second);
  const Record record = WaitForEnd(2);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_TRUE(record.epochs().back().exact());
  EXPECT_TRUE(gateway_.blob(record.checkpoints().back().sha256()) == UndisturbedResult(spec));
}

TEST_F(NativeTest, AStopWithoutCheckpointStoresNothingMore) {
  gateway_.Set([](auto& b) { b.acknowledge = false; });
  const auto agent = Agent(1);
  const v1::Start start = SmallStart(SmallJob(50), snapshot_, 1);
  gateway_.SendStart(start);
  gateway_.WaitFor("epoch 1", [](const Record& r) { return r.epochs().size() == 1; });
  gateway_.SendStop(start.attempt(), false);
  const Record record = WaitForEnd(1);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::STOPPED);
  EXPECT_THAT(record.ended()->message(), HasSubstr("without a checkpoint"));
  for (const v1::CheckpointReport& c : record.checkpoints()) EXPECT_TRUE(c.end_of_epoch());
  gateway_.SendAck(record.reports.back().sequence());
}

TEST_F(NativeTest, ASupersededAttemptStoresAndReportsNothingMoreAndTheNextOneRuns) {
  gateway_.Set([](auto& b) { b.acknowledge = false; });
  const auto agent = Agent(1);
  const v1::Start start = SmallStart(SmallJob(1'000), snapshot_, 1);
  gateway_.SendStart(start);
  gateway_.WaitFor("epoch 1", [](const Record& r) { return r.epochs().size() == 1; });
  gateway_.SendSuperseded(start.attempt());
  gateway_.Set([](auto& b) { b.acknowledge = true; });
  gateway_.SendStart(SmallStart(SmallJob(1), snapshot_, 2));
  const Record record = WaitForEnd(2);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  for (const v1::WorkerMessage& report : record.reports) {
    EXPECT_FALSE(report.has_ended() && report.ended().attempt().attempt() == 1);
    if (report.has_epoch() && report.epoch().attempt().attempt() == 1) {
      EXPECT_LE(report.epoch().epoch().epoch(), 1);
    }
  }
}

TEST_F(NativeTest, ATornCheckpointIsNamedAsSuch) {
  v1::Start start = SmallStart(SmallJob(2), snapshot_, 1);
  // Not what its name says: the coordinator's file was altered.
  std::string altered = "some bytes";
  const std::string name = HashOf("other bytes");
  gateway_.Store("other bytes");
  gateway_.Set([&](auto& b) {
    b.on_fetch = [&](const std::string& sha256, int64_t) {
      return sha256 == name ? std::optional<std::string>("OTHER bytes") : std::nullopt;
    };
  });
  start.set_checkpoint_sha256(name);
  const auto agent = Agent();
  gateway_.SendStart(start);
  EXPECT_EQ(WaitForEnd(1).ended()->outcome(), AttemptEnded::CHECKPOINT_BROKEN);

  // Whole, but no checkpoint.
  start.mutable_attempt()->set_attempt(2);
  start.set_checkpoint_sha256(gateway_.Store("not safetensors at all"));
  gateway_.SendStart(start);
  EXPECT_EQ(WaitForEnd(2).ended()->outcome(), AttemptEnded::CHECKPOINT_BROKEN);

  // Gone.
  start.mutable_attempt()->set_attempt(3);
  start.set_checkpoint_sha256(HashOf("never stored"));
  gateway_.SendStart(start);
  EXPECT_EQ(WaitForEnd(3).ended()->outcome(), AttemptEnded::CHECKPOINT_BROKEN);
}

TEST_F(NativeTest, ACheckpointOfAnotherConfigurationIsRefused) {
  const Record first = RunToEnd(SmallStart(SmallJob(1), snapshot_, 1));
  v1::JobSpec other = SmallJob(1);
  other.mutable_configuration()->mutable_training()->set_seed(99);
  v1::Start start = SmallStart(other, snapshot_, 2);
  start.set_checkpoint_sha256(first.checkpoints().back().sha256());
  const Record record = RunToEnd(start);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::CHECKPOINT_BROKEN);
  EXPECT_THAT(record.ended()->message(), HasSubstr("another trial"));
}

TEST_F(NativeTest, TrialOneStartsFromTheSpecsWeights) {
  const Record first = RunToEnd(SmallStart(SmallJob(1), snapshot_, 1));
  engine::Checkpoint trained =
      engine::ParseCheckpoint(gateway_.blob(first.checkpoints().back().sha256()));
  const auto start_with = [&](const std::string& weights, int64_t attempt) {
    v1::JobSpec spec = SmallJob(1);
    spec.mutable_weights()->set_path("weights.safetensors");
    v1::Optimizer& optimizer =
        *spec.mutable_configuration()->mutable_training()->mutable_optimizer();
    optimizer.set_learning_rate(1e-30);  // too little to move a weight
    v1::Start start = SmallStart(spec, "", attempt);
    start.set_snapshot_sha256(
        gateway_.Store(SmallSnapshotWith({{"weights.safetensors", weights}})));
    return start;
  };
  const auto weights_after = [&](const Record& record) {
    return engine::ParseCheckpoint(gateway_.blob(record.checkpoints().back().sha256()))
        .state.parameters;
  };
  const std::string weights = engine::SerializeModel(trained, {});
  EXPECT_EQ(weights_after(RunToEnd(start_with(weights, 2))), trained.state.parameters);

  // A later trial may have changed in ways that they do not fit.
  v1::Start later = start_with(weights, 3);
  later.set_trial_number(2);
  EXPECT_NE(weights_after(RunToEnd(later)), trained.state.parameters);

  // What does not fit is named, and final.
  trained.parameters[0].dims = {1, 4, 3, 3};
  const Record refused = RunToEnd(start_with(engine::SerializeModel(trained, {}), 4));
  EXPECT_EQ(refused.ended()->outcome(), AttemptEnded::FAILED_FINALLY);
  EXPECT_THAT(refused.ended()->message(), HasSubstr("layers.0.weight"));
}

TEST_F(NativeTest, ATornDownloadIsContinuedWhereItBroke) {
  std::atomic<int> fetches{0};
  std::atomic<int64_t> continued_at{-1};
  const std::string whole = gateway_.blob(snapshot_);
  gateway_.Set([&](auto& b) {
    b.on_fetch = [&](const std::string& sha256, int64_t offset) -> std::optional<std::string> {
      if (sha256 != snapshot_) return std::nullopt;
      if (fetches++ == 0) return whole.substr(0, 2'500);
      continued_at = offset;
      return std::nullopt;
    };
  });
  const Record record = RunToEnd(SmallStart(SmallJob(1), snapshot_, 1));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_EQ(fetches, 2);
  EXPECT_GT(continued_at, 0);
}

TEST_F(NativeTest, TheSecondAttemptFindsItsSourceInTheCache) {
  std::atomic<int> fetches{0};
  gateway_.Set([&](auto& b) {
    b.on_fetch = [&](const std::string& sha256, int64_t) -> std::optional<std::string> {
      if (sha256 == snapshot_) ++fetches;
      return std::nullopt;
    };
  });
  RunToEnd(SmallStart(SmallJob(1), snapshot_, 1));
  RunToEnd(SmallStart(SmallJob(1), snapshot_, 2));
  EXPECT_EQ(fetches, 1);
}

TEST_F(NativeTest, BadDataFailForGoodAndSayWhere) {
  struct Case {
    std::vector<TarEntry> files;
    std::string expected;
  };
  const std::string images = IdxImages(96, 8, 1), labels = IdxLabels(96, 3, 1);
  std::string wrong_labels = labels;
  wrong_labels.back() = 7;
  const std::vector<Case> cases = {
      {{}, "data/train-images"},
      {{{"data/train-images", images.substr(0, 500)}, {"data/train-labels", labels}}, "data.train"},
      {{{"data/train-images", images}, {"data/train-labels", wrong_labels}}, "7"},
      {{{"data/train-images", images}, {"data/train-labels", IdxLabels(95, 3, 1)}}, "95"},
      {{{"data/train-images", IdxImages(48, 8, 1)}, {"data/train-labels", IdxLabels(48, 3, 1)}},
       "found 48 images, expected 96"},
      {{{"data/train-images", "", "/etc/passwd"}}, "links out"},
      {{{"../escape", "x"}}, "\"..\""},
  };
  const auto agent = Agent();
  int64_t attempt = 0;
  for (const Case& c : cases) {
    gateway_.SendStart(SmallStart(SmallJob(1), gateway_.Store(Tar(c.files)), ++attempt));
    const Record record = WaitForEnd(attempt);
    EXPECT_EQ(record.ended()->outcome(), AttemptEnded::FAILED_FINALLY);
    EXPECT_THAT(record.ended()->message(), HasSubstr(c.expected));
  }
  // What is no archive at all.
  gateway_.SendStart(SmallStart(SmallJob(1), gateway_.Store("no tar"), ++attempt));
  EXPECT_EQ(WaitForEnd(attempt).ended()->outcome(), AttemptEnded::FAILED_FINALLY);
}

TEST_F(NativeTest, ANetworkThatDoesNotFitItsDataFailsForGood) {
  v1::JobSpec spec = SmallJob(1);
  spec.mutable_configuration()->mutable_network()->mutable_input()->set_height(9);
  const Record record = RunToEnd(SmallStart(spec, snapshot_, 1));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::FAILED_FINALLY);
}

TEST_F(NativeTest, ALossThatIsNotANumberEndsAsDivergedWithTheEpochReported) {
  v1::JobSpec spec = SmallJob(20);
  v1::Network* network = spec.mutable_configuration()->mutable_network();
  network->mutable_layers()->DeleteSubrange(1, 1);  // batch normalisation would hold it together
  spec.mutable_configuration()->mutable_training()->mutable_optimizer()->set_learning_rate(100);
  const Record record = RunToEnd(SmallStart(spec, snapshot_, 1));
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::DIVERGED) << record.ended()->message();
}

TEST_F(NativeTest, WhileTheCoordinatorsDiskIsFullTrainingGoesOnAndTheCheckpointsFollow) {
  std::atomic<bool> full{true};
  std::atomic<int> refused{0};
  gateway_.Set([&](auto& b) {
    b.on_upload = [&](const std::string&) -> std::optional<grpc::Status> {
      if (!full) return std::nullopt;
      ++refused;
      return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "No space left on device");
    };
  });
  const auto agent = Agent();
  gateway_.SendStart(SmallStart(SmallJob(8), snapshot_, 1));
  gateway_.WaitFor("all epochs", [](const Record& r) { return r.epochs().size() == 8; });
  while (refused == 0) std::this_thread::yield();
  EXPECT_TRUE(gateway_.record().uploads.empty());
  full = false;
  const Record record = WaitForEnd(1);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_EQ(record.checkpoints().back().epoch(), 8);
  // The best epoch's checkpoint is among the stored ones, for the model is made of it.
  double best = 0;
  for (const v1::Epoch& epoch : record.epochs()) best = std::max(best, epoch.val_accuracy());
  bool stored = false;
  for (const v1::CheckpointReport& c : record.checkpoints()) {
    stored |= c.end_of_epoch() && record.epochs()[c.epoch() - 1].val_accuracy() == best;
  }
  EXPECT_TRUE(stored);
}

TEST_F(NativeTest, AFinishingAttemptTestsExportsAndReportsTheModel) {
  const v1::JobSpec spec = SmallJob(6);
  const Record trained = RunToEnd(SmallStart(spec, snapshot_, 1));
  const v1::CheckpointReport best = trained.checkpoints().back();
  v1::Start start = SmallStart(spec, snapshot_, 2);
  start.set_finishing(true);
  start.set_checkpoint_sha256(best.sha256());
  const Record record = RunToEnd(start);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  ASSERT_NE(record.finished(), nullptr);
  const v1::Model& model = record.finished()->model();
  const v1::Epoch& epoch = trained.epochs()[best.epoch() - 1];
  EXPECT_EQ(model.epoch(), best.epoch());
  EXPECT_EQ(model.val_accuracy(), epoch.val_accuracy()) << "the same weights, the same images";
  EXPECT_EQ(model.val_loss(), epoch.val_loss());
  EXPECT_EQ(model.test_count(), 32);
  int64_t right = 0, all = 0;
  for (int i = 0; i < 9; ++i) {
    all += model.confusion(i);
    if (i % 4 == 0) right += model.confusion(i);
  }
  EXPECT_EQ(all, 32);
  EXPECT_DOUBLE_EQ(model.test_accuracy(), static_cast<double>(right) / 32);
  EXPECT_THAT(model.class_names(), testing::ElementsAre("high", "middle", "low"));
  EXPECT_EQ(static_cast<int64_t>(gateway_.blob(model.onnx_sha256()).size()), model.onnx_bytes());
  EXPECT_EQ(static_cast<int64_t>(gateway_.blob(model.safetensors_sha256()).size()),
            model.safetensors_bytes());
  EXPECT_THAT(gateway_.blob(model.onnx_sha256()), HasSubstr("pixels from 0 to 255"));
}

TEST_F(NativeTest, AnAttemptLeavesNothingBehindInTheWorkFolder) {
  RunToEnd(SmallStart(SmallJob(2), snapshot_, 1));
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    left.push_back(entry.path().filename());
  }
  EXPECT_THAT(left, testing::ElementsAre("cache"));
}

TEST_F(NativeTest, AnOrphansCheckpointStaysInTheWorkFolderAndIsWhole) {
  gateway_.Set([](auto& b) {
    b.acknowledge = false;
    b.orphan_limit_ms = 500;
  });
  {
    const auto agent = Agent(1);
    gateway_.SendStart(SmallStart(SmallJob(1'000), snapshot_, 1));
    gateway_.WaitFor("epoch 1", [](const Record& r) { return r.epochs().size() == 1; });
    gateway_.GoDown();
    EXPECT_EQ(agent->Wait(), kExitUnreachable);
  }
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "attempt-1-101")) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  ASSERT_FALSE(files.empty());
  for (const std::string& file : files) EXPECT_GT(engine::ReadCheckpoint(file).step, 0);
}

}  // namespace
}  // namespace trainyard::agent
