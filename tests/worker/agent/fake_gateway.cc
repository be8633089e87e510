#include "tests/worker/agent/fake_gateway.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>

#include "proto/channel_settings.h"
#include "worker/agent/digest.h"
#include "worker/agent/report_buffer.h"

namespace trainyard::agent {
namespace {

// Long enough for the slowest machine under a sanitizer; nothing ever waits for all of it.
constexpr auto kPatience = std::chrono::seconds(60);

}  // namespace

TestFolder::TestFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "trainyard-agent-XXXXXX").string();
  path_ = mkdtemp(name.data());
}

TestFolder::~TestFolder() { std::filesystem::remove_all(path_); }

FakeGateway::FakeGateway() { ComeUp(); }

FakeGateway::~FakeGateway() { GoDown(); }

void FakeGateway::ComeUp() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kServerPingIntervalMinMs);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  ASSERT_NE(server_, nullptr) << "no server at " << address();
}

void FakeGateway::GoDown() {
  if (!server_) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

void FakeGateway::Set(const std::function<void(Behaviour&)>& change) {
  std::lock_guard lock(mutex_);
  change(behaviour_);
}

std::string FakeGateway::Store(std::string bytes) {
  const std::string sha256 = HashOf(bytes);
  std::lock_guard lock(mutex_);
  blobs_[sha256] = std::move(bytes);
  return sha256;
}

std::string FakeGateway::blob(const std::string& sha256) {
  std::lock_guard lock(mutex_);
  return blobs_[sha256];
}

void FakeGateway::Send(const v1::CoordinatorMessage& message) {
  std::unique_lock lock(mutex_);
  ASSERT_TRUE(changed_.wait_for(lock, kPatience, [this] { return stream_ != nullptr; }));
  stream_->Write(message);
}

void FakeGateway::SendAck(int64_t sequence) {
  v1::CoordinatorMessage message;
  message.mutable_ack()->set_sequence(sequence);
  Send(message);
}

void FakeGateway::SendStart(const v1::Start& start) {
  v1::CoordinatorMessage message;
  *message.mutable_start() = start;
  Send(message);
}

void FakeGateway::SendStop(const v1::AttemptRef& attempt, bool checkpoint) {
  v1::CoordinatorMessage message;
  *message.mutable_stop()->mutable_attempt() = attempt;
  message.mutable_stop()->set_grace_ms(60'000);
  message.mutable_stop()->set_checkpoint(checkpoint);
  message.mutable_stop()->set_reason("the test says so");
  Send(message);
}

void FakeGateway::SendAdjust(const v1::AttemptRef& attempt, const v1::Adjustment& adjustment) {
  v1::CoordinatorMessage message;
  *message.mutable_adjust()->mutable_attempt() = attempt;
  *message.mutable_adjust()->mutable_adjustment() = adjustment;
  Send(message);
}

void FakeGateway::SendSuperseded(const v1::AttemptRef& attempt) {
  v1::CoordinatorMessage message;
  *message.mutable_superseded()->mutable_attempt() = attempt;
  message.mutable_superseded()->set_reason("given away");
  Send(message);
}

void FakeGateway::Cut() {
  std::unique_lock lock(mutex_);
  ASSERT_TRUE(changed_.wait_for(lock, kPatience, [this] { return context_ != nullptr; }));
  context_->TryCancel();
  ASSERT_TRUE(changed_.wait_for(lock, kPatience, [this] { return context_ == nullptr; }));
}

FakeGateway::Record FakeGateway::WaitFor(const std::string& what,
                                         const std::function<bool(const Record&)>& condition) {
  std::unique_lock lock(mutex_);
  const bool came = changed_.wait_for(lock, kPatience, [&] { return condition(record_); });
  EXPECT_TRUE(came) << "waited in vain for: " << what;
  return record_;
}

FakeGateway::Record FakeGateway::WaitForEnd(int64_t attempt) {
  return WaitFor("the attempt's end", [attempt](const Record& r) {
    return r.ended() != nullptr && r.ended()->attempt().attempt() == attempt;
  });
}

FakeGateway::Record FakeGateway::record() {
  std::lock_guard lock(mutex_);
  return record_;
}

grpc::Status FakeGateway::Register(grpc::ServerContext*, const v1::RegisterRequest* request,
                                   v1::RegisterResponse* response) {
  std::lock_guard lock(mutex_);
  record_.registered.push_back(*request);
  if (!behaviour_.door.ok()) return behaviour_.door;
  response->set_worker(++workers_);
  response->set_lease_ms(behaviour_.lease_ms);
  response->set_renew_every_ms(behaviour_.renew_every_ms);
  response->set_orphan_limit_ms(behaviour_.orphan_limit_ms);
  changed_.notify_all();
  return grpc::Status::OK;
}

grpc::Status FakeGateway::Session(grpc::ServerContext* context, Stream* stream) {
  v1::WorkerMessage message;
  if (!stream->Read(&message) || !message.has_hello()) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "the first message is no Hello"};
  }
  {
    std::lock_guard lock(mutex_);
    record_.hellos.push_back(message.hello());
    changed_.notify_all();
    if (!behaviour_.door.ok()) return behaviour_.door;
    if (behaviour_.forget > 0) {
      --behaviour_.forget;
      return {grpc::StatusCode::NOT_FOUND, "no such worker"};
    }
    stream->SendInitialMetadata();
    context_ = context;
    stream_ = stream;
    ++record_.sessions_open;
    changed_.notify_all();
  }
  while (stream->Read(&message)) Receive(message);
  std::lock_guard lock(mutex_);
  context_ = nullptr;
  stream_ = nullptr;
  --record_.sessions_open;
  changed_.notify_all();
  return grpc::Status::OK;
}

