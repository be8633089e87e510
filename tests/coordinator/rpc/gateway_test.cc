// Shows that what workers say becomes events once, whatever they resend, and that nothing from a
// stale or lying worker is taken.
#include <fstream>

#include "coordinator/convert/api.h"
#include "coordinator/rpc/registration.h"
#include "gmock/gmock.h"
#include "tests/coordinator/rpc/gateway_fixture.h"

namespace trainyard::coordinator {
namespace {

using ::testing::HasSubstr;
using Code = grpc::StatusCode;
using Kind = v1::CoordinatorMessage;

// What a worker that was given the job's first attempt holds.
class GatewayWithAttemptTest : public GatewayTest {
 protected:
  void SetUp() override {
    GatewayTest::SetUp();
    worker_id_ = Register("one");
    job_ = Submit();
    worker_ = std::make_unique<FakeWorker>(stub_.get(), worker_id_, "one");
    const auto start = worker_->Next(Kind::kStart);
    ASSERT_TRUE(start);
    start_ = start->start();
    attempt_ = start_.attempt();
  }
  void TearDown() override {
    worker_.reset();
    GatewayTest::TearDown();
  }
  int64_t Ack() {
    const auto ack = worker_->Next(Kind::kAck);
    return ack ? ack->ack().sequence() : -1;
  }

