// Which checkpoints reach the coordinator when they come faster than they can be stored.
#include "worker/agent/checkpoint_publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <limits>

#include "tests/worker/agent/agent_fixture.h"

namespace trainyard::agent {
namespace {

// Keeps what is reported; the lease is the test's.
class RecordingUplink : public Uplink {
 public:
  void Report(v1::WorkerMessage report, AttemptControl&) override {
    std::lock_guard lock(mutex_);
    steps_.push_back(report.checkpoint().step());
  }
  bool WaitForLease(std::chrono::milliseconds timeout) override {
    std::unique_lock lock(mutex_);
    asked_ = true;
    changed_.notify_all();
    return changed_.wait_for(lock, timeout, [&] { return leased_; });
  }
  void Lease() {
    std::lock_guard lock(mutex_);
    leased_ = true;
    changed_.notify_all();
  }
  // Until the publisher has work in hand that it may not upload.
  void WaitForAsking() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return asked_; });
  }
  std::vector<int64_t> steps() {
    std::lock_guard lock(mutex_);
    return steps_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool leased_ = false, asked_ = false;
  std::vector<int64_t> steps_;
};

engine::Checkpoint At(int64_t step, int epoch, bool end_of_epoch) {
  engine::Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.epoch = epoch;
  checkpoint.end_of_epoch = end_of_epoch;
  checkpoint.normalise_mean = {0};
  checkpoint.normalise_inverse_std = {1};
  checkpoint.parameters = {{.name = "layers.0.weight", .dims = {2}}};
  checkpoint.state.parameters = {1, 2};
  checkpoint.state.moment1 = {0, 0};
  return checkpoint;
}

class CheckpointPublisherTest : public testing::Test {
 protected:
  FakeGateway gateway_;
  TestFolder folder_;
  BlobClient blobs_{MakeChannel(gateway_.address())};
  RecordingUplink uplink_;
  AttemptControl control_;
};

TEST_F(CheckpointPublisherTest, WhatWaitsShrinksToTheBestEpochAndTheNewest) {
  CheckpointPublisher publisher(Ref(1), v1::Target::VAL_ACCURACY, folder_.path(), blobs_, uplink_,
                                control_);
  publisher.OnEpoch(1, 0.5, 1.0);
  publisher.Add(At(10, 1, true), false);
  uplink_.WaitForAsking();  // step 10 is in work, but the lease is lost
  publisher.OnEpoch(2, 0.9, 1.0);
  publisher.Add(At(20, 2, true), false);
  publisher.Add(At(25, 2, false), false);
  publisher.OnEpoch(3, 0.7, 1.0);
  publisher.Add(At(30, 3, true), false);
  publisher.OnEpoch(4, std::numeric_limits<double>::quiet_NaN(), 1.0);
  publisher.Add(At(40, 4, true), false);
  publisher.Add(At(41, 4, false), true);
  uplink_.Lease();
  EXPECT_EQ(publisher.Drain(), CheckpointPublisher::Drained::kPublished);
  // Step 10 may have been on its way already; of the others the best epoch and the newest are left.
  std::vector<int64_t> steps = uplink_.steps();
  if (steps.front() == 10) steps.erase(steps.begin());
  EXPECT_THAT(steps, testing::ElementsAre(20, 41));
  EXPECT_EQ(publisher.trouble(), "");
}

TEST_F(CheckpointPublisherTest, ForALossTheBestIsTheLowest) {
  CheckpointPublisher publisher(Ref(1), v1::Target::VAL_LOSS, folder_.path(), blobs_, uplink_,
                                control_);
  publisher.Add(At(1, 0, false), false);
  uplink_.WaitForAsking();
  for (int epoch = 1; epoch <= 3; ++epoch) {
    publisher.OnEpoch(epoch, 0.1 * epoch, epoch == 2 ? 0.1 : 1.0);
    publisher.Add(At(10 * epoch, epoch, true), false);
  }
  uplink_.Lease();
  publisher.Drain();
  EXPECT_THAT(uplink_.steps(), testing::IsSupersetOf({20, 30}));
  EXPECT_THAT(uplink_.steps(), testing::Not(testing::Contains(10)));
}

TEST_F(CheckpointPublisherTest, AFullWorkFolderIsNamedAndTheCheckpointUploadedAllTheSame) {
  uplink_.Lease();
  CheckpointPublisher publisher(Ref(1), v1::Target::VAL_ACCURACY, "/dev/full", blobs_, uplink_,
                                control_);
  publisher.Add(At(10, 1, true), true);
  EXPECT_EQ(publisher.Drain(), CheckpointPublisher::Drained::kPublished);
  EXPECT_THAT(uplink_.steps(), testing::ElementsAre(10));
}

TEST_F(CheckpointPublisherTest, WithoutACoordinatorTheNewestStaysInTheWorkFolder) {
  CheckpointPublisher publisher(Ref(1), v1::Target::VAL_ACCURACY, folder_.path(), blobs_, uplink_,
                                control_);
  publisher.Add(At(10, 1, true), false);
  uplink_.WaitForAsking();
  publisher.Add(At(17, 1, false), true);
  control_.RequestStop({.publish = false, .reason = "out of reach"});
  EXPECT_EQ(publisher.Drain(), CheckpointPublisher::Drained::kKept);
  EXPECT_EQ(engine::ReadCheckpoint(folder_ / "step-17.safetensors").step, 17);
}

TEST_F(CheckpointPublisherTest, GivingUpEndsTheWaitAndSaysWhy) {
  gateway_.Set([](auto& b) {
    b.on_upload = [](const std::string&) {
      return std::optional(
          grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "No space left on device"));
    };
  });
  uplink_.Lease();
  CheckpointPublisher publisher(Ref(1), v1::Target::VAL_ACCURACY, folder_.path(), blobs_, uplink_,
                                control_);
  publisher.Add(At(10, 1, true), true);
  while (publisher.trouble().empty()) std::this_thread::yield();
  control_.GiveUp();
  EXPECT_EQ(publisher.Drain(), CheckpointPublisher::Drained::kKept);
  EXPECT_THAT(publisher.trouble(), testing::HasSubstr("No space left on device"));
}

}  // namespace
}  // namespace trainyard::agent
