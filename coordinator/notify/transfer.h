// One attempt to hand something over to a server, by HTTP or SMTP: what came of it, and whether
// trying again may help. Secrets may be in what is sent and in the URL, never in what is returned.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace trainyard::coordinator {

// Whom we are ready to talk to, and how.
struct Connection {
  bool plain_http = false;         // http:// too
  bool private_addresses = false;  // loopback, link-local and private networks
  std::string ca;                  // PEM file of authorities to trust instead of the system's
  int64_t timeout_ms = 30'000;     // of the whole
};

// OK; INVALID_ARGUMENT: final, as the server or our own rules refuse it; UNAVAILABLE: it may pass;
// CANCELLED.
struct Outcome {
  absl::Status status;
  int64_t retry_after_ms = 0;  // what the server asks us to wait, 0: nothing

  Outcome(absl::Status status, int64_t retry_after_ms = 0)  // NOLINT: returned as a status
      : status(std::move(status)), retry_after_ms(retry_after_ms) {}
};

using Cancelled = std::function<bool()>;

struct HttpPost {
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::string body;                  // JSON
};
// Redirects are not followed. Final is what 4xx says, but for 408, 429 and answers that ask us to
// come back.
Outcome Post(const HttpPost& post, const Connection& connection, const Cancelled& cancelled);

struct Mail {
  enum class Encryption { kStartTls, kTls, kNone };
  std::string server;
  int port = 0;
  Encryption encryption = Encryption::kStartTls;
  std::string user;  // empty: no authentication
  std::string password;
  std::string from;
  std::vector<std::string> to;
  std::string message;  // headers and body, lines ended by CR LF
};
// A recipient whom the server refuses for good keeps it from no other.
Outcome Send(const Mail& mail, const Connection& connection, const Cancelled& cancelled);

}  // namespace trainyard::coordinator
