#include "coordinator/launch/docker.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {

absl::StatusOr<std::unique_ptr<DockerLauncher>> DockerLauncher::Open(DockerPoolOptions options,
                                                                     LaunchListener listener) {
  const std::string& id = options.coordinator_id;
  if (id.empty() ||
      !std::all_of(id.begin(), id.end(), [](unsigned char c) { return std::isalnum(c) != 0; })) {
    return absl::InvalidArgumentError(absl::StrCat("pool ", options.name, ": coordinator id '", id,
                                                   "': expected letters and digits"));
  }
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("cannot make the folder ", options.folder, ": ", error.message()));
  }
  options.folder = std::filesystem::absolute(options.folder);
  std::unique_ptr<DockerLauncher> launcher(
      new DockerLauncher(std::move(options), std::move(listener)));
  for (const DockerHost& host : launcher->options_.pool.hosts) {
    auto workers = DockerWorkers::Open(launcher->options_, launcher->listener_, host);
    if (!workers.ok()) return workers.status();
    launcher->hosts_[host.name] = *std::move(workers);
  }
  return launcher;
}

DockerLauncher::DockerLauncher(DockerPoolOptions options, LaunchListener listener)
    : options_(std::move(options)),
      listener_(std::move(listener)),
      coordinator_(options_.coordinator) {}

void DockerLauncher::SetCoordinator(std::string address) {
  std::lock_guard lock(mutex_);
  coordinator_ = std::move(address);
}

absl::StatusOr<DockerWorkers*> DockerLauncher::HostOf(const LaunchOrder& order) const {
  if (order.host.empty() && hosts_.size() == 1) return hosts_.begin()->second.get();
  const auto found = hosts_.find(order.host);
  if (found != hosts_.end()) return found->second.get();
  return absl::NotFoundError(
      absl::StrCat("pool ", options_.name, " has no host '", order.host, "'"));
}

absl::StatusOr<LaunchHandle> DockerLauncher::Launch(const LaunchOrder& order) {
  const auto host = HostOf(order);
  if (!host.ok()) return host.status();
  std::string coordinator;
  {
    std::lock_guard lock(mutex_);
    coordinator = coordinator_;
  }
  return (*host)->Launch(order, coordinator);
}

absl::Status DockerLauncher::Adopt(const LaunchOrder& order, const LaunchHandle& handle) {
  const auto host = HostOf(order);
  if (!host.ok()) return host.status();
  return (*host)->Adopt(order.launch, handle);
}

void DockerLauncher::Stop(int64_t launch, int64_t grace_ms) {
  for (const auto& [name, host] : hosts_) {
    if (host->Stop(launch, grace_ms)) return;
  }
}

void DockerLauncher::Kill(int64_t launch) {
  for (const auto& [name, host] : hosts_) {
    if (host->Kill(launch)) return;
  }
}

void DockerLauncher::RemoveStrays() {
  for (const auto& [name, host] : hosts_) host->RemoveStrays();
}

std::string DockerLauncher::LogPath(int64_t launch) const {
  return WorkerLogPath(options_.folder, launch);
}

}  // namespace trainyard::coordinator
