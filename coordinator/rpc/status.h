// Between absl::Status, which the coordinator speaks, and what goes over the wire.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace trainyard::coordinator {

inline grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  // gRPC carries messages in a header of limited size: a longer one would be lost as a whole.
  constexpr size_t kMessageMax = 6000;
  std::string message(status.message());
  if (message.size() > kMessageMax) {
    message.resize(kMessageMax);
    message += "\n[cut off]";
  }
  return {static_cast<grpc::StatusCode>(status.code()), std::move(message)};
}

}  // namespace trainyard::coordinator
