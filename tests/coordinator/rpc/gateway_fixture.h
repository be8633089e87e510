// A gateway over a real loop, store and server, and a worker whose every message the test writes
// itself.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "coordinator/convert/api.h"
#include "coordinator/loop.h"
#include "coordinator/rpc/server.h"
#include "coordinator/rpc/worker_gateway.h"
#include "coordinator/store/blobs.h"
#include "coordinator/store/records.h"
#include "gtest/gtest.h"
#include "proto/spec_convert.h"

namespace trainyard::coordinator {

inline constexpr auto kPatience = std::chrono::seconds(60);

// Performs what concerns workers and lets the rest be.
class GatewayOnly final : public Performer {
 public:
  void Perform(const core::Effect& effect, const core::State& state) override {
    if (gateway != nullptr) gateway->Perform(effect, state);
  }
  void LoopBroken(const absl::Status& why) override { ADD_FAILURE() << why; }
  WorkerGateway* gateway = nullptr;
};

// One session, read on a thread of its own.
class FakeWorker {
 public:
  FakeWorker(v1::WorkerGateway::Stub* stub, int64_t worker, const std::string& incarnation)
      : stream_(stub->Session(&context_)) {
    v1::WorkerMessage hello;
    hello.mutable_hello()->set_worker(worker);
    hello.mutable_hello()->set_incarnation(incarnation);
    Write(hello);
    reader_ = std::thread([this] { Read(); });
  }
  ~FakeWorker() {
    context_.TryCancel();
    if (reader_.joinable()) reader_.join();
  }

  bool Write(const v1::WorkerMessage& message) { return stream_->Write(message); }

  // The next message of this kind; others are skipped. Nothing: the session ended first.
  std::optional<v1::CoordinatorMessage> Next(v1::CoordinatorMessage::MessageCase kind) {
    std::unique_lock lock(mutex_);
    while (true) {
      if (!changed_.wait_for(lock, kPatience, [this] { return ended_ || !messages_.empty(); })) {
        return std::nullopt;
      }
      if (messages_.empty()) return std::nullopt;
      v1::CoordinatorMessage message = std::move(messages_.front());
      messages_.pop_front();
      if (message.message_case() == kind) return message;
    }
  }

  // How the session ended.
  grpc::Status End() {
    reader_.join();
    return status_;
  }
  grpc::Status HangUp() {
    stream_->WritesDone();
    return End();
  }

 private:
  void Read() {
    v1::CoordinatorMessage message;
    while (stream_->Read(&message)) {
      std::lock_guard lock(mutex_);
      messages_.push_back(message);
      changed_.notify_all();
    }
    status_ = stream_->Finish();
    std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>> stream_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::CoordinatorMessage> messages_;
  bool ended_ = false;
  grpc::Status status_;
  std::thread reader_;
};

class GatewayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "trainyard-rpc-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    auto records = Records::Open(folder_);
    ASSERT_TRUE(records.ok()) << records.status();
    records_ = *std::move(records);
    auto blobs = Blobs::Open(folder_ / "blobs");
    ASSERT_TRUE(blobs.ok()) << blobs.status();
    blobs_ = *std::move(blobs);
    Loop::Options options;
    // Nothing expires by itself while a test looks at one thing.
    options.settings.lease_ms = 600'000;
    options.settings.stalled_ms = 600'000;
    options.settings.register_ms = 600'000;
    options.settings.pools = pools_;
    auto loop = Loop::Open(options, records_.get(), &performer_);
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    GatewayOptions gateway;
    gateway.blob_bytes_max = 16 << 20;
    gateway.lease_ms = options.settings.lease_ms;
    gateway_ = std::make_unique<WorkerGateway>(gateway, loop_.get(), blobs_.get(), OpenAccess());
    performer_.gateway = gateway_.get();
    auto server = Serve();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    loop_->Start();
    stub_ = v1::WorkerGateway::NewStub(
        grpc::CreateChannel(server_.address, grpc::InsecureChannelCredentials()));
  }

  // What the gateway asks, and how it is served; nobody is asked, plain.
  virtual Access* OpenAccess() { return nullptr; }
  virtual absl::StatusOr<RunningServer> Serve() {
    return StartServer("127.0.0.1:0", {gateway_.get()});
  }

