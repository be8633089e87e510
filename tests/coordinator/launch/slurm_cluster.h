// A real Slurm of one node with two pretended GPUs, alone in its folder and on its ports.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/launch/command.h"

namespace trainyard::coordinator {

class SlurmCluster {
 public:
  // Why there can be none here; empty: there can.
  static std::string WhyNot();
  // Ready for jobs.
  static absl::StatusOr<std::unique_ptr<SlurmCluster>> Start();
  // Ends all jobs and daemons.
  ~SlurmCluster();

  // For Slurm's commands.
  std::map<std::string, std::string> environment() const;
  // Runs one of Slurm's commands and returns what it says, errors too.
  std::string Run(const std::string& program, std::vector<std::string> arguments) const;

  void StopController();
  absl::Status StartController();
  // Lets the controller begin anew: it forgets the jobs that ended, and counts on from here.
  void Forget(const std::string& job);

 private:
  absl::Status Prepare();
  absl::Status Spawn(pid_t* pid, const std::string& program, std::vector<std::string> arguments);
  absl::Status AwaitNode() const;
  std::string Conf() const { return (folder_ / "slurm.conf").string(); }
  void EndJobs() const;
  void EndLeftovers() const;

  std::filesystem::path folder_;
  std::string host_;
  pid_t munged_ = 0, controller_ = 0, node_ = 0;
};

}  // namespace trainyard::coordinator
