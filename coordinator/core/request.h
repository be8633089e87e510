// What is asked for: a job's target, limits and first configuration, as the shell resolved them.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/ids.h"
#include "network/training.h"

namespace trainyard::core {

enum class TargetMetric { kValAccuracy, kValLoss };

// Accuracy is met at or above the bound, loss at or below it.
struct Target {
  TargetMetric metric = TargetMetric::kValAccuracy;
  double bound = 0;
  double confidence = 0;  // accuracy: how sure it must be that the true one meets the bound; 0: off
  int64_t images = 0;     // of the validation set, for `confidence` and noise; 0: unknown
  bool operator==(const Target&) const = default;
};

// How the next trial is found: from what the curves of the last ones say, or by searching a space.
enum class Algorithm { kDiagnose, kRandom, kTpe, kAsha };

// One thing that a search may choose. Exactly one of range, choices and networks is given.
struct Dimension {
  std::string path;  // "train.lr", "network.width", "network.layers[0].conv.filters": tuner/space.h
  double min = 0;    // range: both ends included
  double max = 0;
  bool log = false;                        // drawn evenly over the logarithm
  double step = 0;                         // from min on; 0: any value between
  std::vector<std::string> choices;        // as a spec writes them
  std::vector<network::Network> networks;  // path "network"
  bool operator==(const Dimension&) const = default;
};

// What the tuner may do, and how. Zero: no limit.
struct TuningLimits {
  bool enabled = true;  // false: trial 1 only
  int max_trials = 0;   // trial 1 included
  Algorithm algorithm = Algorithm::kDiagnose;
  int parallel = 1;       // trials at a time
  int patience = 0;       // so many trials in a row without progress end the job
  bool inherit = true;    // changed networks take over the weights of the trial they come from
  bool in_flight = true;  // a running trial may be changed and stopped
  uint64_t seed = 1;      // of what the search draws
  int eta = 3;            // asha: of so many trials that reach a rung, one goes on
  int min_epochs = 1;     // asha: of the lowest rung
  std::vector<Dimension> space;
  bool architecture = true;  // may change the network, or ask a program for changes of its model
  bool convolutions = true;  // there are some; false: a program without
  int64_t max_parameters = 0;
  int64_t max_training_bytes = 0;  // network::TrainingBytes of a proposal
  bool operator==(const TuningLimits&) const = default;
};

// What a job may use up. Zero: no limit.
struct Budget {
  int trials = 0;       // trial 1 included
  int64_t time_ms = 0;  // training time, summed over attempts
  int64_t epochs = 0;   // summed over trials, repeated ones not counted
  bool operator==(const Budget&) const = default;
};

enum class GpuWish {
  kAny,       // a GPU where one is free, else a CPU
  kNone,      // never a slot with a GPU
  kRequired,  // waits for a GPU
};

using Labels = std::map<std::string, std::string>;

// Where a job may run, and before whom.
struct Needs {
  std::string pool;  // empty: anywhere
  std::string runtime = "native";
  GpuWish gpu = GpuWish::kAny;
  int64_t gpu_memory_bytes = 0;  // 0: network::TrainingBytes of the trial
  Labels labels;                 // that the pool or worker must have
  int priority = 0;              // higher goes first
  std::set<std::string> paths;   // of data on the workers' hosts, absolute
  bool operator==(const Needs&) const = default;
};

// What a worker or a slot can do, to be held against a job's needs.
struct Abilities {
  bool gpu = false;
  int64_t gpu_memory_bytes = 0;  // 0: not known
  Labels labels;
  std::set<std::string> runtimes = {"native"};
  std::set<std::string> data_roots = {"/"};  // folders that are there as they are here
  bool operator==(const Abilities&) const = default;
};

// A request for a job. Project, commit and spec_hash make its identity: the same again is the same
// job, unless `again` is set. The core never looks into spec_blob.
struct JobRequest {
  ProjectId project;            // none: submitted by hand
  std::string commit;           // hex; empty for a folder without Git
  std::string snapshot_sha256;  // source archive
  std::string spec_hash;        // of the resolved spec
  std::string spec_blob;        // the resolved spec, serialized: assignments are made from it
  std::string name;
  std::string source;       // URL or path it came from, for people
  std::string request_key;  // chosen by the caller: a repeated call with it is the same request
  Needs needs;
  network::Configuration configuration;  // of trial 1; no layers: a program of the user's
  Target target;
  TuningLimits tuning;
  Budget budget;
  bool manual = false;       // wait for a person between trials
  bool again = false;        // a new job even where the same one exists
  int64_t train_images = 0;  // 0: unknown
  bool operator==(const JobRequest&) const = default;
};

}  // namespace trainyard::core
