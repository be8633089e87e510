// The service WorkerGateway: request -> event, effect -> message, nothing else.
//
// Sessions use gRPC's callback API and hold no thread; blobs are streamed by its synchronous one, a
// thread for each transfer, whose number is limited.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "coordinator/access/access.h"
#include "coordinator/core/effect.h"
#include "coordinator/core/state.h"
#include "coordinator/loop.h"
#include "coordinator/rpc/pending_uploads.h"
#include "coordinator/rpc/worker_session.h"
#include "coordinator/store/blobs.h"
#include "trainyard/v1/worker.grpc.pb.h"

namespace trainyard::coordinator {

struct GatewayOptions {
  int64_t lease_ms = 5'000;
  int64_t orphan_limit_ms = 1'800'000;
  size_t session_queue_max = 256;              // messages that wait for one worker
  int64_t blob_bytes_max = int64_t{64} << 30;  // of one upload
  int transfers_max = 64;                      // at a time
};

class WorkerGateway final
    : public v1::WorkerGateway::WithCallbackMethod_Register<
          v1::WorkerGateway::WithCallbackMethod_Session<v1::WorkerGateway::Service>>,
      private SessionOwner {
 public:
  // All must outlive it, and the server must be shut down before it is destroyed. Without `access`
  // nobody is asked who they are.
  WorkerGateway(GatewayOptions options, Loop* loop, Blobs* blobs, Access* access = nullptr);

  // Performs the effects that are for workers; those for one without a session are dropped. On the
  // loop's thread. False: not such an effect.
  bool Perform(const core::Effect& effect, const core::State& state);

  // Ends all sessions.
  void CloseSessions(const absl::Status& why);

  PendingUploads& pending_uploads() { return pending_uploads_; }

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                     const v1::RegisterRequest* request,
                                     v1::RegisterResponse* response) override;
  grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::Status FetchBlob(grpc::ServerContext* context, const v1::FetchBlobRequest* request,
                         grpc::ServerWriter<v1::BlobChunk>* writer) override;
  grpc::Status UploadBlob(grpc::ServerContext* context,
                          grpc::ServerReader<v1::UploadBlobRequest>* reader,
                          v1::UploadBlobResponse* response) override;

 private:
  absl::Status Opened(WorkerSession* session, const v1::Hello& hello) override;
  absl::Status Received(core::WorkerId worker, const v1::WorkerMessage& message) override;
  void Closed(WorkerSession* session) override;

  // Who calls, and which launch's workers that caller may speak for.
  struct Visitor {
    Caller caller;
    std::optional<int64_t> launch;
  };
  absl::StatusOr<Visitor> LetIn(const grpc::ServerContextBase& context) const;
  std::unique_ptr<OpenCalls::Entry> Keep(const Visitor& visitor, OpenCalls::End end) const;
  absl::Status CheckLaunch(const Visitor& visitor, const v1::RegisterRequest& request) const;

  absl::Status ReceivedCheckpoint(core::WorkerId worker, const v1::WorkerMessage& message);
  void Send(core::WorkerId worker, v1::CoordinatorMessage message);
  absl::Status CheckClaim(const Visitor& visitor, const v1::AttemptRef& attempt) const;
  absl::Status CheckFetch(const Visitor& visitor, const std::string& sha256) const;
  absl::Status SendFile(const std::string& sha256, int64_t offset,
                        grpc::ServerWriter<v1::BlobChunk>* writer);
  absl::Status Receive(const Visitor& visitor, const v1::UploadBlobRequest& first,
                       grpc::ServerReader<v1::UploadBlobRequest>* reader,
                       v1::UploadBlobResponse* response);

  const GatewayOptions options_;
  Loop* const loop_;
  Blobs* const blobs_;
  Access* const access_;  // may be null
  PendingUploads pending_uploads_;
  std::atomic<int> transfers_{0};

  struct Connected {
    WorkerSession* session = nullptr;
    // Of checkpoint reports that are not acknowledged yet: sequence -> blob.
    std::map<int64_t, std::string> reported;
  };
  std::mutex mutex_;
  std::map<core::WorkerId, Connected> sessions_;  // the newest session of each worker
};

}  // namespace trainyard::coordinator
