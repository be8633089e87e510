#include "worker/program/process.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace trainyard::program {
namespace {

constexpr int kReport = 3;  // in the child, until it execs

// Between fork and exec, with nothing but system calls: this process has threads.
struct Prepared {
  std::vector<char*> argv, envp;
  const char* folder;
  int output;
  int report;
};

// So that a program that runs as root may do no more than anybody, and cannot look into this
// process. Each step fails where there is nothing to give up.
void GiveUpRights() {
  prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED);
  for (int capability = 0; capability <= 63; ++capability) {
    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  syscall(SYS_capset, &header, none);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

[[noreturn]] void Become(const Prepared& prepared, bool keep_rights) {
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
  // Out of the way of 0 to 3 first.
  const int output = fcntl(prepared.output, F_DUPFD_CLOEXEC, 10);
  const int report = fcntl(prepared.report, F_DUPFD_CLOEXEC, 10);
  dup2(input, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  dup3(report, kReport, O_CLOEXEC);
  syscall(SYS_close_range, kReport + 1, ~0U, 0);
  if (!keep_rights) GiveUpRights();
  if (chdir(prepared.folder) == 0)
    execve(prepared.argv[0], prepared.argv.data(), prepared.envp.data());
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(kReport, &error, sizeof error);
  _exit(127);
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

struct Pipe {
  int read = -1, write = -1;
  bool Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    read = ends[0], write = ends[1];
    return true;
  }
  static void Close(int& end) {
    if (end >= 0) close(end);
    end = -1;
  }
  ~Pipe() {
    Close(read);
    Close(write);
  }
};

struct Relative {
  pid_t parent = 0;
  bool dead = false;  // waits to be reaped
};

std::map<pid_t, Relative> AllProcesses() {
  std::map<pid_t, Relative> processes;
  std::error_code error;
  for (auto at = std::filesystem::directory_iterator("/proc", error);
       at != std::filesystem::directory_iterator(); at.increment(error)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(at->path().filename().string(), &pid)) continue;
    std::ifstream file(at->path() / "stat");
    const std::string stat(std::istreambuf_iterator<char>(file), {});
    const size_t name_end = stat.rfind(") ");  // a name may hold anything
    if (name_end == std::string::npos) continue;
    const std::vector<std::string> fields = absl::StrSplit(stat.substr(name_end + 2), ' ');
    Relative relative;
    if (fields.size() < 2 || !absl::SimpleAtoi(fields[1], &relative.parent)) continue;
    relative.dead = fields[0] == "Z" || fields[0] == "X";
    processes[pid] = relative;
  }
  return processes;
}

bool Descends(const std::map<pid_t, Relative>& processes, pid_t pid, pid_t from) {
  for (int depth = 0; depth < 10'000; ++depth) {
    const auto found = processes.find(pid);
    if (found == processes.end()) return false;
    if (found->second.parent == from) return true;
    pid = found->second.parent;
  }
  return false;
}

}  // namespace

absl::StatusOr<std::string> FindProgram(const std::string& name, const std::string& path,
                                        const std::string& folder) {
  std::vector<std::string> candidates;
  if (name.find('/') != std::string::npos) {
    candidates.push_back(name[0] == '/' ? name : absl::StrCat(folder, "/", name));
  } else {
    for (const absl::string_view part : absl::StrSplit(path, ':', absl::SkipEmpty())) {
      candidates.push_back(absl::StrCat(part, "/", name));
    }
  }
  bool there = false;
  for (const std::string& candidate : candidates) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(candidate, error)) continue;
    there = true;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  if (there) {
    return absl::FailedPreconditionError(
        absl::StrCat("\"", name, "\" may not be executed: chmod +x it, or name its interpreter"));
  }
  return absl::NotFoundError(
      absl::StrCat("\"", name, "\" was not found ",
                   candidates.size() == 1 && name.find('/') != std::string::npos ? "in the source"
                                                                                 : "on the PATH"));
}

absl::Status AdoptOrphans() {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("cannot become a subreaper: ", strerror(errno)));
}

absl::StatusOr<Process> Process::Start(const Command& command) {
  const auto failed = [&](int error) {
    return absl::FailedPreconditionError(
        absl::StrCat(command.argv[0], " cannot be started: ", strerror(error)));
  };
  Pipe output, report;
  if (!output.Open() || !report.Open()) return failed(errno);
  const Prepared prepared{Pointers(command.argv), Pointers(command.environment),
                          command.folder.c_str(), output.write, report.write};
  const pid_t pid = fork();
  if (pid < 0) return failed(errno);
  if (pid == 0) Become(prepared, command.keep_rights);
  const int handle = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  Process process(pid, handle, std::exchange(output.read, -1));
  Pipe::Close(report.write);
  int error = 0;
  ssize_t size;
  do {
    size = read(report.read, &error, sizeof error);
  } while (size < 0 && errno == EINTR);
  if (size == sizeof error) return failed(error);
  if (handle < 0) return failed(ENOSYS);
  return process;
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      handle_(std::exchange(other.handle_, -1)),
      output_(std::exchange(other.output_, -1)),
      exit_(other.exit_) {}

Process::~Process() {
  if (pid_ > 0) KillAll();
  if (handle_ >= 0) close(handle_);
  if (output_ >= 0) close(output_);
}

int Process::TakeOutput() { return std::exchange(output_, -1); }

std::optional<Exit> Process::Wait(std::chrono::milliseconds patience) {
  if (exit_) return exit_;
  pollfd ended{handle_, POLLIN, 0};
  if (poll(&ended, 1, static_cast<int>(patience.count())) <= 0) return std::nullopt;
  siginfo_t info{};
  if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) {
    return std::nullopt;
  }
  exit_ =
      info.si_code == CLD_EXITED ? Exit{.code = info.si_status} : Exit{.signal = info.si_status};
  return exit_;
}

void Process::Terminate(bool sandboxed) {
  if (exit_) return;
  if (!sandboxed) {
    kill(-pid_, SIGTERM);
    return;
  }
  // The sandbox's own first process leads the group that the program is in, and takes no signals.
  for (const auto& [pid, relative] : AllProcesses()) {
    if (relative.parent == pid_ && !relative.dead) kill(-pid, SIGTERM);
  }
}

void Process::KillAll() {
  const pid_t self = getpid();
  for (;;) {
    const std::map<pid_t, Relative> processes = AllProcesses();
    bool any = false;
    // Stopped before any of them dies, so that none makes another one meanwhile.
    for (const int signal : {SIGSTOP, SIGKILL}) {
      for (const auto& [pid, relative] : processes) {
        if (!Descends(processes, pid, self)) continue;
        any = true;
        if (!relative.dead) {
          kill(pid, signal);
        } else if (relative.parent == self && pid != pid_) {
          waitpid(pid, nullptr, WNOHANG);
        }
      }
    }
    const bool waited = Wait(std::chrono::milliseconds(0)).has_value();
    if (!any && waited) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace trainyard::program
