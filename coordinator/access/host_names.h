// Host names and addresses, as they stand in certificates.
#pragma once

#include <string>
#include <vector>

namespace trainyard::coordinator {

enum class HostKind { kName, kAddress, kNeither };

// A host name (letters, digits, hyphens and dots), an IPv4 or IPv6 address, or neither.
HostKind KindOfHost(const std::string& text);

// What this machine is called: localhost, its host name, the names under which containers reach it,
// and the addresses of its interfaces.
std::vector<std::string> OwnNames();

}  // namespace trainyard::coordinator
