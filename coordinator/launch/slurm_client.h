// Slurm's own commands, each with a time limit: they hang while the controller is down.
//
// UNAVAILABLE means that the controller could not be asked, and nothing about what was asked for;
// FAILED_PRECONDITION that there is no such command.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/launch/command.h"
#include "coordinator/launch/pools.h"
#include "coordinator/launch/slurm_answers.h"
#include "coordinator/launch/slurm_script.h"

namespace trainyard::coordinator {

class SlurmClient {
 public:
  // Commands end early once `cancel_fd` is readable.
  SlurmClient(SlurmPool pool, int64_t timeout_ms, int cancel_fd);

  // The new job's number. UNAVAILABLE, and RESOURCE_EXHAUSTED too, leave open whether there is one.
  absl::StatusOr<int64_t> Submit(const SlurmJobPlan& plan, const std::string& script) const;
  // All jobs of this user that the controller remembers.
  absl::StatusOr<std::vector<SlurmJob>> List() const;
  // One job; nothing: the controller does not know it, or no longer.
  absl::StatusOr<std::optional<SlurmJob>> Show(int64_t job) const;
  // One job of the past, from the accounting that the cluster keeps; nothing: it keeps none.
  absl::StatusOr<std::optional<SlurmJob>> Account(int64_t job) const;
  // Ends it for good: SIGTERM, and after the cluster's KillWait SIGKILL.
  absl::Status Cancel(int64_t job) const;
  absl::Status CancelIfPending(int64_t job) const;
  // SIGTERM to the job's script, which passes it on to the worker.
  absl::Status Terminate(int64_t job) const;

 private:
  absl::StatusOr<CommandResult> Run(const std::string& program,
                                    std::vector<std::string> arguments) const;
  absl::Status RunCancel(std::vector<std::string> arguments) const;

  const SlurmPool pool_;
  const int64_t timeout_ms_;
  const int cancel_fd_;
};

// What Slurm's commands, and through them the workers, get of our environment: no tokens, no stray
// settings. The pool's own variables come over ours.
std::vector<std::string> SlurmEnvironment(const char* const* environment, const SlurmPool& pool);

}  // namespace trainyard::coordinator
