// Addresses that are not on the public Internet: a stranger's URL must not make us talk to them.
#pragma once

#include <sys/socket.h>

namespace trainyard::coordinator {

// Loopback, link-local, private, reserved; also what is neither IPv4 nor IPv6.
bool IsPrivateAddress(const sockaddr* address);

}  // namespace trainyard::coordinator
