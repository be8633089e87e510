#include "coordinator/access/certificates.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/access/host_names.h"
#include "coordinator/access/private_files.h"

namespace trainyard::coordinator {
namespace {

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
void FreeStack(STACK_OF(X509) * stack) { sk_X509_pop_free(stack, X509_free); }
using Bio = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using Cert = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freed<X509_EXTENSION_free>>;
using Store = std::unique_ptr<X509_STORE, Freed<X509_STORE_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Freed<X509_STORE_CTX_free>>;
using Stack = std::unique_ptr<STACK_OF(X509), Freed<FreeStack>>;

constexpr int kAuthorityDays = 3650;
constexpr int kServerDays = 730;
constexpr int kServerDaysLeftMin = 183;

absl::Status OpenSslError(const char* doing) {
  char text[256] = "no reason given";
  if (const unsigned long code = ERR_get_error(); code != 0) {
    ERR_error_string_n(code, text, sizeof text);
  }
  ERR_clear_error();
  return absl::InternalError(absl::StrCat("OpenSSL cannot ", doing, ": ", text));
}

Bio Reading(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// All certificates of a PEM text, in order.
std::vector<Cert> ReadCerts(const std::string& pem) {
  std::vector<Cert> certs;
  const Bio bio = Reading(pem);
  while (Cert cert{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    certs.push_back(std::move(cert));
  }
  ERR_clear_error();  // of the end of the text
  return certs;
}

Key ReadKey(const std::string& pem) {
  // The empty pass phrase, so that nobody is asked on a terminal for that of an encrypted key.
  Key key(PEM_read_bio_PrivateKey(Reading(pem).get(), nullptr, nullptr, const_cast<char*>("")));
  ERR_clear_error();
  return key;
}

template <typename Write>
std::string ToPem(Write write) {
  const Bio bio(BIO_new(BIO_s_mem()));
  write(bio.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<size_t>(std::max(size, 0L))};
}

KeyPair ToPem(X509* cert, EVP_PKEY* key) {
  return {ToPem([&](BIO* bio) { PEM_write_bio_X509(bio, cert); }), ToPem([&](BIO* bio) {
            PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

struct Request {
  std::string common_name;
  int days = 0;
  std::vector<std::pair<int, std::string>> extensions;  // as openssl.cnf writes them
};

bool AddExtensions(X509* cert, X509* issuer, const Request& request) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  for (const auto& [nid, value] : request.extensions) {
    const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
    if (!extension || X509_add_ext(cert, extension.get(), -1) != 1) return false;
  }
  return true;
}

// Signed by the issuer, or by itself where there is none.
absl::StatusOr<KeyPair> Make(const Request& request, X509* issuer, EVP_PKEY* issuer_key) {
  const Key key(EVP_EC_gen("P-256"));
  const Cert cert(X509_new());
  if (!key || !cert) return OpenSslError("make a key");
  unsigned char serial[16];
  if (RAND_bytes(serial, sizeof serial) != 1) return OpenSslError("draw a serial number");
  serial[0] &= 0x7f;  // positive
  std::unique_ptr<BIGNUM, Freed<BN_free>> number(BN_bin2bn(serial, sizeof serial, nullptr));
  X509_set_version(cert.get(), X509_VERSION_3);
  BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(cert.get()));
  // From yesterday on, for clocks that disagree.
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), -86'400L);
  X509_time_adj_ex(X509_getm_notAfter(cert.get()), request.days, 0, nullptr);
  X509_set_pubkey(cert.get(), key.get());
  X509_NAME* name = X509_get_subject_name(cert.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(request.common_name.c_str()),
                             -1, -1, 0);
  X509* const signer = issuer != nullptr ? issuer : cert.get();
  X509_set_issuer_name(cert.get(), X509_get_subject_name(signer));
  if (!AddExtensions(cert.get(), signer, request) ||
      X509_sign(cert.get(), issuer_key != nullptr ? issuer_key : key.get(), EVP_sha256()) == 0) {
    return OpenSslError("make a certificate");
  }
  return ToPem(cert.get(), key.get());
}

absl::StatusOr<KeyPair> MakeAuthority() {
  return Make({.common_name = "Trainyard coordinator authority",
               .days = kAuthorityDays,
               .extensions = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                              {NID_key_usage, "critical,keyCertSign,cRLSign"},
                              {NID_subject_key_identifier, "hash"}}},
              nullptr, nullptr);
}

bool LastsFor(const X509* cert, int days) {
  int left = 0, seconds = 0;
  return ASN1_TIME_diff(&left, &seconds, nullptr, X509_get0_notAfter(cert)) == 1 && left >= days;
}

bool IsForHost(X509* cert, const std::string& host) {
  const bool is_ip = KindOfHost(host) == HostKind::kAddress;
  return (is_ip ? X509_check_ip_asc(cert, host.c_str(), 0)
                : X509_check_host(cert, host.data(), host.size(), 0, nullptr)) == 1;
}

// Reads a pair of files; NOT_FOUND if either is missing.
absl::StatusOr<KeyPair> ReadPair(const std::filesystem::path& cert,
                                 const std::filesystem::path& key) {
  auto cert_pem = ReadSmallFile(cert);
  if (!cert_pem.ok()) return cert_pem.status();
  auto key_pem = ReadSmallFile(key);
  if (!key_pem.ok()) return key_pem.status();
  return KeyPair{*std::move(cert_pem), *std::move(key_pem)};
}

}  // namespace

absl::StatusOr<CertificateAuthority> CertificateAuthority::Open(
    const std::filesystem::path& folder) {
  if (auto status = MakePrivateFolder(folder); !status.ok()) return status;
  const std::filesystem::path cert = folder / "ca.pem", key = folder / "ca-key.pem";
  auto pair = ReadPair(cert, key);
  if (absl::IsNotFound(pair.status())) {
    pair = MakeAuthority();
    if (!pair.ok()) return pair.status();
    if (auto status = WritePrivateFile(key, pair->key_pem); !status.ok()) return status;
    if (auto status = WritePrivateFile(cert, pair->cert_pem); !status.ok()) return status;
  }
  if (!pair.ok()) return pair.status();
  if (const absl::Status status = CheckKeyPair(*pair, pair->cert_pem); !status.ok()) {
    return absl::DataLossError(absl::StrCat(cert.string(), ": ", std::string(status.message()),
                                            "; without it and its key a new authority is made, "
                                            "which no access folder out there knows"));
  }
  return CertificateAuthority(*std::move(pair));
}

absl::StatusOr<KeyPair> CertificateAuthority::IssueServer(const std::vector<std::string>& names,
                                                          int days) const {
  std::vector<std::string> alternatives;
  for (const std::string& name : names) {
    const HostKind kind = KindOfHost(name);
    if (kind == HostKind::kNeither) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", name, "' is no name for a certificate, expected a host name or an IP address"));
    }
    alternatives.push_back(absl::StrCat(kind == HostKind::kAddress ? "IP:" : "DNS:", name));
  }
  const auto certs = ReadCerts(pair_.cert_pem);
  return Make({.common_name = "Trainyard coordinator",
               .days = days,
               .extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                              {NID_key_usage, "critical,digitalSignature"},
                              {NID_ext_key_usage, "serverAuth"},
                              {NID_subject_alt_name, absl::StrJoin(alternatives, ",")},
                              {NID_authority_key_identifier, "keyid"}}},
              certs.at(0).get(), ReadKey(pair_.key_pem).get());
}

absl::StatusOr<KeyPair> CertificateAuthority::IssueClient(const std::string& name, int days) const {
  const auto certs = ReadCerts(pair_.cert_pem);
  return Make({.common_name = name,
               .days = days,
               .extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                              {NID_key_usage, "critical,digitalSignature"},
                              {NID_ext_key_usage, "clientAuth"},
                              {NID_authority_key_identifier, "keyid"}}},
              certs.at(0).get(), ReadKey(pair_.key_pem).get());
}

