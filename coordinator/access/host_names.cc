#include "coordinator/access/host_names.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

namespace trainyard::coordinator {
namespace {

constexpr size_t kNameMax = 253;

// Of one interface, as text; empty for what no certificate can hold or nobody can dial.
std::string AddressOf(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address == nullptr) return "";
  if (address->sa_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  } else if (address->sa_family == AF_INET6) {
    const in6_addr& ipv6 = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&ipv6)) return "";
    inet_ntop(AF_INET6, &ipv6, text, sizeof text);
  }
  return text;
}

}  // namespace

HostKind KindOfHost(const std::string& text) {
  in6_addr address;
  if (inet_pton(AF_INET, text.c_str(), &address) == 1 ||
      inet_pton(AF_INET6, text.c_str(), &address) == 1) {
    return HostKind::kAddress;
  }
  const bool letters = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '.' || c == '_';
  });
  const bool has_letter =
      std::any_of(text.begin(), text.end(), [](unsigned char c) { return std::isalpha(c); });
  const bool good = letters && has_letter && text.size() <= kNameMax && text.front() != '.' &&
                    text.front() != '-' && text.find("..") == std::string::npos;
  return good ? HostKind::kName : HostKind::kNeither;
}

std::vector<std::string> OwnNames() {
  std::vector<std::string> names = {"localhost", "host.docker.internal", "trainyard-coordinator",
                                    "127.0.0.1", "::1"};
  const auto add = [&](const std::string& name) {
    if (KindOfHost(name) != HostKind::kNeither && std::ranges::find(names, name) == names.end()) {
      names.push_back(name);
    }
  };
  char host[256] = "";
  if (gethostname(host, sizeof host - 1) == 0) add(host);
  ifaddrs* interfaces = nullptr;
  if (getifaddrs(&interfaces) == 0) {
    for (const ifaddrs* at = interfaces; at != nullptr; at = at->ifa_next) {
      add(AddressOf(at->ifa_addr));
    }
    freeifaddrs(interfaces);
  }
  return names;
}

}  // namespace trainyard::coordinator
