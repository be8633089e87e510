// A gRPC server as this project wants one: nobody shares its port, dead peers are noticed, nothing
// that comes in is larger than it may be, and what is no message is INVALID_ARGUMENT.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trainyard::coordinator {

struct RunningServer {
  std::unique_ptr<grpc::Server> server;
  std::string address;  // "host:port", with the port that was chosen where 0 was asked for
};

// Listens on "host:port" or "unix:/path". UNAVAILABLE if it cannot, saying so for people. Health
// service and reflection are on. The services outlive the server.
absl::StatusOr<RunningServer> StartServer(const std::string& listen,
                                          const std::vector<grpc::Service*>& services);

// Whether only this machine can reach it: 127.x.x.x, localhost, ::1 or a Unix socket.
bool IsLoopback(const std::string& listen);

}  // namespace trainyard::coordinator
