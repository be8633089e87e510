#include "kernels/reference/backend.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "kernels/augment.h"
#include "kernels/check.h"
#include "kernels/explain.h"
#include "kernels/reference/ops.h"
#include "kernels/reference/optimizer.h"

namespace trainyard::kernels::reference {
namespace {

int64_t PlannedBytes(const Graph& graph) {
  int64_t doubles = 4 * graph.parameter_count + graph.statistic_count;
  for (const ValueShape& shape : graph.values) doubles += 2 * graph.batch_size * shape.size();
  return doubles * static_cast<int64_t>(sizeof(double));
}

void Widen(const std::vector<float>& from, std::vector<double>& to) {
  if (from.empty()) {
    std::fill(to.begin(), to.end(), 0.0);
  } else {
    to.assign(from.begin(), from.end());
  }
}

std::vector<float> Round(const std::vector<double>& from) { return {from.begin(), from.end()}; }

// Between steps the state is float, as it is in checkpoints: else a run that continues from one
// would not end as a run that was never interrupted.
void KeepAsFloat(std::vector<double>& values) {
  for (double& value : values) value = static_cast<float>(value);
}

class ReferenceProgram : public Program {
 public:
  explicit ReferenceProgram(const Graph& graph) : graph_(graph), bytes_(PlannedBytes(graph)) {
    pass_.graph = &graph_;
    pass_.parameters.resize(graph.parameter_count);
    pass_.parameter_gradients.resize(graph.parameter_count);
    pass_.statistics.resize(graph.statistic_count);
    optimizer_.moment1.resize(graph.parameter_count);
    optimizer_.moment2.resize(graph.parameter_count);
    pass_.saved.resize(graph.ops.size());
    pass_.values.resize(graph.values.size());
    pass_.gradients.resize(graph.values.size());
    for (size_t i = 0; i < graph.values.size(); ++i) {
      pass_.values[i].resize(graph.batch_size * graph.values[i].size());
      pass_.gradients[i].resize(graph.batch_size * graph.values[i].size());
    }
    const std::vector<float> zeros(graph.values[0].channels, 0.0f);
    const std::vector<float> ones(graph.values[0].channels, 1.0f);
    table_ = NormalisationTable(zeros, ones);
  }

  void SetNormalisation(std::span<const float> mean, std::span<const float> inverse_std) override {
    CheckNormalisation(graph_, mean, inverse_std);
    table_ = NormalisationTable(mean, inverse_std);
  }

  void WriteState(const ProgramState& state) override {
    CheckState(graph_, state);
    Widen(state.parameters, pass_.parameters);
    Widen(state.statistics, pass_.statistics);
    Widen(state.moment1, optimizer_.moment1);
    Widen(state.moment2, optimizer_.moment2);
  }

  void ReadState(ProgramState& state) const override {
    state = {Round(pass_.parameters), Round(optimizer_.moment1), Round(optimizer_.moment2),
             Round(pass_.statistics)};
  }

  StepResult TrainStep(const ImageSet& images, std::span<const int32_t> indices,
                       const StepScalars& scalars) override {
    CheckBatch(graph_, images, indices);
    CheckScalars(graph_, scalars);
    Load(images, indices, &scalars);
    for (size_t i = 0; i < graph_.ops.size(); ++i) Forward(pass_, static_cast<int>(i));
    for (std::vector<double>& gradient : pass_.gradients) {
      std::fill(gradient.begin(), gradient.end(), 0.0);
    }
    std::fill(pass_.parameter_gradients.begin(), pass_.parameter_gradients.end(), 0.0);
    const LossSum sum =
        SoftmaxCrossEntropy(pass_.values[graph_.ops.back().output], labels_, graph_.classes,
                            scalars.label_smoothing, pass_.gradients[graph_.ops.back().output]);
    for (size_t i = graph_.ops.size(); i-- > 0;) Backward(pass_, static_cast<int>(i));
    const double norm = GradientNorm(pass_.parameter_gradients);
    UpdateParameters(graph_, scalars, norm, pass_.parameter_gradients, pass_.parameters,
                     optimizer_);
    KeepAsFloat(pass_.parameters);
    KeepAsFloat(pass_.statistics);
    KeepAsFloat(optimizer_.moment1);
    KeepAsFloat(optimizer_.moment2);
    return {sum.loss / static_cast<double>(indices.size()), sum.correct, norm};
  }

  EvaluationResult Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                            std::span<float> logits) override {
    CheckBatch(graph_, images, indices);
    CheckLogits(graph_, indices, logits);
    Load(images, indices, nullptr);
    for (size_t i = 0; i < graph_.ops.size(); ++i) Forward(pass_, static_cast<int>(i));
    const std::vector<double>& values = pass_.values[graph_.ops.back().output];
    std::copy_n(values.begin(), logits.size(), logits.begin());
    const LossSum sum = SoftmaxCrossEntropy(values, labels_, graph_.classes, 0, {});
    return {sum.loss, sum.correct};
  }

  void ReadGradients(std::span<float> gradients) const override {
    CheckGradients(graph_, gradients);
    std::copy(pass_.parameter_gradients.begin(), pass_.parameter_gradients.end(),
              gradients.begin());
  }

  int64_t MemoryBytes() const override { return bytes_; }
  std::string Fingerprint() const override { return "reference double"; }
  std::vector<std::string> Explain() const override {
    std::vector<std::string> lines;
    for (const Op& op : graph_.ops) lines.push_back(OpWithShapes(graph_, op) + ": loop in double");
    return lines;
  }

 private:
  // Fills value 0 and the labels. `scalars` is null for evaluation: no augmentation.
  void Load(const ImageSet& images, std::span<const int32_t> indices, const StepScalars* scalars) {
    pass_.scalars = scalars;
    pass_.training = scalars != nullptr;
    pass_.batch = static_cast<int>(indices.size());
    labels_.clear();
    const int64_t size = graph_.values[0].size();
    std::vector<float> image(size);
    for (size_t n = 0; n < indices.size(); ++n) {
      const ImageDraws draws =
          scalars == nullptr ? ImageDraws{}
                             : DrawAugmentation(*scalars, static_cast<int>(n), graph_.values[0]);
      AugmentImage(images.pixels.data() + indices[n] * size, graph_.values[0], table_.data(), draws,
                   image.data());
      std::copy(image.begin(), image.end(), pass_.values[0].begin() + n * size);
      labels_.push_back(images.labels[indices[n]]);
    }
  }

  const Graph graph_;
  const int64_t bytes_;
  Pass pass_;
  OptimizerState optimizer_;
  std::vector<float> table_;
  std::vector<int32_t> labels_;
};

class ReferenceBackend : public Backend {
 public:
  std::string name() const override { return "reference"; }
  std::unique_ptr<Program> Lower(const Graph& graph) override {
    CheckGraph(graph);
    CheckMemory("reference", PlannedBytes(graph));
    try {
      return std::make_unique<ReferenceProgram>(graph);
    } catch (const std::bad_alloc&) {
      throw Error("reference: " + std::to_string(PlannedBytes(graph) >> 20) +
                  " MiB are not to be had");
    }
  }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace trainyard::kernels::reference
