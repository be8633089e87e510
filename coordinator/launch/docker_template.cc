#include "coordinator/launch/docker_template.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "coordinator/launch/docker_answers.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;

constexpr int kUser = 10001;  // `trainyard` in our images
constexpr int64_t kPidsMax = 4096;
constexpr int64_t kSharedMemory = int64_t{1} << 30;

json Volume(const char* target) { return {{"Type", "volume"}, {"Target", target}}; }

constexpr char kCache[] = "/var/cache/trainyard";
constexpr char kWork[] = "/var/lib/trainyard";

bool ForProgram(const ContainerPlan& plan) { return IsProgram(plan.order.runtime); }

// Whether what the worker writes is kept in memory.
bool WorksInMemory(const ContainerPlan& plan) {
  return ForProgram(plan) && plan.programs.work_size_bytes > 0;
}

json Mounts(const ContainerPlan& plan) {
  json mounts = json::array({Volume(kAccessVolume)});
  if (!WorksInMemory(plan)) {
    json cache = Volume(kCache);
    // One per host, shared by its workers. What a program may write to, no other job may read: its
    // cache goes with its container.
    if (!ForProgram(plan)) cache["Source"] = "trainyard-cache";
    mounts.push_back(cache);
    mounts.push_back(Volume(kWork));
  }
  for (const std::string& folder : plan.mounts) {
    mounts.push_back(
        {{"Type", "bind"}, {"Source", folder}, {"Target", folder}, {"ReadOnly", true}});
  }
  return mounts;
}

json Tmpfs(const ContainerPlan& plan) {
  json tmpfs = {{"/tmp", "rw,noexec,nosuid,nodev,size=1g,mode=1777"}};
  if (WorksInMemory(plan)) {
    // Programs run what they unpack or compile there.
    const std::string options =
        absl::StrCat("rw,exec,nosuid,nodev,size=", plan.programs.work_size_bytes,
                     ",mode=0700,uid=", kUser, ",gid=", kUser);
    tmpfs[kCache] = options;
    tmpfs[kWork] = options;
  }
  return tmpfs;
}

json HostConfig(const ContainerPlan& plan) {
  const DockerHost& host = plan.host;
  const ProgramContainers programs = ForProgram(plan) ? plan.programs : ProgramContainers();
  json config = {
      {"CapDrop", json::array({"ALL"})},
      {"SecurityOpt", json::array({"no-new-privileges"})},
      {"Privileged", false},
      {"ReadonlyRootfs", true},
      {"Init", true},  // forwards SIGTERM, which PID 1 would ignore
      {"PidsLimit", programs.processes > 0 ? programs.processes : kPidsMax},
      {"NetworkMode", programs.network.empty() ? "bridge" : programs.network},
      {"IpcMode", "private"},
      {"ExtraHosts", json::array({absl::StrCat("host.docker.internal:", plan.host_address)})},
      {"Mounts", Mounts(plan)},
      {"Tmpfs", Tmpfs(plan)},
      {"ShmSize", kSharedMemory},
      // A core file would hold the access files' content.
      {"Ulimits", json::array({{{"Name", "core"}, {"Soft", 0}, {"Hard", 0}}})},
      {"RestartPolicy", {{"Name", "no"}}},  // who starts again is the coordinator's to decide
      {"LogConfig", {{"Type", "json-file"}, {"Config", {{"max-size", "32m"}, {"max-file", "4"}}}}},
  };
  if (host.memory_bytes > 0) {
    config["Memory"] = host.memory_bytes;
    config["MemorySwap"] = host.memory_bytes;  // both together: no swap
  }
  if (host.cores > 0) config["NanoCpus"] = std::llround(host.cores * 1e9);
  if (const size_t slot = plan.order.slot; slot < host.gpus.size()) {
    config["DeviceRequests"] = json::array(
        {{{"Driver", ""},
          {"DeviceIDs", json::array({host.gpus[slot]})},
          {"Capabilities", json::array({json::array({"gpu", "compute", "utility"})})}}});
  }
  return config;
}

struct CloseWrite {
  void operator()(archive* tar) const { archive_write_free(tar); }
};

la_ssize_t Append(archive*, void* user, const void* data, size_t size) {
  static_cast<std::string*>(user)->append(static_cast<const char*>(data), size);
  return static_cast<la_ssize_t>(size);
}

bool AddEntry(archive* tar, const std::string& path, mode_t type, mode_t mode,
              const std::string& content) {
  const std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry(archive_entry_new(),
                                                                            archive_entry_free);
  archive_entry_set_pathname(entry.get(), path.c_str());
  archive_entry_set_filetype(entry.get(), type);
  archive_entry_set_perm(entry.get(), mode);
  archive_entry_set_uid(entry.get(), kUser);
  archive_entry_set_gid(entry.get(), kUser);
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
  return archive_write_header(tar, entry.get()) == ARCHIVE_OK &&
         archive_write_data(tar, content.data(), content.size()) ==
             static_cast<la_ssize_t>(content.size());
}

}  // namespace

std::string ContainerName(const std::string& coordinator_id, int64_t launch) {
  return absl::StrCat("trainyard-", coordinator_id.substr(0, 12), "-", launch);
}

std::string ContainerRequest(const ContainerPlan& plan) {
  json command = json::array({"--pool", plan.pool});
  if (const double cores = plan.host.cores; cores > 0) {
    command.push_back("--threads");
    command.push_back(std::to_string(std::max(1, static_cast<int>(cores))));
  }
  if (plan.private_urls) command.push_back("--private-urls");
  const std::string launch = std::to_string(plan.order.launch);
  json environment = json::array({absl::StrCat("TRAINYARD_LAUNCH=", launch),
                                  absl::StrCat("TRAINYARD_COORDINATOR=", plan.coordinator)});
  // Where NVIDIA's runtime is the default one, an image that asks for all GPUs would be given them.
  if (plan.order.slot >= static_cast<int>(plan.host.gpus.size())) {
    environment.push_back("NVIDIA_VISIBLE_DEVICES=void");
  }
  if (plan.access) environment.push_back(absl::StrCat("TRAINYARD_ACCESS=", kAccessFolder));
  const json request = {
      {"Image", plan.image},
      {"User", absl::StrCat(kUser, ":", kUser)},
      {"Cmd", command},
      {"Env", environment},
      {"Labels",
       {{kCoordinatorLabel, plan.coordinator_id}, {kPoolLabel, plan.pool}, {kLaunchLabel, launch}}},
      {"StopSignal", "SIGTERM"},
      {"Healthcheck", {{"Test", json::array({"NONE"})}}},
      {"HostConfig", HostConfig(plan)},
  };
  return request.dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<std::string> AccessArchive(const AccessFiles& files) {
  std::string bytes;
  const std::unique_ptr<archive, CloseWrite> tar(archive_write_new());
  archive_write_set_format_ustar(tar.get());
  bool good = archive_write_open(tar.get(), &bytes, nullptr, Append, nullptr) == ARCHIVE_OK &&
              AddEntry(tar.get(), "access", AE_IFDIR, 0500, "");
  for (const auto& [name, content] : files) {
    if (name.empty() || name.find('/') != std::string::npos) {
      return absl::InternalError(absl::StrCat("access file '", name, "': expected a plain name"));
    }
    good = good && AddEntry(tar.get(), absl::StrCat("access/", name), AE_IFREG, 0400, content);
  }
  if (!good || archive_write_close(tar.get()) != ARCHIVE_OK) {
    return absl::InternalError(
        absl::StrCat("cannot pack the access files: ", archive_error_string(tar.get())));
  }
  return bytes;
}

}  // namespace trainyard::coordinator
