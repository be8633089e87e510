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
constexpr size_t kIdBytes = 8;
constexpr std::string_view kLaunchPrefix = "tyl_";

absl::StatusOr<std::string> RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1) {
    return absl::InternalError("OpenSSL has no random numbers to give");
  }
  return bytes;
}

// Random bytes that are drawn once, and kept in the file.
absl::StatusOr<std::string> KeptRandom(const std::filesystem::path& file, size_t count,
                                       const std::string& advice) {
  auto bytes = ReadSmallFile(file);
  if (absl::IsNotFound(bytes.status())) {
    bytes = RandomBytes(count);
    if (!bytes.ok()) return bytes.status();
    if (auto status = WritePrivateFile(file, *bytes); !status.ok()) return status;
  }
  if (!bytes.ok()) return bytes.status();
  if (bytes->size() == count) return bytes;
  return absl::DataLossError(absl::StrCat(file.string(), ": found ", bytes->size(),
                                          " bytes, expected ", count, "; ", advice));
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

std::string HmacSha256(std::string_view key, std::string_view text) {
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, &size);
  return std::string(reinterpret_cast<const char*>(mac), size);
}

bool SameSecret(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

absl::StatusOr<std::string> LastingId(const std::filesystem::path& file) {
  const auto bytes =
      KeptRandom(file, kIdBytes,
                 "without the file a new one is drawn, and what was launched under the old one has "
                 "to be removed by hand");
  if (!bytes.ok()) return bytes.status();
  return absl::BytesToHexString(*bytes);
}

absl::StatusOr<LaunchTokens> LaunchTokens::Open(const std::filesystem::path& key_file) {
  auto key = KeptRandom(key_file, kSecretBytes,
                        "without the file a new one is made, and workers that were launched before "
                        "are not let in again");
  if (!key.ok()) return key.status();
  return LaunchTokens(*std::move(key));
}

std::string LaunchTokens::Issue(int64_t launch) const {
  const std::string named = absl::StrCat("trainyard launch ", launch);
  return absl::StrCat("tyl_", launch, "_", absl::WebSafeBase64Escape(HmacSha256(key_, named)));
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