  void TearDown() override {
    gateway_->CloseSessions(absl::UnavailableError("test over"));
    server_.server->Shutdown(std::chrono::system_clock::now());
    server_.server->Wait();
    loop_->Stop();
    loop_.reset();
    gateway_.reset();
    records_.reset();
    std::filesystem::remove_all(folder_);
  }

  int64_t Register(const std::string& incarnation, v1::RegisterRequest request = {}) {
    request.set_name("host/1");
    request.set_pool("external");
    request.set_host("host");
    request.set_incarnation(incarnation);
    v1::RegisterResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub_->Register(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.worker();
  }

  // A job of a network with one layer; nobody computes it here.
  int64_t Submit(const std::string& name = "test") {
    core::JobRequest job;
    job.name = name;
    job.spec_hash = "hash";
    job.configuration.network.input = {1, 4, 4};
    job.configuration.network.classes = 2;
    job.configuration.network.layers.push_back({network::Flatten{}});
    job.configuration.network.layers.push_back({network::Dense{2, true}});
    job.configuration.training.epochs = 3;
    job.target = {core::TargetMetric::kValAccuracy, 0.99};
    job.tuning.enabled = false;
    job.again = true;
    job.snapshot_sha256 = std::string(64, '0');
    v1::JobSpec spec;
    spec.set_name("test");
    *spec.mutable_configuration() = trainyard::ToProto(job.configuration);
    job.spec_blob = spec.SerializeAsString();
    const auto answer = loop_->Ask(core::JobSubmitted{{}, job}, kPatience);
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? answer->id : 0;
  }

  static v1::WorkerMessage Epoch(const v1::AttemptRef& attempt, int64_t sequence, int epoch) {
    v1::WorkerMessage message;
    message.set_sequence(sequence);
    *message.mutable_epoch()->mutable_attempt() = attempt;
    v1::Epoch* row = message.mutable_epoch()->mutable_epoch();
    row->set_epoch(epoch);
    row->set_step(epoch * 10);
    row->set_val_accuracy(0.5);
    row->set_val_loss(0.7);
    row->set_exact(true);
    return message;
  }

  static v1::WorkerMessage Checkpoint(const v1::AttemptRef& attempt, int64_t sequence, int epoch,
                                      const std::string& sha256, int64_t bytes) {
    v1::WorkerMessage message;
    message.set_sequence(sequence);
    v1::CheckpointReport* report = message.mutable_checkpoint();
    *report->mutable_attempt() = attempt;
    report->set_sha256(sha256);
    report->set_bytes(bytes);
    report->set_step(epoch * 10);
    report->set_epoch(epoch);
    report->set_end_of_epoch(true);
    return message;
  }

  grpc::Status Upload(const std::string& bytes, const std::string& sha256, int64_t total_bytes,
                      const v1::AttemptRef& attempt, size_t chunk = 1 << 20) {
    grpc::ClientContext context;
    v1::UploadBlobResponse response;
    auto writer = stub_->UploadBlob(&context, &response);
    v1::UploadBlobRequest request;
    request.set_sha256(sha256);
    request.set_total_bytes(total_bytes);
    *request.mutable_attempt() = attempt;
    size_t at = 0;
    do {
      request.set_data(bytes.substr(at, chunk));
      if (!writer->Write(request)) break;
      request.Clear();
      at += chunk;
    } while (at < bytes.size());
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    EXPECT_TRUE(!status.ok() || response.bytes() == static_cast<int64_t>(bytes.size()));
    return status;
  }

  grpc::Status Fetch(const std::string& sha256, int64_t offset, std::string* bytes) {
    v1::FetchBlobRequest request;
    request.set_sha256(sha256);
    request.set_offset(offset);
    grpc::ClientContext context;
    auto reader = stub_->FetchBlob(&context, request);
    v1::BlobChunk chunk;
    bytes->clear();
    while (reader->Read(&chunk)) bytes->append(chunk.data());
    return reader->Finish();
  }

  std::filesystem::path folder_;
  decltype(core::Settings::pools) pools_;  // to be set before SetUp
  GatewayOnly performer_;
  std::unique_ptr<Records> records_;
  std::unique_ptr<Blobs> blobs_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<WorkerGateway> gateway_;
  RunningServer server_;
  std::unique_ptr<v1::WorkerGateway::Stub> stub_;
};

}  // namespace trainyard::coordinator
