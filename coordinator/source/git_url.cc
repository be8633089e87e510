// Which URLs are let through to libgit2.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "coordinator/source/git.h"
#include "coordinator/source/private_address.h"
#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {
namespace {

absl::Status Refuse(const std::string& url, std::string_view message) {
  return absl::InvalidArgumentError(fmt::format("{}: {}", Quoted(url), message));
}

constexpr char kExpected[] = "expected https://, ssh://, git@host:path, file:// or a path";

bool InNetwork(uint32_t address, uint32_t network, int bits) {
  return (address ^ network) >> (32 - bits) == 0;
}

// Addresses that are not on the public Internet.
bool IsPrivate4(uint32_t a) {
  constexpr std::pair<uint32_t, int> kNetworks[] = {
      {0x00000000, 8},  {0x0A000000, 8},  {0x64400000, 10}, {0x7F000000, 8},  {0xA9FE0000, 16},
      {0xAC100000, 12}, {0xC0000000, 24}, {0xC0A80000, 16}, {0xC6120000, 15}, {0xE0000000, 3}};
  return std::any_of(std::begin(kNetworks), std::end(kNetworks), [&](const auto& network) {
    return InNetwork(a, network.first, network.second);
  });
}

bool IsPrivate6(const in6_addr& address) {
  const uint8_t* b = address.s6_addr;
  auto tail4 = [&](int at) {
    return uint32_t{b[at]} << 24 | uint32_t{b[at + 1]} << 16 | uint32_t{b[at + 2]} << 8 | b[at + 3];
  };
  if (IN6_IS_ADDR_V4MAPPED(&address)) return IsPrivate4(tail4(12));
  if (b[0] == 0x20 && b[1] == 0x02) return IsPrivate4(tail4(2));  // 6to4
  bool nat64 = b[0] == 0x00 && b[1] == 0x64 && b[2] == 0xFF && b[3] == 0x9B;
  if (nat64) return IsPrivate4(tail4(12));
  return (b[0] & 0xE0) != 0x20;  // all but 2000::/3, the global unicast addresses
}

bool IsPrivate(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    return IsPrivate4(ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr));
  }
  if (address->sa_family == AF_INET6) {
    return IsPrivate6(reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
  }
  return true;
}

// Whatever a resolver says of it, or whether there is one (RFC 6761, 6.3).
bool IsLocalhost(const std::string& host) {
  const std::string lower = absl::AsciiStrToLower(host);
  return lower == "localhost" || absl::EndsWith(lower, ".localhost");
}

absl::Status CheckHost(const std::string& url, const std::string& host) {
  constexpr char kPrivate[] =
      "found a host in a private or local network, which this coordinator does not allow";
  if (IsLocalhost(host)) return Refuse(url, kPrivate);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(fmt::format("{}: cannot find the host {}: {}", Quoted(url),
                                              Quoted(host), gai_strerror(error)));
  }
  bool bad = false;
  for (addrinfo* a = found; a != nullptr; a = a->ai_next) bad = bad || IsPrivate(a->ai_addr);
  freeaddrinfo(found);
  return bad ? Refuse(url, kPrivate) : absl::OkStatus();
}

// "user@host:port/path" -> user part and host; false if there is no sound host.
bool SplitAuthority(std::string_view rest, std::string* user, std::string* host) {
  std::string_view authority = rest.substr(0, rest.find('/'));
  size_t at = authority.rfind('@');
  if (at != authority.npos) {
    *user = authority.substr(0, at);
    authority.remove_prefix(at + 1);
  }
  if (authority.starts_with('[')) {  // an IPv6 address
    *host = authority.substr(1, authority.find(']') - 1);
  } else {
    *host = authority.substr(0, authority.find(':'));
  }
  return !host->empty() && (*host)[0] != '-' && (user->empty() || (*user)[0] != '-') &&
         host->find_first_of("\\%?#") == host->npos;
}

absl::StatusOr<GitUrl> Remote(GitUrl::Kind kind, const std::string& url, std::string_view rest,
                              const GitOptions& options) {
  GitUrl parsed{kind, url, {}};
  std::string user;
  if (!SplitAuthority(rest, &user, &parsed.host)) return Refuse(url, "found no host in it");
  if (user.find(':') != std::string::npos || (kind == GitUrl::Kind::kHttps && !user.empty())) {
    // Not repeated in the message: it would end up in logs.
    return absl::InvalidArgumentError(fmt::format(
        "{}: found a user name or password in the URL, expected none", Quoted(parsed.host)));
  }
  if (!options.allow_private_addresses) {
    absl::Status status = CheckHost(url, parsed.host);
    if (!status.ok()) return status;
  }
  return parsed;
}

}  // namespace

bool IsPrivateAddress(const sockaddr* address) { return IsPrivate(address); }

absl::StatusOr<GitUrl> ParseGitUrl(const std::string& url, const GitOptions& options) {
  if (url.empty() || url.size() > 2'048) return Refuse(url, kExpected);
  bool control = std::any_of(url.begin(), url.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  });
  if (control) return Refuse(url, "found control characters in it, expected none");
  if (url[0] == '-') return Refuse(url, std::string("found a leading dash, ") + kExpected);
  std::string_view rest = url;
  auto scheme = [&](std::string_view prefix) {
    if (!rest.starts_with(prefix)) return false;
    rest.remove_prefix(prefix.size());
    return true;
  };
  if (scheme("https://")) return Remote(GitUrl::Kind::kHttps, url, rest, options);
  if (scheme("ssh://")) return Remote(GitUrl::Kind::kSsh, url, rest, options);
  bool file = scheme("file://");
  if (!file && url.find("::") != url.npos) return Refuse(url, kExpected);
  if (!file && url.find("://") != url.npos) return Refuse(url, kExpected);
  size_t colon = url.find(':');
  if (!file && colon != url.npos && url.find('/') > colon) {  // host:path, as ssh writes it
    return Remote(GitUrl::Kind::kSsh, url, url.substr(0, colon), options);
  }
  if (!options.allow_local) {
    return Refuse(url, "found a local path, which this coordinator does not allow");
  }
  if (rest.empty() || rest[0] != '/') {
    return Refuse(url, "found a relative path, expected an absolute one");
  }
  return GitUrl{GitUrl::Kind::kLocal, std::string(rest), {}};
}

}  // namespace trainyard::coordinator
