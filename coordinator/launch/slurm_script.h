// What a Slurm job of ours runs: a shell script into which every value is quoted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/launch/pools.h"

namespace trainyard::coordinator {

// What is in the script, and in the options of sbatch.
struct SlurmJobPlan {
  std::string pool;
  int64_t launch = 0;
  std::string coordinator_id;  // whose launch 1 this is
  std::string coordinator;     // host:port
  std::string folder;          // of this launch, on every node
  bool access = false;         // it has a folder "access" inside
  bool private_urls = false;
};

// As one word of a POSIX shell.
std::string ShellQuote(const std::string& text);

// The script. It starts the worker as a job step, because it is the steps to which Slurm announces
// a preemption, and keeps the file "state" of `folder`:
//   started JOB NODE     at most once, whatever Slurm repeats
//   ended JOB STATUS     as a shell tells it: 128 + N for signal N
//   memory JOB           it, or a process that it started, was killed for want of memory
//   refused JOB          the job was started again, or submitted twice: no second worker
std::string SlurmScript(const SlurmJobPlan& plan, const SlurmPool& pool);

// The arguments of sbatch for `script`, a file.
std::vector<std::string> SbatchArguments(const SlurmJobPlan& plan, const SlurmPool& pool,
                                         const std::string& script);

// How a job says whose it is, in its comment: this, and the number of its launch.
std::string SlurmOwner(const std::string& coordinator_id, const std::string& pool);
// The launch in such a comment; -1: not this owner's.
int64_t LaunchOfComment(std::string_view comment, const std::string& owner);

// INVALID_ARGUMENT names the first value that no job can have, such as one with a line break.
absl::Status CheckSlurmPool(const std::string& name, const std::string& coordinator_id,
                            const SlurmPool& pool);

}  // namespace trainyard::coordinator
