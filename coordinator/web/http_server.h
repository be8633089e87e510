// The HTTP listener: routes, each connection a thread with a deadline, one request each. Where too
// many are open the oldest one goes: a request takes milliseconds, so the oldest is a slow client.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/access/certificates.h"
#include "coordinator/web/http.h"

namespace trainyard::coordinator {

struct HttpOptions {
  std::string address;  // "host:port"; port 0: any that is free
  KeyPair tls;          // empty: plain
  size_t connections_max = 128;
  std::chrono::milliseconds request_limit{10'000};  // from its connection to its last byte
  size_t head_bytes_max = 32 << 10;                 // the request's line and its headers
  size_t body_bytes_max = 4 << 20;
};

// Where to listen, as flags name it; INVALID_ARGUMENT for what is no host:port.
absl::Status CheckHttpAddress(const std::string& address);

class HttpServer {
 public:
  // Listens and serves. UNAVAILABLE if it cannot, saying so for people.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(HttpOptions options,
                                                           std::vector<Route> routes);
  // Cuts off what is under way, and waits for the handlers that run.
  virtual ~HttpServer() = default;

  // As asked for, with the port that was chosen where 0 was asked for.
  virtual const std::string& address() const = 0;
};

}  // namespace trainyard::coordinator
