#include "coordinator/access/access.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/access/host_names.h"
#include "coordinator/access/private_files.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kScheme = "Bearer ";
constexpr size_t kTokenBytesMax = 256;
constexpr int kLaunchCertDays = 365;       // longer than any launch
constexpr int kByHandCertDays = 10 * 365;  // its folder lies on hosts that nobody visits

absl::StatusOr<std::string> ReadFlagFile(const char* flag, const std::string& path) {
  auto content = ReadSmallFile(path);
  if (content.ok()) return content;
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": ", std::string(content.status().message())));
}

// The token of the one header "Bearer TOKEN" that there should be.
absl::StatusOr<std::string> TokenOf(const std::vector<std::string>& authorization) {
  if (authorization.empty()) {
    return absl::UnauthenticatedError(
        "this coordinator asks for a token, and the call brought none");
  }
  const std::string& value = authorization.front();
  if (authorization.size() > 1 || !absl::StartsWithIgnoreCase(value, "Bearer ") ||
      value.size() > kScheme.size() + kTokenBytesMax) {
    return absl::UnauthenticatedError(absl::StrCat(
        "authorization: found ", authorization.size(), " of it with ", value.size(),
        " bytes, expected one, 'Bearer' and a token of at most ", kTokenBytesMax, " bytes"));
  }
  return value.substr(kScheme.size());
}

absl::Status CheckOptions(const AccessOptions& options) {
  const bool own = !options.tls_cert.empty();
  if (own != !options.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key: expected both or none");
  }
  if (!own && !options.tls_ca.empty()) {
    return absl::InvalidArgumentError("--tls-ca: expected --tls-cert and --tls-key beside it");
  }
  if (!options.require_client_certs && !options.tls_client_ca.empty()) {
    return absl::InvalidArgumentError("--tls-client-ca: expected --require-client-certs beside it");
  }
  if (!options.tls && ((own && !options.http_tls) || options.require_client_certs)) {
    return absl::InvalidArgumentError(
        absl::StrCat(own ? "--tls-cert" : "--require-client-certs",
                     ": no --listen names an address beyond this machine, and only those are TLS"));
  }
  return absl::OkStatus();
}

}  // namespace

Access::Access(AccessOptions options, LaunchTokens launch_tokens,
               std::unique_ptr<TokenStore> tokens)
    : options_(std::move(options)),
      launch_tokens_(std::move(launch_tokens)),
      tokens_(std::move(tokens)),
      open_calls_([this](const Caller& caller) { return Recheck(caller); }) {}

absl::StatusOr<std::unique_ptr<Access>> Access::Open(AccessOptions options, Clock* clock) {
  if (auto status = CheckOptions(options); !status.ok()) return status;
  if (auto status = MakePrivateFolder(options.folder); !status.ok()) return status;
  auto launch_tokens = LaunchTokens::Open(options.folder / "launch.key");
  if (!launch_tokens.ok()) return launch_tokens.status();
  auto tokens = TokenStore::Open(options.folder, clock);
  if (!tokens.ok()) return tokens.status();
  std::unique_ptr<Access> access(
      new Access(std::move(options), *std::move(launch_tokens), *std::move(tokens)));
  auto id = LastingId(access->options_.folder / "coordinator.id");
  if (!id.ok()) return id.status();
  access->coordinator_id_ = *std::move(id);
  if (auto status = access->OpenTls(); !status.ok()) return status;
  if (access->options_.tls || access->options_.require_token) {
    if (auto status = access->KeepFolder("admin", v1::Token::ADMIN); !status.ok()) return status;
    if (auto status = access->KeepFolder("worker", v1::Token::JOIN); !status.ok()) return status;
  }
  return access;
}

absl::Status Access::OpenTls() {
  if (!options_.tls && !options_.http_tls) return absl::OkStatus();
  const bool own = !options_.tls_cert.empty();
  if (!own || options_.require_client_certs) {
    auto authority = CertificateAuthority::Open(options_.folder / "tls");
    if (!authority.ok()) return authority.status();
    authority_ = *std::move(authority);
  }
  if (own) {
    if (auto status = ReadOwnCertificate(); !status.ok()) return status;
  } else {
    std::vector<std::string> names = OwnNames();
    names.insert(names.end(), options_.names.begin(), options_.names.end());
    auto pair = ServerCertificate(*authority_, options_.folder / "tls", names);
    if (!pair.ok()) return pair.status();
    server_pair_ = *std::move(pair);
    server_ca_pem_ = authority_->pem();
  }
  if (!options_.require_client_certs) return absl::OkStatus();
  client_ca_pem_ = authority_->pem();
  if (options_.tls_client_ca.empty()) return absl::OkStatus();
  const auto more = ReadFlagFile("--tls-client-ca", options_.tls_client_ca);
  if (!more.ok()) return more.status();
  absl::StrAppend(&client_ca_pem_, "\n", *more);
  return absl::OkStatus();
}

