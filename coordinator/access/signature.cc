#include "coordinator/access/signature.h"

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

std::string SignatureOf(std::string_view secret, std::string_view body) {
  return absl::StrCat(std::string(kPrefix), absl::BytesToHexString(HmacSha256(secret, body)));
}

bool LooksSigned(std::string_view signature) {
  return signature.size() == kPrefix.size() + kDigits && signature.starts_with(kPrefix) &&
         std::all_of(signature.begin() + kPrefix.size(), signature.end(),
                     [](unsigned char c) { return absl::ascii_isxdigit(c); });
}

bool IsSignedBy(std::string_view secret, std::string_view body, std::string_view signature) {
  return SameSecret(SignatureOf(secret, body), absl::AsciiStrToLower(std::string(signature)));
}

}  // namespace trainyard::coordinator
