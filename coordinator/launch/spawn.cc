#include "coordinator/launch/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {
namespace {

constexpr int kSlot = 3;
constexpr int kReport = 4;

// What the child tells through the report pipe when it cannot run the program; silence means it
// runs.
struct Failure {
  int error = 0;
  enum Where { kLog, kFolder, kIdentity, kProgram } where = kProgram;
};

// Everything the child needs, made before the fork: between fork and exec nothing may be allocated.
struct Prepared {
  std::vector<char*> argv;
  std::vector<char*> envp;
  const char* program;
  const char* folder;
  const char* log_path;
  int slot_fd;
  int report_fd;
};

[[noreturn]] void Fail(Failure::Where where) {
  const Failure failure{errno, where};
  [[maybe_unused]] const ssize_t written = write(kReport, &failure, sizeof(failure));
  _exit(127);
}

// Appends `value` in decimal to `text`, which has room.
size_t AppendDecimal(char* text, size_t size, uint64_t value) {
  char digits[20];
  size_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (count > 0) text[size++] = digits[--count];
  return size;
}

// In the child: "pid start_ticks\n" into the slot, in one write, before anything else can go wrong.
bool WriteIdentity() {
  const int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char stat[1024];
  const ssize_t size = read(fd, stat, sizeof(stat));
  close(fd);
  if (size <= 0) return false;
  char text[64];
  size_t length = AppendDecimal(text, 0, static_cast<uint64_t>(getpid()));
  text[length++] = ' ';
  length = AppendDecimal(text, length, ParseStartTicks(stat, static_cast<size_t>(size)));
  text[length++] = '\n';
  return pwrite(kSlot, text, length, 0) == static_cast<ssize_t>(length);
}

void DefaultSignals() {
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    sigaction(signal, &action, nullptr);  // fails for SIGKILL and SIGSTOP, as it should
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Only async-signal-safe calls: other threads of the parent may have held any lock at the fork.
[[noreturn]] void RunChild(const Prepared& prepared) {
  DefaultSignals();
  setsid();
  // Both sources lie above kReport, see Spawn.
  dup2(prepared.slot_fd, kSlot);
  dup3(prepared.report_fd, kReport, O_CLOEXEC);
  if (!WriteIdentity()) Fail(Failure::kIdentity);
  const int log = open(prepared.log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) Fail(Failure::kLog);
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(nothing, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  close_range(kReport + 1, ~0u, 0);
  if (chdir(prepared.folder) != 0) Fail(Failure::kFolder);
  execve(prepared.program, prepared.argv.data(), prepared.envp.data());
  Fail(Failure::kProgram);
}

std::vector<char*> Pointers(const std::vector<std::string>& texts, const std::string* first) {
  std::vector<char*> pointers;
  if (first != nullptr) pointers.push_back(const_cast<char*>(first->c_str()));
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

absl::Status Explain(const Failure& failure, const SpawnRequest& request) {
  const std::string why = strerror(failure.error);
  switch (failure.where) {
    case Failure::kLog:
      return absl::UnavailableError(
          absl::StrCat("cannot write the log ", request.log_path, ": ", why));
    case Failure::kFolder:
      return absl::UnavailableError(absl::StrCat("cannot enter ", request.folder, ": ", why));
    case Failure::kIdentity:
      return absl::UnavailableError(
          absl::StrCat("cannot note the process beside ", request.log_path, ": ", why));
    case Failure::kProgram:
      break;
  }
  return absl::FailedPreconditionError(absl::StrCat("cannot run ", request.program, ": ", why));
}

}  // namespace

absl::StatusOr<ProcessIdentity> Spawn(const SpawnRequest& request) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot open a pipe: ", strerror(errno)));
  }
  // Above the numbers that the child gives them, so that one dup2 cannot close the other's source.
  Prepared prepared{Pointers(request.arguments, &request.program),
                    Pointers(request.environment, nullptr),
                    request.program.c_str(),
                    request.folder.c_str(),
                    request.log_path.c_str(),
                    fcntl(request.slot_fd, F_DUPFD_CLOEXEC, kReport + 1),
                    fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, kReport + 1)};
  close(pipe_fds[1]);
  // No signal handler of ours may run in the child while it still has our memory.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t child = fork();
  if (child == 0) RunChild(prepared);
  const int fork_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  close(prepared.report_fd);
  close(prepared.slot_fd);
  if (child < 0) {
    close(pipe_fds[0]);
    return absl::UnavailableError(absl::StrCat("cannot fork: ", strerror(fork_error)));
  }
  Failure failure;
  ssize_t size;
  do {
    size = read(pipe_fds[0], &failure, sizeof(failure));
  } while (size < 0 && errno == EINTR);
  close(pipe_fds[0]);
  if (size == sizeof(failure)) {
    waitpid(child, nullptr, 0);
    return Explain(failure, request);
  }
  char text[64] = {};
  const ssize_t length = pread(request.slot_fd, text, sizeof(text) - 1, 0);
  const auto identity = ParseHandle(std::string_view(text, length > 0 ? length : 0));
  if (!identity || identity->pid != child) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    return absl::InternalError(
        absl::StrCat("process ", child, " did not note itself, found '", text, "'"));
  }
  return *identity;
}

}  // namespace trainyard::coordinator
