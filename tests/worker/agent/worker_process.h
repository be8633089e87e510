// A trainyard-worker process; killed with the test.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace trainyard::agent {

class WorkerProcess {
 public:
  // `environment` is "NAME=VALUE" each, beside what this process has. `log`, where it is named, is
  // a file for what it writes to stderr.
  explicit WorkerProcess(std::vector<std::string> arguments,
                         const std::string& program = TRAINYARD_WORKER,
                         std::vector<std::string> environment = {}, const std::string& log = "") {
    arguments.insert(arguments.begin(), program);
    environment.push_back("TRAINYARD_LAUNCH=7");
    for (char** variable = environ; *variable != nullptr; ++variable) {
      environment.push_back(*variable);  // of two of a name, the first counts
    }
    std::vector<char*> raw_arguments = Raw(arguments), raw_environment = Raw(environment);
    const pid_t pid = fork();
    if (pid == 0) {  // a child of a process with threads just execs
      if (!log.empty()) dup2(open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), 2);
      execve(raw_arguments[0], raw_arguments.data(), raw_environment.data());
      _exit(127);
    }
    // A handle means this very process for ever; a number may mean another one once it is reaped.
    handle_ = pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1;
    EXPECT_GE(handle_, 0) << "no process was started";
  }
  ~WorkerProcess() {
    Signal(SIGKILL);
    if (!waited_) Wait();
    close(handle_);
  }
  // From any thread; nothing happens to a process that is gone.
  void Signal(int signal) { syscall(SYS_pidfd_send_signal, handle_, signal, nullptr, 0); }
  // The exit code, or minus the signal that ended it. Once.
  int Wait() {
    waited_ = true;
    siginfo_t info{};
    if (waitid(P_PIDFD, static_cast<id_t>(handle_), &info, WEXITED) != 0) return -1'000;
    return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
  }

 private:
  static std::vector<char*> Raw(std::vector<std::string>& texts) {
    std::vector<char*> raw;
    for (std::string& text : texts) raw.push_back(text.data());
    raw.push_back(nullptr);
    return raw;
  }

  int handle_ = -1;
  bool waited_ = false;
};

}  // namespace trainyard::agent
