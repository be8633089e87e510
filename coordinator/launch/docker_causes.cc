#include "coordinator/launch/docker_causes.h"

#include <signal.h>

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "proto/signal_name.h"

namespace trainyard::coordinator {
namespace {

// By convention of shells and of Docker.
constexpr int kNotExecutable = 126, kNotFound = 127, kSignals = 128;

bool ContainsAny(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    if (absl::StrContains(text, part)) return true;
  }
  return false;
}

std::string Limit(int64_t bytes) {
  if (bytes <= 0) return "";
  return absl::StrFormat(" at the container's limit of %.4g MiB", bytes / 1048576.0);
}

}  // namespace

absl::Status ExplainRefusal(const HttpReply& reply, const std::string& image) {
  const std::string said = ReadMessage(reply);
  if (ContainsAny(said, {"no space left on device", "disk quota exceeded"})) {
    return absl::ResourceExhaustedError(absl::StrCat("its disk is full: ", said));
  }
  if (ContainsAny(said, {"cannot allocate memory", "Cannot allocate memory"})) {
    return absl::ResourceExhaustedError(absl::StrCat("it is out of memory: ", said));
  }
  if (ContainsAny(said, {"No such image", "no such image"})) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is no image ", image, "; get it there with `docker pull ", image,
                     "` or build it with `docker build` (docs/operations.md)"));
  }
  if (ContainsAny(said, {"could not select device driver", "failed to discover GPU vendor"})) {
    return absl::FailedPreconditionError(
        absl::StrCat("it gives containers no GPU: the NVIDIA container toolkit is missing there "
                     "(docs/operations.md): ",
                     said));
  }
  if (ContainsAny(said, {"nvidia-container-cli", "unresolvable CDI devices"})) {
    return absl::FailedPreconditionError(
        absl::StrCat("it has no such GPU, or its driver does not work: ", said));
  }
  if (ContainsAny(said, {"executable file not found", "exec format error", "exec: "})) {
    return absl::FailedPreconditionError(
        absl::StrCat("the command of image ", image, " cannot be run: ", said));
  }
  // Asked for something that this host cannot give: fewer cores, a folder that is not there.
  if (reply.status == 400) return absl::FailedPreconditionError(said);
  return absl::InternalError(said);
}

WorkerExit DescribeExit(int64_t launch, int exit_code, bool oom_killed, const ExitFacts& facts) {
  WorkerExit exit;
  exit.launch = launch;
  const bool signalled = exit_code > kSignals && exit_code < kSignals + 32;
  if (signalled) {
    exit.signal = exit_code - kSignals;
  } else {
    exit.exit_code = exit_code;
  }
  const bool out_of_memory = oom_killed || facts.oom_seen;
  // With exit code 0 the worker did without the process that was killed.
  exit.out_of_memory = out_of_memory && exit_code != 0;
  const std::string code = absl::StrCat("exit code ", exit_code);
  if (exit.out_of_memory && exit.signal == SIGKILL) {
    exit.cause = absl::StrCat("out of memory: the worker was killed", Limit(facts.memory_bytes));
  } else if (exit.out_of_memory) {
    exit.cause = absl::StrCat("out of memory: a process of the worker was killed",
                              Limit(facts.memory_bytes), "; ", code);
  } else if (!facts.killed_by_us.empty() && exit.signal == SIGKILL) {
    exit.cause = facts.killed_by_us;
  } else if (exit.signal == SIGKILL && facts.memory_bytes > 0 && !facts.kill_seen) {
    // containerd before 2.3 loses some of what the kernel says of memory
    // (https://github.com/containerd/containerd/issues/8893), and then nobody knows.
    exit.cause = absl::StrCat(
        "killed by SIGKILL; the engine does not say why: by a process outside of the "
        "container, or for want of memory",
        Limit(facts.memory_bytes));
  } else if (signalled) {
    exit.cause = absl::StrCat("killed by ", SignalName(exit.signal),
                              facts.kill_seen ? ", through Docker" : "");
  } else if (exit_code == kNotFound) {
    exit.cause = absl::StrCat(code, ": the image's command was not found, see the log");
  } else if (exit_code == kNotExecutable) {
    exit.cause = absl::StrCat(code, ": the image's command cannot be run, see the log");
  } else {
    exit.cause = code;
  }
  return exit;
}

WorkerExit DescribeLoss(int64_t launch, const std::string& why) {
  WorkerExit exit;
  exit.launch = launch;
  exit.unknown = true;
  exit.cause = why;
  return exit;
}

}  // namespace trainyard::coordinator
