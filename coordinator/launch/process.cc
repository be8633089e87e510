#include "coordinator/launch/process.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/access/private_files.h"
#include "coordinator/launch/launch_slot.h"
#include "coordinator/launch/spawn.h"
#include "proto/signal_name.h"

namespace trainyard::coordinator {
namespace {

constexpr auto kSampleEvery = std::chrono::seconds(1);

// glibc 2.36 declares these without C linkage.
int PidfdOpen(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }
int PidfdSend(int pidfd, int signal) {
  return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

bool StartsWith(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// Its token died with the launch, so that one left behind by a crash does no harm.
void RemoveAccess(const std::string& folder) {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

}  // namespace

std::vector<std::string> WorkerEnvironment(const char* const* environment) {
  static constexpr std::string_view kKept[] = {
      "PATH=",   "LD_LIBRARY_PATH=", "HOME=", "XDG_CACHE_HOME=", "USER=", "LOGNAME=",
      "TMPDIR=", "SSL_CERT_FILE=",   "OMP_",  "TRAINYARD_SIMD=", "CUDA_", "TRAINYARD_DECODED_",
      "TZ=",     "ASAN_OPTIONS=",    "LANG=", "UBSAN_OPTIONS=",  "GOMP_", "LSAN_OPTIONS=",
      "LC_",
  };
  std::vector<std::string> kept;
  for (; *environment != nullptr; ++environment) {
    const std::string_view variable = *environment;
    for (const std::string_view start : kKept) {
      if (StartsWith(variable, start)) {
        kept.emplace_back(variable);
        break;
      }
    }
  }
  return kept;
}

void ShowGpu(const std::vector<std::string>& gpus, int slot,
             std::vector<std::string>* environment) {
  if (gpus.empty()) return;
  static constexpr char kVisible[] = "CUDA_VISIBLE_DEVICES=";
  std::erase_if(*environment, [](const std::string& one) { return StartsWith(one, kVisible); });
  const bool has = slot >= 0 && slot < static_cast<int>(gpus.size());
  environment->push_back(absl::StrCat(kVisible, has ? gpus[static_cast<size_t>(slot)] : ""));
}

absl::StatusOr<std::unique_ptr<ProcessLauncher>> ProcessLauncher::Open(ProcessPoolOptions options,
                                                                       LaunchListener listener) {
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("cannot make the folder ", options.folder, ": ", error.message()));
  }
  options.folder = std::filesystem::absolute(options.folder);
  if (!options.worker_binary.empty()) {  // as where only old workers are looked after
    options.worker_binary = std::filesystem::absolute(options.worker_binary);
  }
  auto launcher = std::unique_ptr<ProcessLauncher>(
      new ProcessLauncher(std::move(options), std::move(listener)));
  launcher->wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (launcher->wake_fd_ < 0) {
    return absl::UnavailableError(absl::StrCat("cannot make an eventfd: ", strerror(errno)));
  }
  launcher->thread_ = std::thread([pool = launcher.get()] { pool->Run(); });
  return launcher;
}

ProcessLauncher::ProcessLauncher(ProcessPoolOptions options, LaunchListener listener)
    : options_(std::move(options)),
      listener_(std::move(listener)),
      coordinator_(options_.coordinator) {}

void ProcessLauncher::SetCoordinator(std::string address) {
  std::lock_guard lock(mutex_);
  coordinator_ = std::move(address);
}

ProcessLauncher::~ProcessLauncher() {
  if (thread_.joinable()) {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    WakeUp();
    thread_.join();
  }
  for (auto& [launch, watched] : watched_) close(watched.pidfd);
  if (wake_fd_ >= 0) close(wake_fd_);
}

absl::StatusOr<LaunchHandle> ProcessLauncher::Launch(const LaunchOrder& order) {
  const int64_t launch = order.launch;
  std::lock_guard lock(mutex_);
  if (const auto known = watched_.find(launch); known != watched_.end()) {
    return ToHandle(known->second.process);
  }
  auto slot = LaunchSlot::Take(SlotPath(launch));
  if (!slot.ok()) return slot.status();
  ProcessIdentity process;
  if (slot->running()) {
    process = *slot->running();
  } else if (const absl::Status status = StartLocked(order, slot->fd(), &process); !status.ok()) {
    RemoveAccess(AccessPath(launch));
    return status;
  }
  if (const absl::Status status = WatchLocked(launch, process); !status.ok()) return status;
  return ToHandle(process);
}

absl::Status ProcessLauncher::StartLocked(const LaunchOrder& order, int slot_fd,
                                          ProcessIdentity* process) {
  const int64_t launch = order.launch;
  SpawnRequest request{options_.worker_binary, options_.arguments, WorkerEnvironment(environ),
                       options_.folder,        LogPath(launch),    slot_fd};
  ShowGpu(options_.gpus, order.slot, &request.environment);
  request.environment.push_back(absl::StrCat("TRAINYARD_LAUNCH=", launch));
  request.environment.push_back(absl::StrCat("TRAINYARD_COORDINATOR=", coordinator_));
  if (options_.issue_access) {
    const auto files = options_.issue_access(launch);
    if (!files.ok()) return files.status();
    if (!files->empty()) {
      const std::string folder = AccessPath(launch);
      if (auto status = WriteAccessFolder(folder, *files); !status.ok()) return status;
      request.environment.push_back(absl::StrCat("TRAINYARD_ACCESS=", folder));
    }
  }
  memory_kills_.Sample();
  auto spawned = Spawn(request);
  if (!spawned.ok()) return spawned.status();
  *process = *spawned;
  return absl::OkStatus();
}

absl::Status ProcessLauncher::Adopt(const LaunchOrder& order, const LaunchHandle& handle) {
  const int64_t launch = order.launch;
  std::lock_guard lock(mutex_);
  if (watched_.contains(launch)) return absl::OkStatus();
  auto process = ParseHandle(handle);
  // The record of the launch may be older than its last start, and the slot never is.
  if (!process || !StillRuns(*process)) process = ReadSlot(SlotPath(launch));
  if (!process || !StillRuns(*process)) {
    RemoveAccess(AccessPath(launch));
    return absl::NotFoundError(
        absl::StrCat("worker process of launch ", launch, " (", handle, ") no longer runs"));
  }
  return WatchLocked(launch, *process);
}

absl::Status ProcessLauncher::WatchLocked(int64_t launch, const ProcessIdentity& process) {
  const int pidfd = PidfdOpen(process.pid);
  if (pidfd < 0 && errno != ESRCH) {
    return absl::UnavailableError(
        absl::StrCat("cannot watch process ", process.pid, ": ", strerror(errno)));
  }
  // Asked after the pidfd is open: the pid cannot have changed hands in between unnoticed. A child
  // of ours that has ended already is a zombie still, and its exit is yet to be told.
  const auto now = IdentityOf(process.pid);
  if (pidfd < 0 || (now && *now != process)) {
    if (pidfd >= 0) close(pidfd);
    return absl::NotFoundError(absl::StrCat("worker process ", process.pid, " no longer runs"));
  }
  watched_[launch] = Watched{process, pidfd, std::nullopt, ""};
  WakeUp();
  return absl::OkStatus();
}

void ProcessLauncher::Stop(int64_t launch, int64_t grace_ms) {
  std::lock_guard lock(mutex_);
  const auto found = watched_.find(launch);
  if (found == watched_.end()) return;
  Watched& watched = found->second;
  const auto kill_at = Clock::now() + std::chrono::milliseconds(std::max<int64_t>(grace_ms, 0));
  if (!watched.kill_at) PidfdSend(watched.pidfd, SIGTERM);
  watched.kill_at = watched.kill_at ? std::min(*watched.kill_at, kill_at) : kill_at;
  WakeUp();
}

void ProcessLauncher::Kill(int64_t launch) {
  std::lock_guard lock(mutex_);
  const auto found = watched_.find(launch);
  if (found != watched_.end()) KillLocked(found->second, "killed by the coordinator");
}

void ProcessLauncher::KillLocked(Watched& watched, std::string why) {
  PidfdSend(watched.pidfd, SIGKILL);
  if (watched.killed_by_us.empty()) watched.killed_by_us = std::move(why);
  watched.kill_at.reset();
}

std::string ProcessLauncher::LogPath(int64_t launch) const {
  return absl::StrCat(options_.folder, "/worker-", launch, ".log");
}

std::string ProcessLauncher::SlotPath(int64_t launch) const {
  return absl::StrCat(options_.folder, "/worker-", launch, ".pid");
}

std::string ProcessLauncher::AccessPath(int64_t launch) const {
  return absl::StrCat(options_.folder, "/worker-", launch, ".access");
}

void ProcessLauncher::WakeUp() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
}

void ProcessLauncher::Run() {
  while (true) {
    std::vector<pollfd> fds{{wake_fd_, POLLIN, 0}};
    std::vector<int64_t> launches;
    auto timeout = std::chrono::milliseconds(-1);  // for ever, while there is nobody to watch
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      const auto now = Clock::now();
      for (auto& [launch, watched] : watched_) {
        if (watched.kill_at && *watched.kill_at <= now) {
          KillLocked(watched, "killed: it had not stopped within its grace time");
        }
        auto wait = std::chrono::milliseconds(kSampleEvery);
        if (watched.kill_at) {
          wait =
              std::min(wait, std::chrono::ceil<std::chrono::milliseconds>(*watched.kill_at - now));
        }
        timeout = timeout.count() < 0 ? wait : std::min(timeout, wait);
        fds.push_back({watched.pidfd, POLLIN, 0});
        launches.push_back(launch);
      }
    }
    const int count = poll(fds.data(), fds.size(), static_cast<int>(timeout.count()));
    if (fds[0].revents != 0) {
      uint64_t wakes;
      [[maybe_unused]] const ssize_t size = read(wake_fd_, &wakes, sizeof(wakes));
    }
    std::vector<int64_t> ready;
    for (size_t i = 1; count > 0 && i < fds.size(); ++i) {
      if (fds[i].revents != 0) ready.push_back(launches[i - 1]);
    }
    for (const WorkerExit& exit : CollectExits(ready)) listener_.on_exit(exit);
  }
}

