// engine_speed DESCRIPTION.json CONTENDER: trains a network and says how fast, a contender of
// ci/bench/gpu_rounds.py and cpu_rounds.py. CONTENDER is a backend ("cpu", "reference", "cuda");
// built over the CUDA program (TRAINYARD_SPEED_PROGRAM) also "libraries", which is NVIDIA's
// libraries where they are faster, and "own", which is our kernels alone.
//
// The description: {"network", "training", "normalisation": {"mean", "inverse_std"}, "data":
// {"pixels", "labels"} (files: raw_dataset.h), "warm_up_steps", "steps", "cache_folder",
// "threads" (1)}.
//
// Prints {"ready": {"version", "loss", "memory_bytes"}} with the first step's loss, then answers
// each line that it reads: "round" with {"round": {"steps", "seconds", "loss"}} of as many steps,
// "inference" with {"inference": {"steps", "seconds"}} of as many batches, "profile" with
// {"profile": {"steps", "kernels", "busy_seconds", "ops": [[name, seconds]], "waits": {"taken",
// "ahead", "awaited", "seconds"}}}, 0 kernels where nobody counts them, ops and waits for batches
// (BatchLoader::Waits), of all steps together, where the backend tells them.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>

#include "kernels/spinning.h"
#include "tests/worker/engine/support/description.h"
#include "tests/worker/engine/support/raw_dataset.h"
#include "worker/engine/initialise.h"
#include "worker/engine/order.h"
#include "worker/engine/planner.h"
#if defined(TRAINYARD_SPEED_CPU)
#include "kernels/cpu/program.h"
#endif
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
                                              const kernels::BackendOptions& common,
                                              const kernels::Graph& graph) {
#if defined(TRAINYARD_SPEED_PROGRAM)
  if (contender == "own" || contender == "libraries") {
    kernels::CheckGraph(graph);
    kernels::cuda::ProgramOptions options;
    options.backend = contender;
    options.precision = common.precision;
    options.libraries = contender == "libraries";
    options.cache_folder = common.cache_folder;
    auto program = std::make_unique<kernels::cuda::CudaProgram>(graph, options);
    if (options.libraries && program->Fingerprint().find("cudnn") == std::string::npos) {
      throw kernels::Error("this build has no NVIDIA libraries: found neither cuDNN nor cuBLASLt");
    }
    return program;
  }
#endif
  kernels::BackendOptions options = common;
  options.name = contender;
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
        program_(MakeProgram(contender,
                             {.threads = description.value("threads", 1),
                              .precision = PrecisionOf(training_),
                              .cache_folder = description.value("cache_folder", "")},
                             plan_.graph)) {
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
    const int steps = description_["steps"];
    double loss = 0;
    Train(std::min(steps, 3));
    const double seconds = SecondsOf([&] { loss = Train(steps); });
    return {{"steps", steps}, {"seconds", seconds}, {"loss", loss}};
  }

  json Inference() {
    const int steps = description_["steps"];
    Evaluate(std::min(steps, 3));
    const double seconds = SecondsOf([&] { Evaluate(steps); });
    return {{"steps", steps}, {"seconds", seconds}};
  }

  json Profile() {
    const int steps = std::min(description_["steps"].get<int>(), 10);
#if defined(TRAINYARD_SPEED_CPU)
    if (auto* cpu = dynamic_cast<kernels::cpu::CpuProgram*>(program_.get())) {
      return ProfileOps(steps, cpu);
    }
#endif
#if defined(TRAINYARD_SPEED_PROGRAM)
    const auto activity = kernels::cuda::testing::WatchDevice([&] { Train(steps); });
    return {{"steps", steps}, {"kernels", activity.spans}, {"busy_seconds", activity.busy_seconds}};
#else
    return {{"steps", steps}, {"kernels", 0}, {"busy_seconds", 0}};
#endif
  }

 private:
  using Clock = std::chrono::steady_clock;

  static double SecondsOf(const std::function<void()>& work) {
    const Clock::time_point start = Clock::now();
    work();
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

#if defined(TRAINYARD_SPEED_CPU)
  json ProfileOps(int steps, kernels::cpu::CpuProgram* program) {
    program->SetProfiling(true);
    const double seconds = SecondsOf([&] { Train(steps); });
    json ops = json::array();
    double listed = 0;
    for (const kernels::cpu::StepTime& op : program->Profile()) {
      ops.push_back({op.name, op.seconds});
      listed += op.seconds;
    }
    const kernels::cpu::BatchLoader::Waits waited = program->waits();
    program->SetProfiling(false);
    ops.push_back({"the rest of the step", seconds - listed});
    const json waits = {{"taken", waited.taken},
                        {"ahead", waited.ahead},
                        {"awaited", waited.awaited},
                        {"seconds", waited.seconds}};
    return {{"steps", steps}, {"kernels", 0}, {"busy_seconds", 0}, {"ops", ops}, {"waits", waits}};
  }
#endif

  // Whole batches, in order.
  void Evaluate(int steps) {
    const auto batch = static_cast<size_t>(training_.batch_size);
    logits_.resize(batch * static_cast<size_t>(plan_.graph.classes));
    for (int i = 0; i < steps; ++i) {
      const size_t at = i % (all_.size() / batch) * batch;
      program_->Evaluate(dataset_.images(), std::span<const int32_t>(all_).subspan(at, batch),
                         logits_);
    }
  }

  // In strides, each within an epoch. The last step's loss.
  double Train(int steps) {
    const auto batch = static_cast<size_t>(training_.batch_size);
    double loss = 0;
    while (steps > 0) {
      if (order_.size() - at_ < batch) {
        order_ = orders_.Take(epoch_++);
        at_ = 0;
        program_->Expect(dataset_.images(), order_);
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
  std::vector<float> logits_;
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
    } else if (command == "inference") {
      Say(command, speed.Inference());
    } else if (command == "profile") {
      Say(command, speed.Profile());
    } else {
      throw kernels::Error("found the command \"" + command +
                           "\", expected round, inference or profile");
    }
  }
}

}  // namespace
}  // namespace trainyard::engine

int main(int argc, char** argv) {
  trainyard::kernels::LimitSpinning(argv);  // as trainyard-worker does
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
