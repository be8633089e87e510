// What Slurm's commands say, read; and what follows from it for a worker that ended.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/launch/launcher.h"

namespace trainyard::coordinator {

// One job, as far as was asked for.
struct SlurmJob {
  int64_t id = 0;
  std::string state;   // "RUNNING", "PREEMPTED", ...
  std::string reason;  // why it waits
  std::string comment;
  std::string node;
  std::string time_limit;
  int exit_code = 0;
  int signal = 0;
  bool preempted = false;  // it was told to make room, whatever came of it
  int restarts = 0;

  bool waits() const;  // in the queue
  bool runs() const;
  bool over() const;  // for good, and its processes are gone
};

// The arguments of squeue for ParseQueue: all jobs of this user, those that just ended too.
std::vector<std::string> QueueArguments();
// Lines that cannot be read are left out: nothing follows from them.
std::vector<SlurmJob> ParseQueue(std::string_view output);
// `scontrol show job --oneliner ID`.
std::optional<SlurmJob> ParseShownJob(std::string_view output);
// `sacct -nPo JobID,State,ExitCode`: the row of this job itself, without its steps.
std::optional<SlurmJob> ParseAccounting(std::string_view output, int64_t id);
// `sbatch --parsable`: "12" or "12;cluster".
std::optional<int64_t> ParseSubmitted(std::string_view output);

// Slurm's own words as one line: "sbatch: error: " and what says nothing is left out.
std::string CleanSlurmErrors(std::string_view errors);
// Whether they tell of a controller that cannot be spoken to, and not of what was asked for.
bool IsControllerTrouble(std::string_view errors);
// Why sbatch failed, with launcher.h's meaning of the codes.
absl::Status SubmitFailure(std::string_view errors);

// What is known of a worker's end.
struct SlurmEnd {
  int64_t launch = 0;
  int64_t job = 0;
  std::optional<int> status;       // as the job's script noted it
  std::optional<SlurmJob> answer;  // of the controller
  bool repeated = false;           // Slurm started the job again
  bool out_of_memory = false;      // as its script noted it
  std::string ended_by_us;         // why we ended it; empty: we did not
};

WorkerExit ExplainEnd(const SlurmEnd& end);

}  // namespace trainyard::coordinator
