// A lowered network on a CUDA device: the state, and for each batch size seen the captured steps.
//
// Everything is enqueued through launchers of our kernels, so the same program runs on a GPU and on
// the emulated machine. A step is one launch of a graph that was captured once for its batch size:
// it takes its row of the step table, which holds all that differs from step to step, and leaves
// its results there. Between the steps of a stride the host does nothing but launch.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/data_sets.h"
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/resources.h"
#include "kernels/cuda/spans.h"
#include "kernels/cuda/step_table.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

struct ProgramOptions {
  std::string backend;  // for messages and the fingerprint
  Precision precision{};
  bool libraries = false;         // NVIDIA's, where the build has them; else our kernels alone
  std::string cache_folder = {};  // for what takes long to find out again; empty: nothing is kept
  int64_t guard_bytes = 0;        // behind every buffer; for tests
  int64_t data_bytes_max = 0;     // of device memory for data sets; 0: what is free
};

class CudaProgram : public Program {
 public:
  // CheckGraph must have passed.
  CudaProgram(const Graph& graph, ProgramOptions options);

  void SetNormalisation(std::span<const float> mean, std::span<const float> inverse_std) override;
  void WriteState(const ProgramState& state) override;
  void ReadState(ProgramState& state) const override;
  StepResult TrainStep(const ImageSet& images, std::span<const int32_t> indices,
                       const StepScalars& scalars) override;
  void TrainSteps(const ImageSet& images, std::span<const int32_t> indices,
                  std::span<const StepScalars> scalars, std::span<StepResult> results) override;
  int StepsAtOnce() const override;
  void Expect(const ImageSet& images, std::span<const int32_t> indices) override;
  EvaluationResult Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                            std::span<float> logits) override;
  void ReadGradients(std::span<float> gradients) const override;
  int64_t MemoryBytes() const override;  // with the data sets
  std::string Fingerprint() const override { return fingerprint_; }
  std::vector<std::string> Explain() const override;

  // Fills everything that a step must not read before writing it with NaN. For tests.
  void PoisonScratch();
  // Whether the full batch's training step has left all guards as PoisonScratch made them.
  bool GuardsAreWhole() const;
  // What the full batch's training step consists of, in order.
  std::vector<std::string> StepNames() const;

 private:
  enum class Mode { kTraining, kEvaluation };
  // A plan for a smaller batch shares the memory of the largest one, unless it needs more.
  struct Sized {
    Plan plan;
    Place logits;
    DeviceMemory own;
    std::optional<StepGraph> step;
  };

  void Allocate(int64_t transient_bytes);
  void Lower();
  void TellLoss() const;  // throws DeviceLost if that is what an Error came from
  Sized MakePlan(int batch, Mode mode) const;
  Sized& PlanFor(int batch, Mode mode);
  // Captures its step.
  Sized& Add(Sized sized, int batch, Mode mode);
  Call CallOf(const Sized& sized, Mode mode) const;
  const Plan& FullStep() const;
  std::string Describe() const;
  // As many steps as the table holds, at most.
  void TrainStride(const ImageSet& images, std::span<const int32_t> indices,
                   std::span<const StepScalars> scalars, std::span<StepResult> results);
  // Puts the next steps of a stride on the stream, as many as have their images together, and
  // returns how many. scalars: none for evaluation.
  size_t Launch(const Sized& sized, const ImageSet& images, std::span<const int32_t> indices,
                size_t batch, std::span<const StepScalars> scalars);
  void ReadLogits(const Sized& sized, std::span<float> logits) const;
  void ReadSpan(const DeviceSpan& span, const float* device, std::span<float> canonical) const;

  const Graph graph_;
  const ProgramOptions options_;
  const SpanLayout layout_;
  Stream stream_;
  const std::unique_ptr<Libraries> libraries_;  // none: our kernels alone
  StepTable table_;
  DataSets data_;
  PinnedMemory host_logits_;
  // The one allocation, and what lies in it.
  DeviceMemory memory_;
  OptimizerSpans spans_;
  float *gradients_ = nullptr, *statistics_ = nullptr, *normalisation_ = nullptr;
  uint8_t* decays_ = nullptr;
  char* transient_ = nullptr;
  std::map<std::pair<int, Mode>, Sized> plans_;
  std::string fingerprint_;
  double step_seconds_ = 0;  // of a full batch, in the last stride
};

}  // namespace trainyard::kernels::cuda
