// Checkpoints, models, source snapshots and data by hash, over a connection of its own, so that a
// long upload never stands before a renewal. One try a call: see retry.h. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/access.h"
#include "trainyard/v1/worker.grpc.pb.h"
#include "worker/agent/attempt_control.h"

namespace trainyard::agent {

// A channel to the coordinator that pings as its server expects; each call makes a connection of
// its own. `target`: "host:port" or "unix:/path".
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target, const AccessKeys& keys = {});

absl::Status FromGrpc(const grpc::Status& status);

class BlobClient {
 public:
  explicit BlobClient(std::shared_ptr<grpc::Channel> channel);

  // Calls `sink` with the blob's bytes from `offset` on, in order. The sink's error ends the call
  // and is returned. Fewer or more bytes than announced: DATA_LOSS. The hash is the caller's to
  // check. CANCELLED as soon as the wish is at least `until`.
  using Sink = std::function<absl::Status(std::string_view)>;
  absl::Status Fetch(const std::string& sha256, int64_t offset, const Sink& sink,
                     AttemptControl& control, Wish until);

  // The whole blob, its hash checked: DATA_LOSS where it differs.
  absl::StatusOr<std::string> FetchToMemory(const std::string& sha256, AttemptControl& control,
                                            Wish until);

  // FAILED_PRECONDITION: the attempt holds nothing any more. RESOURCE_EXHAUSTED: the coordinator's
  // disk is full.
  absl::Status Upload(std::string_view bytes, const std::string& sha256,
                      const v1::AttemptRef& attempt, AttemptControl& control, Wish until);

 private:
  std::unique_ptr<v1::WorkerGateway::Stub> stub_;
};

}  // namespace trainyard::agent
