#include "coordinator/launch/pools.h"

#include "proto/runtimes.h"

namespace trainyard::coordinator {
namespace {

core::PoolSettings SettingsOf(const DockerPool& docker, const core::Labels& labels) {
  core::PoolSettings settings{.kind = "docker", .one_attempt = true};
  core::Abilities can{.labels = labels, .runtimes = {}};
  for (const auto& [runtime, image] : docker.images) can.runtimes.insert(runtime);
  for (const DockerHost& host : docker.hosts) {
    std::vector<core::Abilities>& slots = settings.hosts[host.name];
    slots.assign(static_cast<size_t>(host.slots()), can);
    for (size_t i = 0; i < host.gpus.size(); ++i) {
      slots[i].gpu = true;
      slots[i].gpu_memory_bytes = host.gpu_memory_bytes;
    }
  }
  return settings;
}

core::PoolSettings SettingsOf(const SlurmPool& slurm, const core::Labels& labels) {
  core::PoolSettings settings{.kind = "slurm", .one_attempt = true, .queues = true};
  core::Abilities can{
      .gpu = slurm.gpu(), .gpu_memory_bytes = slurm.gpu_memory_bytes, .labels = labels};
  if (slurm.programs) can.runtimes.insert(ProgramRuntimes().begin(), ProgramRuntimes().end());
  settings.hosts[""].assign(static_cast<size_t>(slurm.workers), can);
  return settings;
}

}  // namespace

const std::set<std::string>& ProgramRuntimes() {
  static const auto* runtimes = [] {
    auto* all = new std::set<std::string>;
    for (const char* framework : kFrameworks) all->insert(ProgramRuntime(framework));
    return all;
  }();
  return *runtimes;
}

core::PoolSettings ToSettings(const PoolConfig& config) {
  core::PoolSettings settings =
      std::visit([&](const auto& kind) { return SettingsOf(kind, config.labels); }, config.kind);
  for (auto& [host, slots] : settings.hosts) {
    for (core::Abilities& can : slots) {
      can.data_roots = {config.data_roots.begin(), config.data_roots.end()};
    }
  }
  return settings;
}

}  // namespace trainyard::coordinator