  int64_t worker_id_ = 0, job_ = 0;
  std::unique_ptr<FakeWorker> worker_;
  v1::Start start_;
  v1::AttemptRef attempt_;
};

TEST_F(GatewayTest, TheSameIncarnationIsTheSameWorker) {
  const int64_t first = Register("one");
  EXPECT_GT(first, 0);
  EXPECT_EQ(Register("one"), first);
  EXPECT_NE(Register("two"), first);
}

TEST_F(GatewayTest, RegisteringWithoutIncarnationIsRefused) {
  v1::RegisterRequest request;
  v1::RegisterResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(stub_->Register(&context, request, &response).error_code(), Code::INVALID_ARGUMENT);
}

TEST(RegistrationTest, WhatAWorkerMayNotSayOfItselfIsNamed) {
  core::Settings settings;
  settings.pools["gpu"];
  const auto refusal = [&](auto change) {
    v1::RegisterRequest request;
    request.set_incarnation("one");
    request.set_pool("external");
    EXPECT_TRUE(CheckRegistration(request, settings).ok());
    change(request);
    return std::string(CheckRegistration(request, settings).message());
  };
  EXPECT_EQ(refusal([](auto& request) { request.set_pool("gpu"); }),
            "pool: found 'gpu', whose workers the coordinator launches, expected another name, "
            "such as external");
  EXPECT_EQ(refusal([](auto& request) { request.set_gpu_memory_bytes(-1); }),
            "gpu_memory_bytes: found -1, expected 0 or more");
  EXPECT_THAT(refusal([](auto& request) { (*request.mutable_labels())["a b"] = "c"; }),
              HasSubstr("labels: found 'a b', expected a label's name"));
  EXPECT_THAT(refusal([](auto& request) { (*request.mutable_labels())["a"] = "\x1b[2J"; }),
              HasSubstr("expected a label's value"));
  EXPECT_EQ(refusal([](auto& request) {
              for (int i = 0; i < 33; ++i) (*request.mutable_labels())[std::to_string(i)] = "c";
            }),
            "labels: found 33, expected at most 32");
  EXPECT_EQ(refusal([](auto& request) {
              for (int i = 0; i < 17; ++i) request.add_runtimes("native");
            }),
            "runtimes: found 17, expected at most 16");
}

v1::Gpu SomeGpu() {
  v1::Gpu gpu;
  gpu.set_name("NVIDIA H100 80GB HBM3");
  gpu.set_uuid("GPU-1");
  gpu.set_memory_bytes(int64_t{80} << 30);
  gpu.set_driver("580.65.06 (CUDA 13.0)");
  gpu.set_compute_capability("9.0");
  return gpu;
}

TEST(RegistrationTest, AGpuIsHeldToItsForm) {
  const auto answer = [](auto change) {
    v1::RegisterRequest request;
    request.set_incarnation("one");
    *request.mutable_gpu_device() = SomeGpu();
    change(*request.mutable_gpu_device());
    return std::string(CheckRegistration(request, {}).message());
  };
  EXPECT_EQ(answer([](auto&) {}), "");
  EXPECT_EQ(answer([](auto& gpu) { gpu.clear_driver(), gpu.clear_compute_capability(); }), "");
  EXPECT_EQ(answer([](auto& gpu) { gpu.clear_name(); }),
            "gpu_device.name: found a text of 0 bytes, expected 1 to 128");
  EXPECT_EQ(answer([](auto& gpu) { gpu.clear_uuid(); }),
            "gpu_device.uuid: found a text of 0 bytes, expected 1 to 128");
  EXPECT_EQ(answer([](auto& gpu) { gpu.set_driver(std::string(129, '1')); }),
            "gpu_device.driver: found a text of 129 bytes, expected 0 to 128");
  EXPECT_EQ(answer([](auto& gpu) { gpu.set_memory_bytes(0); }),
            "gpu_device.memory_bytes: found 0, expected more than 0");
}

TEST(RegistrationTest, TheUseOfAGpuIsHeldToItsRange) {
  const auto answer = [](int64_t bytes, int percent) {
    v1::GpuUse use;
    use.set_memory_used_bytes(bytes);
    use.set_busy_percent(percent);
    return std::string(CheckUse(use).message());
  };
  EXPECT_EQ(answer(-1, -1) + answer(1, 0) + answer(int64_t{80} << 30, 100), "");
  EXPECT_EQ(answer(-2, 0),
            "gpu_use.memory_used_bytes: found -2, expected 0 or more, or -1 where it is not known");
  EXPECT_EQ(answer(0, 101),
            "gpu_use.busy_percent: found 101, expected 0 to 100, or -1 where it is not known");
  EXPECT_EQ(answer(0, -2),
            "gpu_use.busy_percent: found -2, expected 0 to 100, or -1 where it is not known");
}

TEST_F(GatewayTest, AWorkersGpuIsKeptAndItsUseIsThatOfTheLastRenewal) {
  v1::RegisterRequest request;
  *request.mutable_gpu_device() = SomeGpu();
  const core::WorkerId id{Register("one", request)};
  const auto shown = [&] {
    return loop_->Read(
        [&](const core::State& state) { return ToProto(state, state.workers.at(id)); });
  };
  EXPECT_EQ(shown().gpu_device().SerializeAsString(), SomeGpu().SerializeAsString());
  EXPECT_FALSE(shown().has_gpu_use());

  FakeWorker worker(stub_.get(), id.value, "one");
  v1::WorkerMessage message;
  message.mutable_renewal()->mutable_gpu_use()->set_memory_used_bytes(1 << 30);
  message.mutable_renewal()->mutable_gpu_use()->set_busy_percent(97);
  worker.Write(message);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!shown().has_gpu_use() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(shown().gpu_use().memory_used_bytes(), 1 << 30);
  EXPECT_EQ(shown().gpu_use().busy_percent(), 97);

  message.mutable_renewal()->mutable_gpu_use()->set_busy_percent(101);
  worker.Write(message);
  EXPECT_EQ(worker.End().error_code(), Code::INVALID_ARGUMENT);
}

TEST_F(GatewayTest, AWorkerThatIsNotKnownHasToRegister) {
  FakeWorker stranger(stub_.get(), 4711, "one");
  EXPECT_EQ(stranger.End().error_code(), Code::NOT_FOUND);
  const int64_t known = Register("one");
  FakeWorker impostor(stub_.get(), known, "another");
  EXPECT_EQ(impostor.End().error_code(), Code::NOT_FOUND);
}

TEST_F(GatewayTest, ASessionBeginsWithHello) {
  grpc::ClientContext context;
  auto stream = stub_->Session(&context);
  v1::WorkerMessage renewal;
  renewal.mutable_renewal();
  stream->Write(renewal);
  v1::CoordinatorMessage message;
  EXPECT_FALSE(stream->Read(&message));
  EXPECT_EQ(stream->Finish().error_code(), Code::INVALID_ARGUMENT);
}

TEST_F(GatewayTest, ANewerSessionEndsTheOlderOne) {
  const int64_t id = Register("one");
  FakeWorker older(stub_.get(), id, "one");
  const auto connected = [&] {
    return loop_->Read([&](const core::State& state) {
      return state.workers.at(core::WorkerId{id}).live.connected;
    });
  };
  while (!connected()) std::this_thread::yield();
  FakeWorker newer(stub_.get(), id, "one");
  EXPECT_EQ(older.End().error_code(), Code::ABORTED);
  Submit();
  EXPECT_TRUE(newer.Next(Kind::kStart)) << "the older one's end has not disconnected the worker";
}

TEST_F(GatewayWithAttemptTest, TheAssignmentNamesEverythingAndARenewalIsAnswered) {
  EXPECT_EQ(attempt_.job(), job_);
  EXPECT_GT(attempt_.fencing(), 0);
  EXPECT_EQ(start_.trial_number(), 1);
  EXPECT_EQ(start_.configuration().training().epochs(), 3);
  EXPECT_EQ(start_.spec().name(), "test");
  v1::WorkerMessage message;
  *message.mutable_renewal()->mutable_attempt() = attempt_;
  message.mutable_renewal()->set_phase(v1::PHASE_TRAINING);
  worker_->Write(message);
  const auto leased = worker_->Next(Kind::kLeased);
  ASSERT_TRUE(leased);
  EXPECT_EQ(leased->leased().attempt().fencing(), attempt_.fencing());
}

TEST_F(GatewayWithAttemptTest, ARepeatedReportIsAnsweredWithItsAckAndChangesNothing) {
  for (int i = 0; i < 3; ++i) {
    worker_->Write(Epoch(attempt_, 1, 1));
    EXPECT_EQ(Ack(), 1);
  }
  const auto job = loop_->GetJob(core::JobId{job_});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->trials(0).epochs_size(), 1);
}

TEST_F(GatewayWithAttemptTest, ReportsResentInANewSessionCountOnce) {
  worker_->Write(Epoch(attempt_, 1, 1));
  EXPECT_EQ(Ack(), 1);
  worker_->HangUp();
  worker_ = std::make_unique<FakeWorker>(stub_.get(), worker_id_, "one");
  worker_->Write(Epoch(attempt_, 1, 1));
  worker_->Write(Epoch(attempt_, 2, 2));
  EXPECT_EQ(Ack(), 1);
  EXPECT_EQ(Ack(), 2);
  EXPECT_EQ(loop_->GetJob(core::JobId{job_})->trials(0).epochs_size(), 2);
}

TEST_F(GatewayWithAttemptTest, AReportOfAStaleAttemptIsSuperseded) {
  v1::AttemptRef stale = attempt_;
  stale.set_fencing(stale.fencing() + 1000);
  worker_->Write(Epoch(stale, 1, 1));
  ASSERT_TRUE(worker_->Next(Kind::kSuperseded));
  EXPECT_EQ(loop_->GetJob(core::JobId{job_})->trials(0).epochs_size(), 0);
}

TEST_F(GatewayWithAttemptTest, NonsenseEndsTheSession) {
  v1::WorkerMessage message = Epoch(attempt_, 0, 1);  // a report without a sequence number
  worker_->Write(message);
  const grpc::Status status = worker_->End();
  EXPECT_EQ(status.error_code(), Code::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("sequence"));
}

TEST_F(GatewayWithAttemptTest, AnUploadedCheckpointIsCommittedAndComesBack) {
  std::string bytes(3'000'000, 'x');
  bytes[1'234'567] = 'y';
  const auto sha256 = blobs_->Put(bytes);
  ASSERT_TRUE(sha256.ok());
  blobs_->Remove(*sha256);
  ASSERT_TRUE(Upload(bytes, *sha256, bytes.size(), attempt_).ok());
  worker_->Write(Epoch(attempt_, 1, 1));
  worker_->Write(Checkpoint(attempt_, 2, 1, *sha256, bytes.size()));
  EXPECT_EQ(Ack(), 1);
  EXPECT_EQ(Ack(), 2);
  EXPECT_TRUE(*records_->IsSoundCheckpoint(*sha256));
  std::string fetched;
  EXPECT_TRUE(Fetch(*sha256, 0, &fetched).ok());
  EXPECT_EQ(fetched, bytes);
  EXPECT_TRUE(Fetch(*sha256, 2'999'990, &fetched).ok());
  EXPECT_EQ(fetched, std::string(10, 'x'));
}

TEST_F(GatewayWithAttemptTest, AnEmptyBlobIsABlob) {
  const auto sha256 = blobs_->Put("");
  ASSERT_TRUE(sha256.ok());
  EXPECT_TRUE(Upload("", *sha256, 0, attempt_).ok());
  std::string fetched = "something";
  EXPECT_TRUE(Fetch(*sha256, 0, &fetched).ok());
  EXPECT_EQ(fetched, "");
}

TEST_F(GatewayWithAttemptTest, AnUploadIsHeldToItsHashItsSizeAndItsChunks) {
  const std::string bytes(100, 'x');
  const std::string wrong(64, 'a');
  EXPECT_EQ(Upload(bytes, wrong, 100, attempt_).error_code(), Code::DATA_LOSS);
  EXPECT_FALSE(blobs_->Has(wrong));
  const std::string sha256 = *blobs_->Put(bytes);
  blobs_->Remove(sha256);
  EXPECT_EQ(Upload(bytes, sha256, 101, attempt_).error_code(), Code::DATA_LOSS);
  EXPECT_EQ(Upload(bytes, sha256, 99, attempt_).error_code(), Code::DATA_LOSS);
  EXPECT_EQ(Upload(bytes, sha256, -1, attempt_).error_code(), Code::INVALID_ARGUMENT);
  EXPECT_EQ(Upload(bytes, sha256, int64_t{1} << 60, attempt_).error_code(), Code::INVALID_ARGUMENT);
  EXPECT_EQ(Upload(bytes, "../../etc/passwd", 100, attempt_).error_code(), Code::INVALID_ARGUMENT);
  EXPECT_FALSE(blobs_->Has(sha256));
  const std::string large(2 << 20, 'x');
  EXPECT_EQ(Upload(large, wrong, large.size(), attempt_, 2 << 20).error_code(),
            Code::INVALID_ARGUMENT);
}

TEST_F(GatewayWithAttemptTest, UploadsOfAStaleAttemptAreRefused) {
  const std::string sha256 = *blobs_->Put("late");
  blobs_->Remove(sha256);
  v1::AttemptRef stale = attempt_;
  stale.set_fencing(attempt_.fencing() - 1);
  EXPECT_EQ(Upload("late", sha256, 4, stale).error_code(), Code::FAILED_PRECONDITION);
  EXPECT_FALSE(blobs_->Has(sha256));
  ASSERT_TRUE(loop_->Ask(core::JobCancelled{{}, core::JobId{job_}}, kPatience).ok());
  EXPECT_EQ(Upload("late", sha256, 4, attempt_).error_code(), Code::FAILED_PRECONDITION);
}

TEST_F(GatewayWithAttemptTest, ABlobIsPendingUntilItsReportIsCommitted) {
  const std::string sha256 = *blobs_->Put("checkpoint");
  blobs_->Remove(sha256);
  ASSERT_TRUE(Upload("checkpoint", sha256, 10, attempt_).ok());
  bool removed = false;
  gateway_->pending_uploads().UnlessPending(sha256, [&removed] { removed = true; });
  EXPECT_FALSE(removed);
  worker_->Write(Epoch(attempt_, 1, 1));
  worker_->Write(Checkpoint(attempt_, 2, 1, sha256, 10));
  EXPECT_EQ(Ack(), 1);
  EXPECT_EQ(Ack(), 2);
  gateway_->pending_uploads().UnlessPending(sha256, [&removed] { removed = true; });
  EXPECT_TRUE(removed);
}

TEST_F(GatewayWithAttemptTest, ATornBlobIsNotSentAndItsCheckpointIsSetAside) {
  const std::string bytes(10'000, 'x');
  const std::string sha256 = *blobs_->Put(bytes);
  worker_->Write(Epoch(attempt_, 1, 1));
  worker_->Write(Checkpoint(attempt_, 2, 1, sha256, bytes.size()));
  EXPECT_EQ(Ack(), 1);
  EXPECT_EQ(Ack(), 2);
  const auto path = *blobs_->Path(sha256);
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  std::filesystem::resize_file(path, 5'000);
  std::string fetched;
  EXPECT_EQ(Fetch(sha256, 0, &fetched).error_code(), Code::DATA_LOSS);
  EXPECT_EQ(fetched, "");
  // The loop hears of it after this call, in its own time.
  while (*records_->IsSoundCheckpoint(sha256)) std::this_thread::yield();
  EXPECT_EQ(Fetch(sha256, 0, &fetched).error_code(), Code::NOT_FOUND);
}

TEST_F(GatewayWithAttemptTest, AReportedCheckpointWithoutBlobIsSetAside) {
  const std::string missing(64, 'b');
  worker_->Write(Epoch(attempt_, 1, 1));
  worker_->Write(Checkpoint(attempt_, 2, 1, missing, 10));
  EXPECT_EQ(Ack(), 1);
  EXPECT_EQ(Ack(), 2);
  while (*records_->IsSoundCheckpoint(missing)) std::this_thread::yield();
}

TEST_F(GatewayTest, BlobsThatAreNotThereAndOffsetsBeyondTheEndAreRefused) {
  std::string fetched;
  EXPECT_EQ(Fetch(std::string(64, 'c'), 0, &fetched).error_code(), Code::NOT_FOUND);
  EXPECT_EQ(Fetch("x", 0, &fetched).error_code(), Code::INVALID_ARGUMENT);
  const std::string sha256 = *blobs_->Put("four");
  EXPECT_EQ(Fetch(sha256, 5, &fetched).error_code(), Code::INVALID_ARGUMENT);
  EXPECT_EQ(Fetch(sha256, -1, &fetched).error_code(), Code::INVALID_ARGUMENT);
  EXPECT_TRUE(Fetch(sha256, 4, &fetched).ok());
}

}  // namespace
}  // namespace trainyard::coordinator
