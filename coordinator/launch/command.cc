#include "coordinator/launch/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace trainyard::coordinator {
namespace {

using Clock = std::chrono::steady_clock;

// How often it is looked whether a program is over that closed its output early.
constexpr int64_t kLookMs = 20;

struct Pipe {
  ~Pipe() {
    for (const int fd : fds) {
      if (fd >= 0) close(fd);
    }
  }
  bool Open() { return pipe2(fds, O_CLOEXEC) == 0; }
  void Close(int end) {
    close(fds[end]);
    fds[end] = -1;
  }
  int fds[2] = {-1, -1};
};

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Returns the error number of posix_spawn.
int Start(const CommandRequest& request, const Pipe& output, const Pipe& errors, pid_t* pid) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output.fds[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, errors.fds[1], STDERR_FILENO);
  posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  sigfillset(&signals);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  posix_spawnattr_setpgroup(&attributes, 0);  // so that what it starts can be killed with it
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::vector<std::string> words{request.program};
  words.insert(words.end(), request.arguments.begin(), request.arguments.end());
  const int error = posix_spawn(pid, request.program.c_str(), &files, &attributes,
                                Pointers(words).data(), Pointers(request.environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

// Takes what is there; false at the stream's end.
bool Drain(int fd, size_t most, std::string& text) {
  char buffer[16384];
  const ssize_t size = read(fd, buffer, sizeof(buffer));
  if (size < 0) return errno == EINTR;
  const size_t room = most - std::min(most, text.size());
  text.append(buffer, std::min(room, static_cast<size_t>(size)));
  return size > 0;
}

// Reads until the program is over, the time is, or somebody gives up; then kills what is left.
void Follow(const CommandRequest& request, pid_t pid, Pipe& output, Pipe& errors,
            CommandResult& result, int& status) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(request.timeout_ms);
  bool over = false;
  while (!over || output.fds[0] >= 0 || errors.fds[0] >= 0) {
    const int64_t left_ms =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    result.timed_out = left_ms <= 0;
    if (result.timed_out || result.cancelled) break;
    pollfd fds[] = {
        {output.fds[0], POLLIN, 0}, {errors.fds[0], POLLIN, 0}, {request.cancel_fd, POLLIN, 0}};
    const bool silent = output.fds[0] < 0 && errors.fds[0] < 0;
    poll(fds, 3, static_cast<int>(silent ? std::min(left_ms, kLookMs) : left_ms));
    result.cancelled = fds[2].revents != 0;
    if (fds[0].revents != 0 && !Drain(output.fds[0], request.output_max, result.output)) {
      output.Close(0);
    }
    if (fds[1].revents != 0 && !Drain(errors.fds[0], request.output_max, result.errors)) {
      errors.Close(0);
    }
    if (silent && !over) over = waitpid(pid, &status, WNOHANG) == pid;
    // Both streams end with the program as a rule: then no pause is needed to see it go.
    if (!over && output.fds[0] < 0 && errors.fds[0] < 0) {
      over = waitpid(pid, &status, WNOHANG) == pid;
    }
  }
  if (over) return;
  kill(-pid, SIGKILL);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

absl::StatusOr<CommandResult> RunCommand(const CommandRequest& request) {
  Pipe output, errors;
  if (!output.Open() || !errors.Open()) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot open a pipe: ", strerror(errno)));
  }
  pid_t pid = 0;
  if (const int error = Start(request, output, errors, &pid); error != 0) {
    const std::string message = absl::StrCat("cannot run ", request.program, ": ", strerror(error));
    if (error == ENOENT) return absl::NotFoundError(message);
    if (error == EAGAIN || error == ENOMEM) return absl::ResourceExhaustedError(message);
    return absl::FailedPreconditionError(message);
  }
  output.Close(1);
  errors.Close(1);
  CommandResult result;
  int status = 0;
  Follow(request, pid, output, errors, result, status);
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

absl::StatusOr<std::string> FindProgram(const std::string& name, const std::string& folder,
                                        const std::string& path) {
  const std::string places = folder.empty() ? path : folder;
  std::vector<std::string> folders;
  if (folder.empty()) {
    folders = absl::StrSplit(path, ':', absl::SkipEmpty());
  } else {
    folders.push_back(folder);
  }
  for (const std::string& place : folders) {
    std::string file = absl::StrCat(place, "/", name);
    struct stat info;
    if (stat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
        access(file.c_str(), X_OK) == 0) {
      return file;
    }
  }
  return absl::NotFoundError(absl::StrCat("found no program ", name, " in ", places));
}

}  // namespace trainyard::coordinator
