#include "coordinator/web/signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "coordinator/access/secrets.h"

namespace trainyard::coordinator {
namespace {

constexpr std::string_view kPrefix = "sha256=";
constexpr size_t kDigits = 64;

}  // namespace

bool LooksSigned(std::string_view signature) {
  return signature.size() == kPrefix.size() + kDigits && signature.starts_with(kPrefix) &&
         std::all_of(signature.begin() + kPrefix.size(), signature.end(),
                     [](unsigned char c) { return absl::ascii_isxdigit(c); });
}

bool IsSignedBy(std::string_view secret, std::string_view body, std::string_view signature) {
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
           reinterpret_cast<const unsigned char*>(body.data()), body.size(), mac,
           &size) == nullptr) {
    return false;
  }
  const std::string hex = absl::BytesToHexString({reinterpret_cast<const char*>(mac), size});
  return SameSecret(absl::StrCat(std::string(kPrefix), hex),
                    absl::AsciiStrToLower(std::string(signature)));
}

}  // namespace trainyard::coordinator
