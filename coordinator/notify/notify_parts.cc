#include "coordinator/notify/notify_parts.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "absl/strings/ascii.h"
#include "coordinator/access/private_files.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using Kind = YamlNode::Kind;

constexpr size_t kSecretMax = 4'096;
constexpr size_t kAddressMax = 254;

bool IsVariableName(std::string_view text) {
  return !text.empty() && !absl::ascii_isdigit(static_cast<unsigned char>(text[0])) &&
         std::ranges::all_of(text,
                             [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_'; });
}

absl::StatusOr<std::string> SecretOfVariable(const std::string& name) {
  if (!IsVariableName(name)) {
    return absl::InvalidArgumentError("expected the name of an environment variable");
  }
  const char* value = std::getenv(name.c_str());
  if (value != nullptr) return std::string(value);
  return absl::InvalidArgumentError("found no such variable in the environment");
}

using Url = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string PartOf(const Url& url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, 0) != CURLUE_OK) return "";
  const std::string copy = text;
  curl_free(text);
  return copy;
}

}  // namespace

bool ReadSecret(const Section& section, const std::string& key, const fs::path& folder,
                std::string* out) {
  const std::string file_key = key + "_file", env_key = key + "_env";
  const YamlNode* file = section.Find(file_key);
  const YamlNode* env = section.Find(env_key);
  if (file == nullptr && env == nullptr) return false;
  if (file != nullptr && env != nullptr) {
    section.Problem(env_key, fmt::format("found {} beside it, expected one of them", file_key));
    return false;
  }
  const YamlNode& node = file != nullptr ? *file : *env;
  const std::string& used = file != nullptr ? file_key : env_key;
  if (node.kind != Kind::kScalar || node.text.empty()) {
    section.Problem(used, Describe(node) + ", expected " +
                              (file != nullptr ? "the path of a file with the secret in it"
                                               : "the name of an environment variable"));
    return false;
  }
  const auto secret =
      file != nullptr ? ReadSecretFile(folder / node.text) : SecretOfVariable(node.text);
  if (!secret.ok()) {
    section.Problem(used, std::string(secret.status().message()));
    return false;
  }
  const bool sound =
      !secret->empty() && secret->size() <= kSecretMax &&
      std::ranges::none_of(*secret, [](unsigned char c) { return c < 0x20 || c == 0x7F; });
  if (!sound) {
    section.Problem(
        used, fmt::format("found {}, expected one line of at most {} bytes",
                          secret->empty() ? "nothing in it" : "something else in it", kSecretMax));
    return false;
  }
  *out = *secret;
  return true;
}

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
