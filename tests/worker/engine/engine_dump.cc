// engine_dump FOLDER: trains a few steps and writes down everything that another framework can be
// compared with. FOLDER holds description.json {"network", "training", "backend", "threads",
// "steps"}, images.bin (bytes, NCHW) and labels.bin (int32), one batch; written are
// before.safetensors, gradients.safetensors (of the first step), after.safetensors (weights and
// running statistics), logits_before.bin, logits_after.bin (float, evaluation mode), result.json
// and checkpoint.safetensors.
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <numeric>

#include "kernels/philox.h"
#include "tests/worker/engine/support/description.h"
#include "worker/engine/checkpoint.h"
#include "worker/engine/dataset.h"
#include "worker/engine/initialise.h"
#include "worker/engine/planner.h"
#include "worker/engine/safetensors.h"
#include "worker/engine/training_data.h"

namespace trainyard::engine {
namespace {

using nlohmann::json;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

Dataset ReadImages(const std::string& folder, const network::Shape& input) {
  const std::string pixels = ReadAll(folder + "/images.bin");
  const std::string bytes = ReadAll(folder + "/labels.bin");
  std::vector<int32_t> labels(bytes.size() / sizeof(int32_t));
  std::memcpy(labels.data(), bytes.data(), bytes.size());
  return Dataset({input.channels, input.height, input.width}, {pixels.begin(), pixels.end()},
                 std::move(labels));
}

// Biases, gammas, betas and statistics start at 0 or 1; noise makes a mistake in them show.
void AddNoise(const std::vector<network::Parameter>& parameters, kernels::ProgramState* state) {
  size_t parameter_at = 0, statistic_at = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const bool trainable = parameters[i].trainable();
    float* values = trainable ? &state->parameters[parameter_at] : &state->statistics[statistic_at];
    const auto size = static_cast<size_t>(parameters[i].size());
    (trainable ? parameter_at : statistic_at) += size;
    if (parameters[i].role == network::Parameter::Role::kWeight) continue;
    for (size_t k = 0; k < size; ++k) {
      const uint32_t word = kernels::RandomWord({99, 0, static_cast<int>(i), {}}, k);
      values[k] += 0.4f * (static_cast<float>(word >> 8) * 0x1p-24f - 0.5f);
    }
  }
}

kernels::StepScalars Scalars(const network::Training& training, int64_t step) {
  const network::Optimizer& o = training.optimizer;
  kernels::StepScalars scalars;
  scalars.step = step;
  scalars.optimizer = o.kind == network::OptimizerKind::kSgd ? kernels::OptimizerKind::kSgd
                                                             : kernels::OptimizerKind::kAdamW;
  scalars.learning_rate = static_cast<float>(o.learning_rate);
  scalars.momentum = static_cast<float>(o.momentum);
  scalars.nesterov = o.nesterov;
  scalars.beta1 = static_cast<float>(o.beta1);
  scalars.beta2 = static_cast<float>(o.beta2);
  scalars.epsilon = static_cast<float>(o.epsilon);
  scalars.weight_decay = static_cast<float>(o.weight_decay);
  scalars.clip_norm = static_cast<float>(o.clip_norm);
  scalars.label_smoothing = static_cast<float>(training.label_smoothing);
  return scalars;
}

class Dumper {
 public:
  explicit Dumper(std::string folder)
      : folder_(std::move(folder)),
        description_(json::parse(ReadAll(folder_ + "/description.json"))),
        network_(ParseNetwork(description_["network"])),
        training_(ParseTraining(description_["training"])),
        dataset_(ReadImages(folder_, network_.input)),
        plan_(MakePlan(network_, static_cast<int>(dataset_.count()))),
        backend_(kernels::MakeBackend({description_["backend"], description_["threads"]})),
        program_(backend_->Lower(plan_.graph)),
        indices_(static_cast<size_t>(dataset_.count())) {
    std::iota(indices_.begin(), indices_.end(), 0);
  }

  void Run() {
    const Normalisation normalisation = MeasureNormalisation(dataset_.images(), indices_);
    program_->SetNormalisation(normalisation.mean, normalisation.inverse_std);
    kernels::ProgramState state = InitialState(plan_.parameters, training_.initialisation,
                                               training_.optimizer.kind, training_.seed);
    AddNoise(plan_.parameters, &state);
    program_->WriteState(state);
    WriteState("before.safetensors");
    WriteLogits("logits_before.bin");
    json losses = json::array(), norms = json::array();
    for (int64_t step = 0; step < description_["steps"]; ++step) {
      const kernels::StepResult result =
          program_->TrainStep(dataset_.images(), indices_, Scalars(training_, step));
      losses.push_back(result.loss);
      norms.push_back(result.gradient_norm);
      if (step == 0) WriteGradients();
    }
    WriteState("after.safetensors");
    WriteLogits("logits_after.bin");
    WriteFileAtomically(folder_ + "/result.json",
                        json{{"losses", losses}, {"gradient_norms", norms}}.dump());
    WriteCheckpoint();
  }

 private:
  Checkpoint State() const {
    Checkpoint checkpoint;
    checkpoint.parameters = plan_.parameters;
    program_->ReadState(checkpoint.state);
    return checkpoint;
  }
  void WriteState(const std::string& name) const {
    WriteFileAtomically(folder_ + "/" + name, SerializeModel(State(), {}));
  }
  void WriteCheckpoint() const {
    WriteFileAtomically(folder_ + "/checkpoint.safetensors", SerializeCheckpoint(State()));
  }
  void WriteGradients() const {
    Checkpoint gradients = State();
    program_->ReadGradients(gradients.state.parameters);
    WriteFileAtomically(folder_ + "/gradients.safetensors", SerializeModel(gradients, {}));
  }
  void WriteLogits(const std::string& name) const {
    std::vector<float> logits(indices_.size() * static_cast<size_t>(network_.classes));
    program_->Evaluate(dataset_.images(), indices_, logits);
    WriteFileAtomically(folder_ + "/" + name, {reinterpret_cast<const char*>(logits.data()),
                                               logits.size() * sizeof(float)});
  }

  const std::string folder_;
  const json description_;
  const network::Network network_;
  const network::Training training_;
  const Dataset dataset_;
  const Plan plan_;
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<kernels::Program> program_;
  std::vector<int32_t> indices_;
};

}  // namespace
}  // namespace trainyard::engine

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: engine_dump FOLDER\n";
    return 2;
  }
  try {
    trainyard::engine::Dumper(argv[1]).Run();
  } catch (const std::exception& error) {
    std::cerr << "engine_dump: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
