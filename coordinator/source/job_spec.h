// What a job was asked to do, as trainyard.yaml says it: the messages of spec.proto, except for
// network and training, which are the structs that the checks, the tuner and the engine use.
#pragma once

#include <string>

#include "network/training.h"
#include "trainyard/v1/spec.pb.h"

namespace trainyard::coordinator {

struct JobSpec {
  std::string name;
  v1::Data data;  // `image`, `classes` and counts are known once OpenData has read the files
  v1::Validation validation;
  network::Configuration configuration;  // of trial 1
  v1::Target target;
  v1::Tune tune;
  v1::Budget budget;
  v1::CheckpointPolicy checkpoint;
  v1::Resources resources;
  v1::Program program;   // with a command: the user's own program, and data and network are empty
  v1::DataFile weights;  // native: what trial 1 starts from; no path: fresh

  bool IsProgram() const { return configuration.IsProgram(); }
};

v1::JobSpec ToProto(const JobSpec& spec);
JobSpec FromProto(const v1::JobSpec& message);

}  // namespace trainyard::coordinator