absl::StatusOr<KeyPair> ServerCertificate(const CertificateAuthority& authority,
                                          const std::filesystem::path& folder,
                                          const std::vector<std::string>& names) {
  const std::filesystem::path cert = folder / "server.pem", key = folder / "server-key.pem";
  auto pair = ReadPair(cert, key);
  if (!pair.ok() && !absl::IsNotFound(pair.status())) return pair.status();
  if (pair.ok() && CheckKeyPair(*pair, authority.pem()).ok()) {
    const auto certs = ReadCerts(pair->cert_pem);
    const bool all = std::all_of(names.begin(), names.end(), [&](const std::string& name) {
      return IsForHost(certs.at(0).get(), name);
    });
    if (all && LastsFor(certs.at(0).get(), kServerDaysLeftMin)) return pair;
  }
  pair = authority.IssueServer(names, kServerDays);
  if (!pair.ok()) return pair.status();
  if (auto status = WritePrivateFile(key, pair->key_pem); !status.ok()) return status;
  if (auto status = WritePrivateFile(cert, pair->cert_pem); !status.ok()) return status;
  return pair;
}

absl::Status CheckKeyPair(const KeyPair& pair, const std::string& ca_pem) {
  auto certs = ReadCerts(pair.cert_pem);
  if (certs.empty()) return absl::InvalidArgumentError("found no certificate, expected one as PEM");
  const Key key = ReadKey(pair.key_pem);
  if (!key) {
    return absl::InvalidArgumentError("found no private key, expected one as PEM, not encrypted");
  }
  if (X509_check_private_key(certs[0].get(), key.get()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError("the private key is not that of the certificate");
  }
  const Store store(X509_STORE_new());
  const auto trusted = ReadCerts(ca_pem);
  if (trusted.empty()) {
    return absl::InvalidArgumentError("found no certificate of an authority, expected one as PEM");
  }
  for (const Cert& cert : trusted) X509_STORE_add_cert(store.get(), cert.get());
  const Stack chain(sk_X509_new_null());
  for (size_t i = 1; i < certs.size(); ++i) sk_X509_push(chain.get(), certs[i].release());
  const StoreContext context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), certs[0].get(), chain.get());
  if (X509_verify_cert(context.get()) == 1) return absl::OkStatus();
  const int error = X509_STORE_CTX_get_error(context.get());
  ERR_clear_error();
  return absl::InvalidArgumentError(
      absl::StrCat("the certificate is not one that its authority vouches for: ",
                   X509_verify_cert_error_string(error)));
}

bool IsFor(const std::string& cert_pem, const std::string& host) {
  const auto certs = ReadCerts(cert_pem);
  return !certs.empty() && IsForHost(certs[0].get(), host);
}

}  // namespace trainyard::coordinator
