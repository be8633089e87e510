// Data files that a spec names by https URL and SHA-256.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "worker/agent/attempt_control.h"

namespace trainyard::agent {

struct HttpsOptions {
  // Loopback, private and link-local addresses are refused unless set, redirects to them included:
  // a spec is a stranger's, the worker's network is not.
  bool private_addresses = false;
  std::string certificates;  // PEM file of authorities to trust instead of the system's
};

// Hands the resource's bytes from `offset` on to the sink; its error ends the transfer and is
// returned. INVALID_ARGUMENT: not an https URL; PERMISSION_DENIED: an address that is refused;
// NOT_FOUND: HTTP 404 or 410; OUT_OF_RANGE: `offset` > 0 and the server sends whole files only;
// UNAVAILABLE: anything that may pass; CANCELLED: the wish is at least kStop.
absl::Status FetchHttps(const std::string& url, int64_t offset,
                        const std::function<absl::Status(std::string_view)>& sink,
                        const HttpsOptions& options, AttemptControl& control);

}  // namespace trainyard::agent
