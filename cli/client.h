// The connection to a coordinator: calls with deadlines, and errors in words that people can act
// on.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "proto/access.h"
#include "trainyard/v1/client.grpc.pb.h"

namespace trainyard::cli {

class Client {
 public:
  using Milliseconds = std::chrono::milliseconds;

  // `address` as ParseAddress gives it. Connects with the first call.
  explicit Client(std::string address, AccessKeys keys = {});

  // One call, with a deadline. UNAVAILABLE: no coordinator there.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::Trainyard::Stub::*method)(grpc::ClientContext*,
                                                                            const Request&,
                                                                            Response*),
                                const Request& request, Milliseconds limit = Milliseconds(30'000)) {
    if (absl::Status status = Connect(); !status.ok()) return status;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + limit);
    Response response;
    const grpc::Status status = ((*stub_).*method)(&context, request, &response);
    if (!status.ok()) return Explain(status);
    return response;
  }

  // Waits until the coordinator answers, at most `limit`; returns at once where it refuses.
  absl::Status Connect(Milliseconds limit = Milliseconds(10'000));
  // What a failed call means, in words; the code stays.
  absl::Status Explain(const grpc::Status& status) const;

  // Whether there is a connection right now.
  bool Connected() const;
  // After a failure, starts afresh: a channel that has failed takes its time before it tries again.
  // Calls that are under way stay with the connection they have.
  void RenewIfBroken();

  v1::Trainyard::Stub& stub() { return *stub_; }
  const std::string& address() const { return address_; }

 private:
  absl::Status Unreachable(const std::string& detail) const;
  absl::Status NoConnection() const;

  const std::string address_;
  const AccessKeys keys_;
  std::shared_ptr<grpc::Channel> channel_;  // gRPC's own type for it
  std::unique_ptr<v1::Trainyard::Stub> stub_;
};

}  // namespace trainyard::cli
