// Data files that a spec names by https URL and SHA-256, fetched once into the store.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "coordinator/store/blobs.h"

namespace trainyard::coordinator {

struct DataFetchOptions {
  bool private_addresses = false;  // loopback, link-local and private networks, redirects included
  int64_t bytes_max = int64_t{16} << 30;
  std::string certificates;  // PEM file of authorities to trust instead of the system's
};

// Makes the store hold the file; at once if it does. INVALID_ARGUMENT: not https, no hash, another
// hash than the spec's, a refused address, too large, or a server that does not have it;
// UNAVAILABLE: anything that may pass; CANCELLED as soon as `cancelled` says so.
absl::Status FetchData(const std::string& url, const std::string& sha256,
                       const DataFetchOptions& options, const std::function<bool()>& cancelled,
                       Blobs* blobs);

}  // namespace trainyard::coordinator
