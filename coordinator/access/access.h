// Who is let in, and with what: tokens, certificates, and the access folders that hold both for
// people, for workers that are started by hand, and for each launched worker.
//
// What lies in the folder: tokens.db (hashes only), launch.key, coordinator.id, tls/ (the authority
// and what it signed), and the access folders admin/ and worker/ of the first start that asked for
// tokens.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/access/certificates.h"
#include "coordinator/access/open_calls.h"
#include "coordinator/access/policy.h"
#include "coordinator/access/secrets.h"
#include "coordinator/access/tokens.h"
#include "coordinator/launch/launcher.h"

namespace trainyard::coordinator {

struct AccessOptions {
  std::filesystem::path folder;
  bool tls = false;                   // some listener is TLS
  bool http_tls = false;              // the HTTP listener is: a certificate, but no access folders
  bool require_token = false;         // of plain calls too
  bool require_client_certs = false;  // of workers that come over TLS
  // Paths of PEM files. Without tls_cert and tls_key a certificate is made. Without tls_ca the
  // certificate's own file is what clients are to trust.
  std::string tls_cert, tls_key, tls_ca;
  std::string tls_client_ca;       // signs workers' certificates too
  std::vector<std::string> names;  // for a certificate that is made, beside OwnNames()
  std::function<bool(int64_t launch)> launch_lives;  // called on any thread
};

// What a call shows of where it comes from.
struct CallFacts {
  std::vector<std::string> authorization;  // values of the header, one expected
  bool tls = false;
  bool client_certificate = false;  // shown, and vouched for
};

// Thread-safe.
class Access {
 public:
  // Every error is one for people, naming the flag or file.
  static absl::StatusOr<std::unique_ptr<Access>> Open(AccessOptions options,
                                                      Clock* clock = &Clock::System());

  // UNAUTHENTICATED: no token, or none that lives.
  absl::StatusOr<Caller> Identify(const CallFacts& facts) const;
  // The same for calls of workers: asks for a certificate where one is required.
  absl::StatusOr<Caller> IdentifyWorker(const CallFacts& facts) const;
  // UNAUTHENTICATED once the caller's token is dead.
  absl::Status Recheck(const Caller& caller) const;

  // Calls that stay open are ended soon after their caller's token died.
  OpenCalls& open_calls() { return open_calls_; }
  TokenStore& tokens() { return *tokens_; }

  // What TLS listeners show; empty without any.
  const KeyPair& server_pair() const { return server_pair_; }
  // Whose certificates workers may show; empty: they are not asked for any.
  const std::string& client_ca_pem() const { return client_ca_pem_; }

  // Gives each launched worker its access files, for workers that dial a TLS listener or a plain
  // one. Must not outlive this.
  AccessIssuer Issuer(bool over_tls) const;

  // Tells what this coordinator launched from what another one did.
  const std::string& coordinator_id() const { return coordinator_id_; }

  // The access folders to hand out; empty where nobody is asked for a token, or where there were
  // tokens of that kind already.
  std::string admin_folder() const { return FolderIfThere("admin"); }
  std::string worker_folder() const { return FolderIfThere("worker"); }

 private:
  Access(AccessOptions options, LaunchTokens launch_tokens, std::unique_ptr<TokenStore> tokens);
  absl::Status OpenTls();
  absl::Status ReadOwnCertificate();
  absl::Status KeepFolder(const std::string& name, Role role);
  absl::StatusOr<AccessFiles> FilesFor(std::string token, bool over_tls,
                                       const std::string& client_name, int days) const;
  std::string FolderIfThere(const char* name) const;

  const AccessOptions options_;
  const LaunchTokens launch_tokens_;
  const std::unique_ptr<TokenStore> tokens_;
  std::string coordinator_id_;
  std::optional<CertificateAuthority> authority_;
  KeyPair server_pair_;
  std::string server_ca_pem_;  // what clients are to trust
  std::string client_ca_pem_;
  OpenCalls open_calls_;  // last: its thread asks the others
};

}  // namespace trainyard::coordinator
