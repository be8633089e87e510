#include "coordinator/source/repository_key.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {
namespace {

std::string_view WithoutEnd(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.ends_with(".git")) path.remove_suffix(4);
  while (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

RemoteRepository Remote(std::string_view authority, std::string_view path) {
  if (const size_t at = authority.rfind('@'); at != authority.npos) authority.remove_prefix(at + 1);
  // A port behind the brackets of an IPv6 address, or behind a name.
  if (const size_t colon = authority.rfind(':');
      colon != authority.npos && authority.find(']', colon) == authority.npos) {
    authority = authority.substr(0, colon);
  }
  while (path.starts_with('/')) path.remove_prefix(1);
  return {authority, WithoutEnd(path)};
}

}  // namespace

std::optional<RemoteRepository> RemoteRepositoryOf(std::string_view url) {
  if (url.starts_with("file://")) return std::nullopt;
  if (const size_t scheme = url.find("://"); scheme != url.npos) {
    const std::string_view rest = url.substr(scheme + 3);
    const size_t slash = std::min(rest.find('/'), rest.size());
    return Remote(rest.substr(0, slash), rest.substr(slash));
  }
  const size_t colon = url.find(':');
  if (colon == url.npos || url.find('/') < colon) return std::nullopt;
  return Remote(url.substr(0, colon), url.substr(colon + 1));  // host:path, as ssh writes it
}

std::string RepositoryKey(std::string_view url) {
  if (const auto remote = RemoteRepositoryOf(url)) {
    return absl::AsciiStrToLower(
        absl::StrCat(std::string(remote->host), "/", std::string(remote->path)));
  }
  if (url.starts_with("file://")) url.remove_prefix(7);
  return std::string(WithoutEnd(url));
}

}  // namespace trainyard::coordinator
