#include "coordinator/access/secrets.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "coordinator/access/private_files.h"
#include "coordinator/source/digest.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kSecretBytes = 32;
constexpr std::string_view kLaunchPrefix = "tyl_";

absl::StatusOr<std::string> RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1) {
    return absl::InternalError("OpenSSL has no random numbers to give");
  }
  return bytes;
}

}  // namespace

absl::StatusOr<std::string> NewSecret() {
  const auto bytes = RandomBytes(kSecretBytes);
  if (!bytes.ok()) return bytes.status();
  return absl::StrCat("ty_", absl::WebSafeBase64Escape(*bytes));
}

std::string HashOfSecret(std::string_view secret) {
  Sha256 hash;
  hash.Add(secret);
  return hash.Hex();
}

bool SameSecret(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

absl::StatusOr<LaunchTokens> LaunchTokens::Open(const std::filesystem::path& key_file) {
  auto key = ReadSmallFile(key_file);
  if (absl::IsNotFound(key.status())) {
    key = RandomBytes(kSecretBytes);
    if (!key.ok()) return key.status();
    if (auto status = WritePrivateFile(key_file, *key); !status.ok()) return status;
  }
  if (!key.ok()) return key.status();
  if (key->size() != kSecretBytes) {
    return absl::DataLossError(absl::StrCat(key_file.string(), ": found ", key->size(),
                                            " bytes, expected a key of ", kSecretBytes,
                                            "; without the file a new one is made, and workers "
                                            "that were launched before are not let in again"));
  }
  return LaunchTokens(*std::move(key));
}

std::string LaunchTokens::Mac(std::string_view text) const {
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, &size);
  return {reinterpret_cast<const char*>(mac), size};
}

std::string LaunchTokens::Issue(int64_t launch) const {
  const std::string mac = Mac(absl::StrCat("trainyard launch ", launch));
  return absl::StrCat("tyl_", launch, "_", absl::WebSafeBase64Escape(mac));
}

std::string LaunchTokens::CoordinatorId() const {
  return absl::BytesToHexString(Mac("trainyard coordinator").substr(0, 8));
}

std::optional<int64_t> LaunchTokens::Check(std::string_view token) const {
  if (!LooksLikeOne(token)) return std::nullopt;
  const std::string_view rest = token.substr(kLaunchPrefix.size());
  const std::string number(rest.substr(0, rest.find('_')));
  int64_t launch = 0;
  if (!absl::SimpleAtoi(number, &launch) || launch <= 0) return std::nullopt;
  // Compared as a whole: another way to write the same number is no token either.
  if (!SameSecret(Issue(launch), token)) return std::nullopt;
  return launch;
}

bool LaunchTokens::LooksLikeOne(std::string_view token) { return token.starts_with(kLaunchPrefix); }

}  // namespace trainyard::coordinator
