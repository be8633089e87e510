// engine_speed DESCRIPTION.json CONTENDER: trains a network and says how fast, a contender of
// ci/gpu/rounds.py. CONTENDER is a backend ("cpu", "reference", "cuda"); built over the CUDA
// program (TRAINYARD_SPEED_PROGRAM) also "libraries", which is NVIDIA's libraries where they are
// faster, and "own", which is our kernels alone.
//
// The description: {"network", "training", "normalisation": {"mean", "inverse_std"}, "data":
// {"pixels", "labels"} (files: raw_dataset.h), "warm_up_steps", "steps", "cache_folder"}.
//
// Prints {"ready": {"version", "loss", "memory_bytes"}} with the first step's loss, then answers
// each line that it reads: "round" with {"round": {"steps", "seconds", "loss"}} of as many steps,
// "profile" with {"profile": {"steps", "kernels", "busy_seconds"}}, 0 kernels where nobody counts
// them.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>

#include "tests/worker/engine/support/description.h"
#include "tests/worker/engine/support/raw_dataset.h"
#include "worker/engine/initialise.h"
#include "worker/engine/order.h"
#include "worker/engine/planner.h"
#if defined(TRAINYARD_SPEED_PROGRAM)
#include "kernels/check.h"
#include "kernels/cuda/program.h"
#include "tests/kernels/cuda/support/activity.h"
#endif

namespace trainyard::engine {
namespace {

using nlohmann::json;

kernels::Precision PrecisionOf(const network::Training& training) {
  if (training.precision == network::Precision::kBf16) return kernels::Precision::kBf16;
  return training.precision == network::Precision::kTf32 ? kernels::Precision::kTf32
                                                         : kernels::Precision::kFp32;
}

std::unique_ptr<kernels::Program> MakeProgram(const std::string& contender,
                                              kernels::Precision precision,
                                              const std::string& cache_folder,
                                              const kernels::Graph& graph) {
#if defined(TRAINYARD_SPEED_PROGRAM)
  if (contender == "own" || contender == "libraries") {
    kernels::CheckGraph(graph);
    kernels::cuda::ProgramOptions options;
    options.backend = contender;
    options.precision = precision;
    options.libraries = contender == "libraries";
    options.cache_folder = cache_folder;
    auto program = std::make_unique<kernels::cuda::CudaProgram>(graph, options);
    if (options.libraries && program->Fingerprint().find("cudnn") == std::string::npos) {
      throw kernels::Error("this build has no NVIDIA libraries: found neither cuDNN nor cuBLASLt");
    }
    return program;
  }
#endif
  kernels::BackendOptions options;
  options.name = contender;
  options.threads = 1;
  options.precision = precision;
  options.cache_folder = cache_folder;
  return kernels::MakeBackend(options)->Lower(graph);
}

class Speed {
 public:
  Speed(const json& description, const std::string& contender)
      : description_(description),
        training_(ParseTraining(description["training"])),
        dataset_(ReadRaw(description["data"]["pixels"], description["data"]["labels"],
                         ParseNetwork(description["network"]))),
        plan_(MakePlan(ParseNetwork(description["network"]), training_.batch_size)),
        program_(MakeProgram(contender, PrecisionOf(training_),
                             description.value("cache_folder", ""), plan_.graph)) {
    if (dataset_.count() < training_.batch_size) {
      throw kernels::Error("data: found " + std::to_string(dataset_.count()) +
                           " images, expected a batch of " + std::to_string(training_.batch_size));
    }
    for (int32_t i = 0; i < dataset_.count(); ++i) all_.push_back(i);
    const json& normalisation = description["normalisation"];
    program_->SetNormalisation(normalisation["mean"].get<std::vector<float>>(),
                               normalisation["inverse_std"].get<std::vector<float>>());
    program_->WriteState(InitialState(plan_.parameters, training_.initialisation,
                                      training_.optimizer.kind, training_.seed));
    scalars_.seed = training_.seed;
    const network::Optimizer& optimizer = training_.optimizer;
    scalars_.learning_rate = static_cast<float>(optimizer.learning_rate);
    scalars_.momentum = static_cast<float>(optimizer.momentum);
    scalars_.nesterov = optimizer.nesterov;
    scalars_.weight_decay = static_cast<float>(optimizer.weight_decay);
    scalars_.flip = training_.augmentation.flip;
    scalars_.shift = training_.augmentation.shift;
    scalars_.dropout_rates = plan_.dropout_rates;
  }

  json Prepare() {
    const double first = Train(1);
    Train(description_["warm_up_steps"]);
    return {{"version", program_->Fingerprint()},
            {"loss", first},
            {"memory_bytes", program_->MemoryBytes()}};
  }

  json Round() {
    using Clock = std::chrono::steady_clock;
    const int steps = description_["steps"];
    Train(std::min(steps, 3));
    const Clock::time_point start = Clock::now();
    const double loss = Train(steps);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return {{"steps", steps}, {"seconds", seconds}, {"loss", loss}};
  }

  json Profile() {
    const int steps = std::min(description_["steps"].get<int>(), 10);
#if defined(TRAINYARD_SPEED_PROGRAM)
    const auto activity = kernels::cuda::testing::WatchDevice([&] { Train(steps); });
    return {{"steps", steps}, {"kernels", activity.spans}, {"busy_seconds", activity.busy_seconds}};
#else
    return {{"steps", steps}, {"kernels", 0}, {"busy_seconds", 0}};
#endif
  }

 private:
  // In strides, each within an epoch. The last step's loss.
  double Train(int steps) {
    const auto batch = static_cast<size_t>(training_.batch_size);
    double loss = 0;
    while (steps > 0) {
      if (order_.size() - at_ < batch) {
        order_ = orders_.Take(epoch_++);
        at_ = 0;
      }
      const size_t left = (order_.size() - at_) / batch;
      const size_t stride = std::min({left, static_cast<size_t>(steps),
                                      static_cast<size_t>(std::max(1, program_->StepsAtOnce()))});
      std::vector<kernels::StepScalars> scalars(stride, scalars_);
      for (size_t i = 0; i < stride; ++i) scalars[i].step = scalars_.step++;
      std::vector<kernels::StepResult> results(stride);
      program_->TrainSteps(dataset_.images(),
                           std::span<const int32_t>(order_).subspan(at_, stride * batch), scalars,
                           results);
      at_ += stride * batch;
      steps -= static_cast<int>(stride);
      loss = results.back().loss;
    }
    return loss;
  }

  const json description_;
  const network::Training training_;
  const Dataset dataset_;
  const Plan plan_;
  const std::unique_ptr<kernels::Program> program_;
  kernels::StepScalars scalars_;
  std::vector<int32_t> all_, order_;
  EpochOrders orders_{all_, training_.seed};
  size_t at_ = 0;
  int epoch_ = 0;
};

void Say(const std::string& what, const json& values) {
  std::cout << json{{what, values}}.dump() << std::endl;
}

void Run(const std::string& path, const std::string& contender) {
  std::ifstream file(path);
  if (!file) throw kernels::Error(path + " cannot be read");
  Speed speed(json::parse(file), contender);
  Say("ready", speed.Prepare());
  for (std::string command; std::getline(std::cin, command);) {
    if (command == "round") {
      Say(command, speed.Round());
    } else if (command == "profile") {
      Say(command, speed.Profile());
    } else {
      throw kernels::Error("found the command \"" + command + "\", expected round or profile");
    }
  }
}

}  // namespace
}  // namespace trainyard::engine

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: engine_speed DESCRIPTION.json CONTENDER\n";
    return 2;
  }
  try {
    trainyard::engine::Run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
