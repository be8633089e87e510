#include "coordinator/dialing.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/address.h"

namespace trainyard::coordinator {
namespace {

std::string PortOf(const std::string& address) { return address.substr(address.rfind(':')); }

bool Everywhere(const std::string& host) { return host == "0.0.0.0" || host == "::"; }

// Containers on this very machine reach it by the name that Docker gives to their host.
bool OnThisMachine(const PoolConfig& pool) {
  const auto* docker = std::get_if<DockerPool>(&pool.kind);
  return docker != nullptr && std::ranges::all_of(docker->hosts, [](const DockerHost& host) {
           constexpr std::string_view kTcp = "tcp://";
           return !host.url.starts_with(kTcp) || IsLoopback(host.url.substr(kTcp.size()));
         });
}

std::string OwnName() {
  char name[256] = "localhost";
  gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace

Dialled ForThisMachine(const std::vector<Listener>& listeners) {
  auto chosen = std::ranges::find(listeners, false, &Listener::tls);
  if (chosen == listeners.end()) chosen = listeners.begin();
  const std::string host = HostOf(chosen->address);
  if (host == "0.0.0.0") return {absl::StrCat("127.0.0.1", PortOf(chosen->address)), chosen->tls};
  if (host == "::") return {absl::StrCat("[::1]", PortOf(chosen->address)), chosen->tls};
  return {chosen->address, chosen->tls};
}

absl::StatusOr<Dialled> ForPool(const PoolConfig& pool, const std::vector<Listener>& listeners) {
  const auto beyond = std::ranges::find_if(
      listeners, [](const Listener& listener) { return !IsLoopback(listener.address); });
  if (!pool.coordinator.empty()) {
    // Known by its port; one that is forwarded from elsewhere leads to what is beyond this machine.
    const auto same = std::ranges::find_if(listeners, [&](const Listener& listener) {
      return PortOf(listener.address) == PortOf(pool.coordinator);
    });
    const auto& listener = same != listeners.end()     ? *same
                           : beyond != listeners.end() ? *beyond
                                                       : listeners.front();
    return Dialled{pool.coordinator, listener.tls};
  }
  if (beyond == listeners.end()) {
    const auto address = [](std::string* out, const Listener& one) { *out += one.address; };
    return absl::InvalidArgumentError(absl::StrCat(
        "--pools: workers of pool ", pool.name,
        " could not reach the coordinator, which listens on ",
        absl::StrJoin(listeners, " and ", address),
        " only; add --listen 0.0.0.0:7701, or name an address as the pool's `coordinator`"));
  }
  const std::string host = HostOf(beyond->address);
  if (!Everywhere(host)) return Dialled{beyond->address, beyond->tls};
  const std::string name = OnThisMachine(pool) ? "host.docker.internal" : OwnName();
  return Dialled{absl::StrCat(name, PortOf(beyond->address)), beyond->tls};
}

}  // namespace trainyard::coordinator
