#include "proto/access.h"

#include <grpc/support/log.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "trainyard/v1/client.grpc.pb.h"

namespace trainyard {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;
constexpr size_t kTokenBytesMax = 256;  // as the coordinator takes it

bool IsThere(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  struct stat info {};
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file || stat(path.c_str(), &info) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read: ", strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is no file"));
  }
  if (info.st_size > static_cast<off_t>(kFileBytesMax)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": found ", info.st_size,
                                                   " bytes, expected ", kFileBytesMax, " at most"));
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Secrets are for their owner. It works all the same: some file systems know no modes.
void WarnIfOpen(const std::string& path, std::vector<std::string>* warnings) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 || (info.st_mode & (S_IRWXG | S_IRWXO)) == 0) return;
  warnings->push_back(
      absl::StrCat(path, ": others on this machine can read the secret in it; chmod 600 it"));
}

absl::StatusOr<std::string> ReadPem(const std::string& path, const char* what) {
  auto pem = ReadFile(path);
  if (!pem.ok()) return pem;
  if (pem->find(absl::StrCat("-----BEGIN ", what)) == std::string::npos &&
      pem->find(absl::StrCat(" ", what, "-----")) == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": found ", pem->size(), " bytes without one, expected a ", what, " as PEM"));
  }
  return pem;
}

bool HoldsCertificate(const std::string& pem) {
  const std::unique_ptr<BIO, void (*)(BIO*)> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free_all);
  const std::unique_ptr<X509, void (*)(X509*)> cert(
      PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
  return cert != nullptr;
}

// Adds the token to each call: call credentials would do it, and work over TLS only.
class ShowToken final : public grpc::experimental::Interceptor {
 public:
  explicit ShowToken(const std::string& header) : header_(header) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("authorization", header_);
    }
    methods->Proceed();
  }

 private:
  const std::string& header_;
};

class ShowTokenFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit ShowTokenFactory(const std::string& token) : header_(absl::StrCat("Bearer ", token)) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new ShowToken(header_);
  }

 private:
  const std::string header_;  // outlives every call: the channel has the factory
};

// What lies behind gRPC's words for a failed connection, where there is something to do about it.
std::string Explain(const std::string& detail, const AccessKeys& keys) {
  const bool tls = !keys.ca_pem.empty();
  const std::string said = absl::AsciiStrToLower(detail);
  const auto says = [&](const char* text) { return absl::StrContains(said, text); };
  if (says("connection refused") || says("no route") || says("resolution") || says("timeout")) {
    return "";
  }
  if (tls && says("certificate verify failed")) {
    return "its certificate is not one that ca.pem vouches for: is the access folder that of this "
           "very coordinator, and of its present state folder?";
  }
  if (tls && (says("hostname verification") || says("not in peer certificate"))) {
    return "its certificate is for other names than this one: name the coordinator by a name of "
           "its certificate, or start it with --tls-name";
  }
  if (tls && says("handshake")) {
    return "the TLS handshake failed: is this a plain address of the coordinator, or does it ask "
           "for a client certificate that it trusts?";
  }
  if (!tls && (says("closed") || says("reset") || says("settings"))) {
    return "it hangs up on a plain connection: if it speaks TLS there, an access folder with "
           "ca.pem "
           "is needed";
  }
  return "";
}

}  // namespace

absl::Status CheckToken(const std::string& token, const std::string& where) {
  const bool printable =
      std::all_of(token.begin(), token.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
  if (!token.empty() && token.size() <= kTokenBytesMax && printable) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      where, ": found ",
      token.empty()
          ? "nothing"
          : absl::StrCat(token.size(), printable ? " characters" : " bytes of another kind"),
      ", expected a token: one line of at most ", kTokenBytesMax, " printable characters"));
}

absl::StatusOr<std::string> ReadTokenFile(const std::string& path,
                                          std::vector<std::string>* warnings) {
  auto token = ReadFile(path);
  if (!token.ok()) return token;
  while (!token->empty() && strchr(" \t\r\n", token->back()) != nullptr) token->pop_back();
  if (auto status = CheckToken(*token, path); !status.ok()) return status;
  WarnIfOpen(path, warnings);
  return token;
}

absl::StatusOr<std::string> ReadCaFile(const std::string& path) {
  auto pem = ReadFile(path);
  if (!pem.ok() || HoldsCertificate(*pem)) return pem;
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": found ", pem->size(), " bytes without one, expected a certificate as PEM"));
}

absl::StatusOr<AccessKeys> ReadAccessFolder(const std::string& folder,
                                            std::vector<std::string>* warnings) {
  struct stat info {};
  if (stat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("access folder ", folder, ": ",
                     errno == EACCES ? "may not be read by this user" : "there is no such folder"));
  }
  const auto file = [&](const char* name) { return absl::StrCat(folder, "/", name); };
  AccessKeys keys;
  const auto read = [&](const char* name, auto reader, std::string* to) {
    if (!IsThere(file(name))) return absl::OkStatus();
    auto content = reader(file(name));
    if (content.ok()) *to = *std::move(content);
    return content.status();
  };
  const auto token = [&](const std::string& path) { return ReadTokenFile(path, warnings); };
  const auto key = [&](const std::string& path) {
    WarnIfOpen(path, warnings);
    return ReadPem(path, "PRIVATE KEY");
  };
  if (auto status = read("token", token, &keys.token); !status.ok()) return status;
  if (auto status = read("ca.pem", ReadCaFile, &keys.ca_pem); !status.ok()) return status;
  if (auto status = read("cert.pem", ReadCaFile, &keys.cert_pem); !status.ok()) return status;
  if (auto status = read("key.pem", key, &keys.key_pem); !status.ok()) return status;
  if (keys.token.empty() && keys.ca_pem.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("access folder ", folder, ": found neither a file token nor ca.pem in it"));
  }
  if (keys.cert_pem.empty() != keys.key_pem.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("access folder ", folder,
                     ": found only one of cert.pem and key.pem, expected both or none"));
  }
  return keys;
}

std::shared_ptr<grpc::Channel> MakeAccessChannel(const std::string& target, const AccessKeys& keys,
                                                 const grpc::ChannelArguments& arguments) {
  // A handshake that fails is told by WhyUnreachable; gRPC's own lines are for its developers.
  static const bool quiet = [] {
    if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function([](gpr_log_func_args*) {});
    return true;
  }();
  (void)quiet;
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!keys.ca_pem.empty()) {
    credentials = grpc::SslCredentials({keys.ca_pem, keys.key_pem, keys.cert_pem});
  }
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  if (!keys.token.empty()) interceptors.push_back(std::make_unique<ShowTokenFactory>(keys.token));
  return grpc::experimental::CreateCustomChannelWithInterceptors(target, credentials, arguments,
                                                                 std::move(interceptors));
}

std::string WhyUnreachable(const std::shared_ptr<grpc::Channel>& channel, const AccessKeys& keys) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
  v1::ServerInfo info;
  // Fails at once, with the cause of the last try to connect.
  const grpc::Status status =
      v1::Trainyard::NewStub(channel)->GetServerInfo(&context, v1::GetServerInfoRequest(), &info);
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return "";
  return Explain(status.error_message(), keys);
}

}  // namespace trainyard
