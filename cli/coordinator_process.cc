#include "cli/coordinator_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/signals.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCoordinator = "trainyard-coordinator";
constexpr size_t kLogTailLines = 10;

bool IsProgram(const fs::path& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), X_OK) == 0;
}

absl::Status ErrnoError(const std::string& what) {
  return absl::InternalError(fmt::format("{}: {}", what, std::strerror(errno)));
}

// In the child, between fork and exec: only what a signal handler may do as well.
[[noreturn]] void BecomeCoordinator(char* const* argv, pid_t parent, int output, int log) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);  // it has ended already
  setpgid(0, 0);  // a terminal's Ctrl-C goes to our parent, and comes from there
  dup2(output, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  execv(argv[0], argv);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::string> FindCoordinator() {
  std::error_code error;
  const fs::path own = fs::read_symlink("/proc/self/exe", error);
  if (!error && IsProgram(own.parent_path() / kCoordinator))
    return (own.parent_path() / kCoordinator).string();
  const char* variable = std::getenv("PATH");
  std::stringstream folders(variable == nullptr ? "" : variable);
  std::string folder;
  while (std::getline(folders, folder, ':')) {
    if (!folder.empty() && IsProgram(fs::path(folder) / kCoordinator))
      return (fs::path(folder) / kCoordinator).string();
  }
  return absl::InternalError(
      fmt::format("{} is neither in {} nor in a folder of PATH; is it installed?", kCoordinator,
                  own.parent_path().string()));
}

absl::StatusOr<std::unique_ptr<CoordinatorProcess>> CoordinatorProcess::Start(
    const Options& options) {
  const auto program = FindCoordinator();
  if (!program.ok()) return program.status();
  std::error_code error;
  std::string folder = (fs::temp_directory_path(error) / "trainyard-XXXXXX").string();
  if (error || mkdtemp(folder.data()) == nullptr) return ErrnoError("a temporary folder");
  std::unique_ptr<CoordinatorProcess> coordinator(new CoordinatorProcess(folder));
  if (absl::Status status = coordinator->Spawn(*program, options); !status.ok()) return status;
  return coordinator;
}

absl::Status CoordinatorProcess::Spawn(const std::string& program, const Options& options) {
  state_dir_ =
      options.state_dir.empty() ? folder_ + "/state" : fs::absolute(options.state_dir).string();
  log_ = folder_ + "/coordinator.log";
  std::vector<std::string> arguments = {program,
                                        "--listen",
                                        address(),
                                        "--state-dir",
                                        state_dir_,
                                        "--threads-per-worker",
                                        std::to_string(options.threads)};
  for (const std::string& root : options.data_roots) {
    arguments.insert(arguments.end(), {"--data-root", fs::absolute(root).string()});
  }
  if (options.allow_programs) arguments.push_back("--allow-programs");
  for (const std::string& path : options.program_paths) {
    arguments.insert(arguments.end(), {"--program-path", fs::absolute(path).string()});
  }
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const int log = open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  int ends[2];
  if (log < 0 || pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(log_);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) BecomeCoordinator(argv.data(), parent, ends[1], log);
  close(ends[1]);
  close(log);
  const absl::Status status = pid_ < 0 ? ErrnoError(program) : AwaitReady(ends[0]);
  close(ends[0]);
  return status;
}

// It says one line when it answers; the end of its output means that it has ended.
absl::Status CoordinatorProcess::AwaitReady(int output) {
  std::string text;
  while (text.find('\n') == std::string::npos) {
    char piece[512];
    const ssize_t count = read(output, piece, sizeof piece);
    if (count > 0) text.append(piece, static_cast<size_t>(count));
    if (count < 0 && errno == EINTR) return absl::CancelledError("ended by a signal");
    if (count <= 0) {
      const std::string how = Reap();
      return absl::InvalidArgumentError(
          fmt::format("{} does not start ({}):\n{}", kCoordinator, how, LogTail()));
    }
  }
  return absl::OkStatus();
}

std::string CoordinatorProcess::LogTail() const {
  std::ifstream file(log_);
  std::deque<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(CleanLine(line, 500));
    if (lines.size() > kLogTailLines) lines.pop_front();
  }
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

std::string CoordinatorProcess::Reap() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) ? fmt::format("exit code {}", WEXITSTATUS(status))
                           : fmt::format("signal {}", WTERMSIG(status));
}

absl::Status CoordinatorProcess::Stop() {
  if (pid_ < 0) return absl::OkStatus();
  kill(pid_, SIGTERM);
  if (const std::string how = Reap(); how != "exit code 0") {
    keep_ = true;
    return absl::InternalError(
        fmt::format("{} ended with {}; its state is kept in {}, its log:\n{}", kCoordinator, how,
                    state_dir_, LogTail()));
  }
  return absl::OkStatus();
}

CoordinatorProcess::~CoordinatorProcess() {
  (void)Stop();
  std::error_code error;
  if (!keep_) fs::remove_all(folder_, error);
}

}  // namespace trainyard::cli
