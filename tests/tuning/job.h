// Plays a whole job in one process: trials as a worker trains them, decisions as the coordinator
// takes them, with nothing in between. For measuring policies.
//
//   Job job(options, data);
//   PlayedJob played = job.Play();
//
// Everything in the result but the seconds is a function of options and data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/core/tuner/policy.h"
#include "worker/engine/trainer.h"

namespace trainyard::tuning {

struct JobOptions {
  network::Configuration start;  // of trial 1
  core::Target target;
  core::TuningLimits limits;
  int epochs_max = 100;  // over all trials; the last one is broken off there
  int threads = 1;
};

struct PlayedTrial {
  core::TrialHistory history;
  core::Tweak tweak;  // what made it; empty for trial 1
  std::vector<engine::Adjustment> adjustments;
  std::vector<core::Correction> corrections;  // those that a rewind took back included
  std::optional<engine::Checkpoint> best;     // the first with the best validation
  double best_value = 0;
  std::vector<double> cpu_seconds;  // of the whole process, at the end of each epoch
};

struct PlayedJob {
  std::vector<PlayedTrial> trials;
  bool met = false;
  double epochs = 0;       // trained, those broken off and gone back over included
  double cpu_seconds = 0;  // of all threads, validation and planning included
  core::Finding finding;   // about the last trial that missed the target
  std::string stop;        // why it ended below its target
};

class Job {
 public:
  Job(JobOptions options, const engine::TrainingData& data);

  PlayedJob Play();
  // Trial 1 only, and what the policy says of it.
  PlayedJob PlayFirst();

 private:
  class Watcher;

  // False: the job is over.
  bool TrainNext(const core::NextTrial& next);
  // Of the last trial: leaves it running where it is to be gone on with.
  void Attempt(const std::optional<kernels::ProgramState>& inherited);
  void Adjust(const engine::Adjustment& adjustment, core::Correction correction);
  bool Rewind();
  bool Over() const { return played_.met || played_.epochs >= options_.epochs_max; }
  core::TuningTask Task() const;
  double CpuSecondsSoFar() const;

  const JobOptions options_;
  const engine::TrainingData data_;
  const core::Policy& policy_;
  const double cpu_begin_;
  PlayedJob played_;
};

}  // namespace trainyard::tuning
