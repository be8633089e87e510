// A coordinator's gateway that does what a test says: real gRPC on a Unix socket, everything that
// came on record, nothing decided by time.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "trainyard/v1/worker.grpc.pb.h"

namespace trainyard::agent {

// A folder of the test's own, gone with it.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class FakeGateway : public v1::WorkerGateway::Service {
 public:
  FakeGateway();
  ~FakeGateway() override;

  std::string address() const { return "unix:" + folder_ / "socket"; }

  // ---- What it does. Set before it matters; under mutex(). ----
  struct Behaviour {
    int64_t lease_ms = 60'000;
    int64_t renew_every_ms = 10;
    int64_t orphan_limit_ms = 600'000;
    bool acknowledge = true;
    bool lease = true;  // answers renewals
    int forget = 0;     // so many Hellos get NOT_FOUND
    grpc::Status door;  // what registering and sessions are refused with
    // Instead of what is stored; called without the lock.
    std::function<std::optional<grpc::Status>(const std::string& sha256)> on_upload;
    std::function<std::optional<std::string>(const std::string& sha256, int64_t offset)> on_fetch;
  };
  void Set(const std::function<void(Behaviour&)>& change);
  std::string Store(std::string bytes);  // answers its SHA-256

  // ---- What it says. To the open session, waiting for one. ----
  void Send(const v1::CoordinatorMessage& message);
  void SendAck(int64_t sequence);
  void SendStart(const v1::Start& start);
  void SendStop(const v1::AttemptRef& attempt, bool checkpoint);
  void SendAdjust(const v1::AttemptRef& attempt, const v1::Adjustment& adjustment);
  void SendSuperseded(const v1::AttemptRef& attempt);

  // Cuts the open session, as a broken connection does.
  void Cut();
  // The process is gone, and back again at the same address.
  void GoDown();
  void ComeUp();

  // ---- What came. ----
  struct Record {
    std::vector<v1::RegisterRequest> registered;
    std::vector<v1::Hello> hellos;
    std::vector<v1::WorkerMessage> reports;  // as often as they came
    std::vector<v1::Renewal> renewals;
    std::vector<std::string> goodbyes;
    std::vector<std::string> uploads;  // hashes, as often as they came
    int sessions_open = 0;

    std::vector<v1::Epoch> epochs() const;  // each report once
    std::vector<v1::CheckpointReport> checkpoints() const;
    std::vector<v1::AdjustReport> adjusted() const;
    const v1::AttemptEnded* ended() const;  // of the last one
    const v1::FinishReport* finished() const;
  };
  // Waits until the condition holds; fails the test and returns what there is after a minute.
  Record WaitFor(const std::string& what, const std::function<bool(const Record&)>& condition);
  // Waits for the end of this attempt.
  Record WaitForEnd(int64_t attempt);
  Record record();
  std::string blob(const std::string& sha256);

  grpc::Status Register(grpc::ServerContext* context, const v1::RegisterRequest* request,
                        v1::RegisterResponse* response) override;
  grpc::Status Session(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::WorkerMessage>* stream) override;
  grpc::Status FetchBlob(grpc::ServerContext* context, const v1::FetchBlobRequest* request,
                         grpc::ServerWriter<v1::BlobChunk>* writer) override;
  grpc::Status UploadBlob(grpc::ServerContext* context,
                          grpc::ServerReader<v1::UploadBlobRequest>* reader,
                          v1::UploadBlobResponse* response) override;

 private:
  using Stream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::WorkerMessage>;
  void Receive(const v1::WorkerMessage& message);

  TestFolder folder_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Behaviour behaviour_;
  Record record_;
  std::map<std::string, std::string> blobs_;
  grpc::ServerContext* context_ = nullptr;  // of the open session
  Stream* stream_ = nullptr;
  int64_t workers_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace trainyard::agent
