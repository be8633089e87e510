// Addresses as they stand in flags and files: host:port, [IPv6]:port, unix:path.
#pragma once

#include <string>

namespace trainyard::coordinator {

// Whether only this machine can reach it: 127.x.x.x, localhost, ::1 or a Unix socket.
bool IsLoopback(const std::string& address);

// "host" of "host:port", without brackets.
std::string HostOf(const std::string& address);

}  // namespace trainyard::coordinator
