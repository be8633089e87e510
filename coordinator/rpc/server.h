// A gRPC server as this project wants one: plain and TLS listeners side by side, nobody shares its
// ports, dead peers are noticed, nothing that comes in is larger than it may be, and what is no
// message is INVALID_ARGUMENT.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/access/certificates.h"

namespace trainyard::coordinator {

struct Listener {
  std::string address;  // "host:port" or "unix:/path"
  bool tls = false;
};

struct RunningServer {
  std::unique_ptr<grpc::Server> server;
  // As asked for, in the same order, with the port that was chosen where 0 was asked for.
  std::vector<Listener> listeners;
  std::string address;  // of the first one
};

// What TLS listeners show, and whose certificates their callers may show; empty: none is asked for.
struct TlsFiles {
  KeyPair pair;
  std::string client_ca_pem;
};

// Listens there. UNAVAILABLE if it cannot, saying so for people. Health service and reflection are
// on, for everybody. The services outlive the server.
absl::StatusOr<RunningServer> StartServer(const std::vector<Listener>& listeners,
                                          const TlsFiles& tls,
                                          const std::vector<grpc::Service*>& services);
// One plain listener.
absl::StatusOr<RunningServer> StartServer(const std::string& listen,
                                          const std::vector<grpc::Service*>& services);

}  // namespace trainyard::coordinator