void FakeGateway::Receive(const v1::WorkerMessage& message) {
  std::lock_guard lock(mutex_);
  v1::CoordinatorMessage answer;
  if (message.has_renewal()) {
    record_.renewals.push_back(message.renewal());
    if (behaviour_.lease && message.renewal().has_attempt()) {
      *answer.mutable_leased()->mutable_attempt() = message.renewal().attempt();
      answer.mutable_leased()->set_lease_ms(behaviour_.lease_ms);
      stream_->Write(answer);
    }
  } else if (message.has_goodbye()) {
    record_.goodbyes.push_back(message.goodbye().reason());
  } else {
    record_.reports.push_back(message);
    if (behaviour_.acknowledge) {
      answer.mutable_ack()->set_sequence(message.sequence());
      stream_->Write(answer);
    }
  }
  changed_.notify_all();
}

grpc::Status FakeGateway::FetchBlob(grpc::ServerContext*, const v1::FetchBlobRequest* request,
                                    grpc::ServerWriter<v1::BlobChunk>* writer) {
  std::optional<std::string> bytes;
  std::function<std::optional<std::string>(const std::string&, int64_t)> hook;
  {
    std::lock_guard lock(mutex_);
    hook = behaviour_.on_fetch;
    const auto found = blobs_.find(request->sha256());
    if (found != blobs_.end()) bytes = found->second;
  }
  if (!bytes) return {grpc::StatusCode::NOT_FOUND, "no such blob"};
  const auto total = static_cast<int64_t>(bytes->size());
  bool torn = false;
  if (hook) {
    if (std::optional<std::string> instead = hook(request->sha256(), request->offset())) {
      bytes = instead;
      torn = static_cast<int64_t>(bytes->size()) < total;
    }
  }
  const auto offset = static_cast<size_t>(request->offset());
  v1::BlobChunk chunk;
  chunk.set_total_bytes(total);
  // Small pieces, so that small blobs have several.
  for (size_t at = offset; at < bytes->size(); at += 1'000) {
    chunk.set_data(bytes->substr(at, 1'000));
    if (!writer->Write(chunk)) break;
    chunk.Clear();
  }
  if (torn) return {grpc::StatusCode::UNAVAILABLE, "the connection broke"};
  return grpc::Status::OK;
}

grpc::Status FakeGateway::UploadBlob(grpc::ServerContext*,
                                     grpc::ServerReader<v1::UploadBlobRequest>* reader,
                                     v1::UploadBlobResponse* response) {
  v1::UploadBlobRequest request;
  std::string bytes, sha256;
  int64_t total = 0;
  for (bool first = true; reader->Read(&request); first = false) {
    if (first) {
      sha256 = request.sha256();
      total = request.total_bytes();
    }
    if (request.data().size() > static_cast<size_t>(kBlobChunkBytes)) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "a chunk over 1 MiB"};
    }
    bytes += request.data();
  }
  std::function<std::optional<grpc::Status>(const std::string&)> hook;
  {
    std::lock_guard lock(mutex_);
    hook = behaviour_.on_upload;
  }
  if (hook) {
    if (std::optional<grpc::Status> instead = hook(sha256)) return *instead;
  }
  if (HashOf(bytes) != sha256 || static_cast<int64_t>(bytes.size()) != total) {
    return {grpc::StatusCode::DATA_LOSS, "not what its hash says"};
  }
  std::lock_guard lock(mutex_);
  response->set_bytes(total);
  blobs_[sha256] = std::move(bytes);
  record_.uploads.push_back(sha256);
  changed_.notify_all();
  return grpc::Status::OK;
}

namespace {

std::vector<v1::WorkerMessage> Once(const std::vector<v1::WorkerMessage>& reports) {
  std::vector<v1::WorkerMessage> once;
  std::set<std::pair<int64_t, int64_t>> seen;  // each worker counts from 1; here it has one attempt
  for (const v1::WorkerMessage& report : reports) {
    if (seen.emplace(AttemptOf(report).attempt(), report.sequence()).second) {
      once.push_back(report);
    }
  }
  return once;
}

}  // namespace

std::vector<v1::Epoch> FakeGateway::Record::epochs() const {
  std::vector<v1::Epoch> epochs;
  for (const v1::WorkerMessage& report : Once(reports)) {
    if (report.has_epoch()) epochs.push_back(report.epoch().epoch());
  }
  return epochs;
}

std::vector<v1::CheckpointReport> FakeGateway::Record::checkpoints() const {
  std::vector<v1::CheckpointReport> checkpoints;
  for (const v1::WorkerMessage& report : Once(reports)) {
    if (report.has_checkpoint()) checkpoints.push_back(report.checkpoint());
  }
  return checkpoints;
}

std::vector<v1::AdjustReport> FakeGateway::Record::adjusted() const {
  std::vector<v1::AdjustReport> adjusted;
  for (const v1::WorkerMessage& report : Once(reports)) {
    if (report.has_adjusted()) adjusted.push_back(report.adjusted());
  }
  return adjusted;
}

const v1::AttemptEnded* FakeGateway::Record::ended() const {
  for (auto report = reports.rbegin(); report != reports.rend(); ++report) {
    if (report->has_ended()) return &report->ended();
  }
  return nullptr;
}

const v1::FinishReport* FakeGateway::Record::finished() const {
  for (auto report = reports.rbegin(); report != reports.rend(); ++report) {
    if (report->has_finished()) return &report->finished();
  }
  return nullptr;
}

}  // namespace trainyard::agent
