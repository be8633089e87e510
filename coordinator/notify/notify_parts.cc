#include "coordinator/notify/notify_parts.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "absl/strings/ascii.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr size_t kAddressMax = 254;

using Url = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string PartOf(const Url& url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, 0) != CURLUE_OK) return "";
  const std::string copy = text;
  curl_free(text);
  return copy;
}

}  // namespace

void ReadCaFile(const Section& section, std::string_view key, const fs::path& folder,
                std::string* out) {
  std::string text;
  section.Text(key, &text);
  if (text.empty()) return;
  const fs::path path = (folder / text).lexically_normal();
  std::error_code error;
  if (fs::is_regular_file(path, error) && access(path.c_str(), R_OK) == 0) {
    *out = path;
    return;
  }
  section.Problem(
      key, fmt::format("found {}, expected a PEM file that can be read ({}: {})", Quoted(text),
                       path.string(), error ? error.message() : std::string("no regular file")));
}

std::optional<std::string> WrongUrl(const std::string& text, bool plain_http) {
  constexpr char kExpected[] = "found no sound URL, expected https://host/path";
  const bool plain =
      std::ranges::all_of(text, [](unsigned char c) { return c > 0x20 && c < 0x7F; });
  const Url url(curl_url(), &curl_url_cleanup);
  if (!plain || text.empty() ||
      curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    return kExpected;
  }
  const std::string scheme = PartOf(url, CURLUPART_SCHEME);
  if (scheme == "http" && !plain_http) {
    return "found http://, expected https://, or plain_http: true beside it";
  }
  if ((scheme != "https" && scheme != "http") || PartOf(url, CURLUPART_HOST).empty()) {
    return kExpected;
  }
  if (!PartOf(url, CURLUPART_USER).empty() || !PartOf(url, CURLUPART_PASSWORD).empty()) {
    return "found a user name or password in the URL, expected none";
  }
  if (!PartOf(url, CURLUPART_FRAGMENT).empty()) return "found a # in the URL, expected none";
  return std::nullopt;
}

std::string HostOfUrl(const std::string& text) {
  const Url url(curl_url(), &curl_url_cleanup);
  curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0);
  return PartOf(url, CURLUPART_HOST);
}

bool IsMailAddress(std::string_view text) {
  const size_t at = text.find('@');
  return at != text.npos && at > 0 && at + 1 < text.size() && text.size() <= kAddressMax &&
         text[0] != '-' && text.find('@', at + 1) == text.npos &&
         std::ranges::all_of(text, [](unsigned char c) {
           return c > 0x20 && c < 0x7F &&
                  std::string_view("<>()[]\\,;:\"").find(static_cast<char>(c)) ==
                      std::string_view::npos;
         });
}

bool IsServerName(std::string_view text) {
  return !text.empty() && text.size() <= kAddressMax && text[0] != '-' &&
         std::ranges::all_of(text, [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == ':';
         });
}

}  // namespace trainyard::coordinator
