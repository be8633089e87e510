// TLS for the HTTP listener, with the coordinator's own certificate.
#pragma once

#include <openssl/ssl.h>

#include <memory>

#include "absl/status/statusor.h"
#include "coordinator/access/certificates.h"

namespace trainyard::coordinator {

struct SslDelete {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

// Shows the pair's certificates; asks callers for none.
absl::StatusOr<std::unique_ptr<SSL_CTX, SslDelete>> MakeServerTls(const KeyPair& pair);

}  // namespace trainyard::coordinator
