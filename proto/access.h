// What a program shows a coordinator to be let in, and its connection to it: for `trainyard` and
// `trainyard-worker` alike.
//
// It comes in an access folder: `token` (a secret, one line), `ca.pem` (whom to trust; its presence
// makes the connection TLS), `cert.pem` and `key.pem` (what a worker shows where one is asked for).
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainyard {

// All as the files hold them; what is empty is not shown.
struct AccessKeys {
  std::string token;
  std::string ca_pem;
  std::string cert_pem, key_pem;
};

// Each error names the file, what was found and what was expected. To `warnings` goes what works
// and should not be, such as a secret that everybody on this machine can read.
absl::StatusOr<AccessKeys> ReadAccessFolder(const std::string& folder,
                                            std::vector<std::string>* warnings);
absl::StatusOr<std::string> ReadTokenFile(const std::string& path,
                                          std::vector<std::string>* warnings);
absl::StatusOr<std::string> ReadCaFile(const std::string& path);
// Whether it may be sent as a token: 1 to 256 printable characters. The secret is not in the error.
absl::Status CheckToken(const std::string& token, const std::string& where);

// TLS where the keys say whom to trust, else plain. Every call carries the token.
std::shared_ptr<grpc::Channel> MakeAccessChannel(const std::string& target, const AccessKeys& keys,
                                                 const grpc::ChannelArguments& arguments);

// Why there is no connection, in words that people can act on; empty if nothing is known. Tries
// once more, for a second at most.
std::string WhyUnreachable(const std::shared_ptr<grpc::Channel>& channel, const AccessKeys& keys);

}  // namespace trainyard