absl::Status Access::ReadOwnCertificate() {
  auto cert = ReadFlagFile("--tls-cert", options_.tls_cert);
  if (!cert.ok()) return cert.status();
  auto key = ReadFlagFile("--tls-key", options_.tls_key);
  if (!key.ok()) return key.status();
  server_ca_pem_ = *cert;
  if (!options_.tls_ca.empty()) {
    auto ca = ReadFlagFile("--tls-ca", options_.tls_ca);
    if (!ca.ok()) return ca.status();
    server_ca_pem_ = *std::move(ca);
  }
  server_pair_ = {*std::move(cert), *std::move(key)};
  const absl::Status status = CheckKeyPair(server_pair_, server_ca_pem_);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(
      absl::StrCat("--tls-cert ", options_.tls_cert, ": ", std::string(status.message()),
                   options_.tls_ca.empty() ? "; name that authority's with --tls-ca" : ""));
}

// Makes the folder with a first token of that role where no such token lives, and keeps the
// certificates in it as they are now.
absl::Status Access::KeepFolder(const std::string& name, Role role) {
  const fs::path folder = options_.folder / name;
  std::string token;
  if (!tokens_->HasLive(role)) {
    absl::StatusOr<TokenStore::Created> created;
    for (int number = 1; number == 1 || absl::IsAlreadyExists(created.status()); ++number) {
      created = tokens_->Create(number == 1 ? name : absl::StrCat(name, "-", number), role, 0);
    }
    if (!created.ok()) return created.status();
    token = created->secret + "\n";
  } else {
    auto kept = ReadSmallFile(folder / "token");
    if (!kept.ok()) return absl::OkStatus();  // moved away: it is somebody else's business
    token = *std::move(kept);
  }
  const bool worker = role == v1::Token::JOIN;
  auto files = FilesFor(std::move(token), options_.tls, worker ? "worker started by hand" : "",
                        kByHandCertDays);
  if (!files.ok()) return files.status();
  return WriteAccessFolder(folder, *files);
}

absl::StatusOr<AccessFiles> Access::FilesFor(std::string token, bool over_tls,
                                             const std::string& client_name, int days) const {
  AccessFiles files{{"token", std::move(token)}};
  if (!over_tls) return files;
  files["ca.pem"] = server_ca_pem_;
  if (client_name.empty() || !options_.require_client_certs) return files;
  const auto pair = authority_->IssueClient(client_name, days);
  if (!pair.ok()) return pair.status();
  files["cert.pem"] = pair->cert_pem;
  files["key.pem"] = pair->key_pem;
  return files;
}

AccessIssuer Access::Issuer(bool over_tls) const {
  return [this, over_tls](int64_t launch) -> absl::StatusOr<AccessFiles> {
    if (!over_tls && !options_.require_token) return AccessFiles{};
    return FilesFor(launch_tokens_.Issue(launch) + "\n", over_tls, absl::StrCat("launch ", launch),
                    kLaunchCertDays);
  };
}

absl::StatusOr<Caller> Access::Identify(const CallFacts& facts) const {
  if (!facts.tls && !options_.require_token) return Caller{};
  const auto token = TokenOf(facts.authorization);
  if (!token.ok()) return token.status();
  Caller caller;
  if (LaunchTokens::LooksLikeOne(*token)) {
    const auto launch = launch_tokens_.Check(*token);
    if (!launch) {
      return absl::UnauthenticatedError("this coordinator has issued no such launch token");
    }
    caller.kind = Caller::Kind::kLaunch;
    caller.launch = *launch;
    if (auto status = Recheck(caller); !status.ok()) return status;
    return caller;
  }
  const auto known = tokens_->Check(*token);
  if (!known.ok()) return known.status();
  caller.kind = Caller::Kind::kToken;
  caller.token = known->id;
  caller.name = known->token.name();
  caller.role = known->token.role();
  return caller;
}

absl::StatusOr<Caller> Access::IdentifyWorker(const CallFacts& facts) const {
  if (facts.tls && options_.require_client_certs && !facts.client_certificate) {
    return absl::UnauthenticatedError(
        "this coordinator asks workers for a certificate, and the connection brought none: "
        "expected "
        "cert.pem and key.pem in the access folder");
  }
  return Identify(facts);
}

absl::Status Access::Recheck(const Caller& caller) const {
  switch (caller.kind) {
    case Caller::Kind::kToken:
      return tokens_->Recheck(caller.token);
    case Caller::Kind::kLaunch:
      if (options_.launch_lives && options_.launch_lives(caller.launch)) return absl::OkStatus();
      return absl::UnauthenticatedError(
          absl::StrCat("launch ", caller.launch, " is over, and its token with it"));
    case Caller::Kind::kAnyone:
      break;
  }
  return absl::OkStatus();
}

std::string Access::FolderIfThere(const char* name) const {
  if (!options_.tls && !options_.require_token) return "";
  const fs::path folder = options_.folder / name;
  std::error_code error;
  return fs::exists(folder / "token", error) ? fs::absolute(folder).string() : "";
}

}  // namespace trainyard::coordinator
