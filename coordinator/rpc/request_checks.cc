#include "coordinator/rpc/request_checks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/convert/api.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kTextMax = 4096;
constexpr size_t kShownMax = 80;
constexpr size_t kLineMax = 16 * 1024;

// Control characters as \xNN, the rest as it is. C1 controls (U+0080 to U+009F, in UTF-8 0xC2 0x80
// to 0xC2 0x9F) make terminals act as well.
std::string Visible(std::string_view text, bool keep_tabs) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string shown;
  shown.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned char c = static_cast<unsigned char>(text[i]);
    const unsigned char next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    const bool c1 = c == 0xC2 && next >= 0x80 && next <= 0x9F;
    if (!c1 && (c >= 0x20 || (c == '\t' && keep_tabs)) && c != 0x7F) {
      shown += text[i];
      continue;
    }
    if (c1) {
      c = next;
      ++i;
    }
    shown += "\\x";
    shown += kHex[c >> 4];
    shown += kHex[c & 15];
  }
  return shown;
}

}  // namespace

absl::Status CheckTextSize(std::string_view field, std::string_view text) {
  if (text.size() > kTextMax) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": found ", text.size(),
                                                   " bytes, expected at most ", kTextMax));
  }
  if (text.find('\0') != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": found a NUL character"));
  }
  return absl::OkStatus();
}

absl::Status CheckId(std::string_view field, int64_t id) {
  if (id > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), ": found ", id, ", expected a number from 1 on"));
}

absl::Status CheckSha256(std::string_view field, std::string_view sha256) {
  const bool hex = std::all_of(sha256.begin(), sha256.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (sha256.size() == 64 && hex) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": found ", ForPeople(sha256),
                                                 ", expected 64 lower-case hex digits"));
}

std::string ForPeople(std::string_view text) {
  const bool cut = text.size() > kShownMax;
  return absl::StrCat("'", Visible(Utf8(text.substr(0, kShownMax)), false), cut ? "...'" : "'");
}

std::string CleanLine(std::string_view line) {
  const bool cut = line.size() > kLineMax;
  std::string shown = Visible(Utf8(line.substr(0, kLineMax)), true);
  if (cut) absl::StrAppend(&shown, " [", line.size() - kLineMax, " more bytes]");
  return shown;
}

}  // namespace trainyard::coordinator
