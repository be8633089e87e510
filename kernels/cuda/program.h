// A lowered network on a CUDA device: the state, and for each batch size seen the captured steps.
//
// Everything is enqueued through launchers of our kernels, so the same program runs on a GPU and on
// the emulated machine. A step is one launch of a captured graph: the host writes step block,
// dropout rates and indices into pinned memory, which the graph's first node copies to the device;
// its last node brings loss, correct count and gradient norm back.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/resources.h"
#include "kernels/cuda/spans.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

struct ProgramOptions {
  std::string backend;  // for messages and the fingerprint
  Precision precision{};
  int64_t guard_bytes = 0;  // behind every buffer; for tests
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
  EvaluationResult Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                            std::span<float> logits) override;
  void ReadGradients(std::span<float> gradients) const override;
  int64_t MemoryBytes() const override;  // with the data sets
  std::string Fingerprint() const override;

  // Fills everything that a step must not read before writing it with NaN. For tests.
  void PoisonScratch();
  // Whether the full batch's training step has left all guards as PoisonScratch made them.
  bool GuardsAreWhole() const;
  // What the full batch's training step consists of, in order.
  std::vector<std::string> StepNames() const;

 private:
  enum class Mode { kTraining, kEvaluation };
  // A data set in device memory.
  struct Resident {
    ImageSet set;
    DeviceMemory pixels, labels;
  };
  // A plan for a smaller batch shares the memory of the largest one, unless it needs more.
  struct Sized {
    Plan plan;
    Place logits;
    DeviceMemory own;
    std::map<const Resident*, StepGraph> graphs;
  };
  // What the host writes before a step, one after another in one buffer.
  struct Inputs {
    int64_t rates = 0, indices = 0, bytes = 0;  // offsets; the step block is at 0
  };
  struct Outputs {
    LossResult loss;
    double norm = 0;
  };

  static Inputs LayOutInputs(const Graph& graph);
  Sized MakePlan(int batch, Mode mode) const;
  void Allocate(int64_t transient_bytes);
  Sized& PlanFor(int batch, Mode mode);
  const Resident& Upload(const ImageSet& images);
  // All addresses but those of the data set.
  Call CallOf(const Sized& sized, Mode mode) const;
  void Enqueue(const Sized& sized, const Call& call) const;
  // Launches the step for this batch; its outputs come back with the next synchronisation.
  const Sized& Run(Mode mode, const ImageSet& images, std::span<const int32_t> indices);
  void WriteScalars(const StepScalars& scalars);
  Outputs TakeOutputs() const;
  void ReadLogits(const Sized& sized, std::span<float> logits) const;
  void ReadSpan(const DeviceSpan& span, const float* device, std::span<float> canonical) const;

  const Graph graph_;
  const ProgramOptions options_;
  const SpanLayout layout_;
  const Inputs inputs_;
  Stream stream_;
  PinnedMemory host_inputs_, host_outputs_, host_logits_;
  // The one allocation, and what lies in it.
  DeviceMemory memory_;
  OptimizerSpans spans_;
  float *gradients_ = nullptr, *statistics_ = nullptr, *table_ = nullptr;
  uint8_t* decays_ = nullptr;
  char *device_inputs_ = nullptr, *transient_ = nullptr;
  Outputs* device_outputs_ = nullptr;
  std::vector<std::unique_ptr<Resident>> sets_;
  std::map<std::pair<int, Mode>, Sized> plans_;
};

}  // namespace trainyard::kernels::cuda