std::vector<WorkerExit> ProcessLauncher::CollectExits(const std::vector<int64_t>& ready) {
  std::lock_guard lock(mutex_);
  std::vector<WorkerExit> exits;
  for (const int64_t launch : ready) {
    const auto found = watched_.find(launch);
    if (found == watched_.end()) continue;
    exits.push_back(Examine(launch, found->second));
    RemoveAccess(AccessPath(launch));
    close(found->second.pidfd);
    watched_.erase(found);
  }
  memory_kills_.Sample();
  return exits;
}

WorkerExit ProcessLauncher::Examine(int64_t launch, const Watched& watched) const {
  WorkerExit exit;
  exit.launch = launch;
  siginfo_t info = {};
  int result;
  do {
    result = waitid(P_PIDFD, static_cast<id_t>(watched.pidfd), &info, WEXITED);
  } while (result != 0 && errno == EINTR);
  if (result != 0) {  // ECHILD: an earlier coordinator's child
    exit.unknown = true;
    exit.cause = watched.killed_by_us.empty()
                     ? "gone, how is not known: another coordinator had started it"
                     : watched.killed_by_us;
    return exit;
  }
  if (info.si_code == CLD_EXITED) {
    exit.exit_code = info.si_status;
    exit.cause = absl::StrCat("exit code ", info.si_status);
    return exit;
  }
  exit.signal = info.si_status;
  if (!watched.killed_by_us.empty()) {
    exit.cause = watched.killed_by_us;
  } else if (exit.signal == SIGKILL && memory_kills_.GrewLately()) {
    exit.out_of_memory = true;
    exit.cause = "out of memory: killed by the kernel";
  } else {
    exit.cause = absl::StrCat("killed by ", SignalName(exit.signal));
  }
  return exit;
}

}  // namespace trainyard::coordinator
