// The sections of trainyard.yaml, one function each; spec_reader.cc calls them in order. What is
// absent keeps its default, which is the value that the struct or message arrives with.
#pragma once

#include "coordinator/source/job_spec.h"
#include "coordinator/source/spec_section.h"

namespace trainyard::coordinator {

// Defaults of what has none in network/.
inline constexpr double kValidationFraction = 0.1;
inline constexpr int kMaxTrials = 10;
inline constexpr double kTargetAccuracy = 0.80;
inline constexpr int64_t kCheckpointEveryMs = 60'000;
inline constexpr double kAdamWLearningRate = 1e-3;
inline constexpr double kAdamWWeightDecay = 1e-2;

// spec_data.cc
void ReadData(const Section& root, v1::Data* data, SpecProblems* problems);
void ReadValidation(const Section& root, bool own_files, v1::Validation* validation,
                    SpecProblems* problems);
// {channels: 1, height: 28, width: 28} or [1, 28, 28].
void ReadImage(const YamlNode& node, const std::string& path, v1::Image* image,
               SpecProblems* problems);

// A path, or {path | url, sha256}.
void ReadDataFile(const YamlNode& node, const std::string& path, v1::DataFile* file,
                  SpecProblems* problems);

// spec_program.cc
// What a program's data may be called: one plain name, no path.
bool IsDataName(const std::string& name);
// Whether this is about a program of the user's: it says so, or it has nothing of a network of
// ours.
bool IsProgramSpec(const YamlNode& root);
// No command and no framework: left to be detected.
void ReadProgram(const Section& root, v1::Program* program, network::ProgramChanges* changes,
                 SpecProblems* problems);

// spec_network.cc
void ReadNetwork(const Section& root, network::Network* network, SpecProblems* problems);
// A list of layers, or a map with `layers`.
void ReadNetworkValue(const YamlNode& node, const std::string& path, network::Network* network,
                      SpecProblems* problems);

// spec_training.cc
void ReadTraining(const Section& root, network::Training* training, SpecProblems* problems);

// spec_limits.cc
void ReadTarget(const Section& root, bool program, v1::Target* target, SpecProblems* problems);
void ReadBudget(const Section& root, v1::Budget* budget, SpecProblems* problems);
void ReadCheckpoint(const Section& root, v1::CheckpointPolicy* checkpoint, SpecProblems* problems);

// spec_tune.cc: of a job whose trial 1 is `first`.
void ReadTune(const Section& root, const network::Configuration& first, v1::Tune* tune,
              SpecProblems* problems);

// spec_resources.cc
void ReadResources(const Section& root, v1::Resources* resources, SpecProblems* problems);

}  // namespace trainyard::coordinator
