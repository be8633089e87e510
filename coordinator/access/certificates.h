// The certificates that a coordinator makes for itself where it is given none: a private authority,
// kept in a folder, a server's certificate and those of workers.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainyard::coordinator {

// A certificate (with what it hangs by, if anything) and its private key, as PEM.
struct KeyPair {
  std::string cert_pem;
  std::string key_pem;
};

// Ten years of age at most, as is what it signs.
class CertificateAuthority {
 public:
  // Reads ca.pem and ca-key.pem, or makes them where there are none.
  static absl::StatusOr<CertificateAuthority> Open(const std::filesystem::path& folder);

  const std::string& pem() const { return pair_.cert_pem; }

  // Names are host names or IP addresses. INVALID_ARGUMENT for what is neither.
  absl::StatusOr<KeyPair> IssueServer(const std::vector<std::string>& names, int days) const;
  // For a worker; `name` is for those who look at it.
  absl::StatusOr<KeyPair> IssueClient(const std::string& name, int days) const;

 private:
  explicit CertificateAuthority(KeyPair pair) : pair_(std::move(pair)) {}
  KeyPair pair_;
};

// The server's certificate in the folder (server.pem, server-key.pem), made anew where it is
// missing, not of this authority, does not have all these names, or has less than half a year left.
absl::StatusOr<KeyPair> ServerCertificate(const CertificateAuthority& authority,
                                          const std::filesystem::path& folder,
                                          const std::vector<std::string>& names);

// Whether these certificates are PEM, the key is that of the first one, and a client that trusts
// `ca_pem` will trust it. The error says what is wrong, for people.
absl::Status CheckKeyPair(const KeyPair& pair, const std::string& ca_pem);

// Whether the first of these certificates is for this host name or IP address.
bool IsFor(const std::string& cert_pem, const std::string& host);

}  // namespace trainyard::coordinator
