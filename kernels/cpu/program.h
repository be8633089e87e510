// A lowered network on the CPU: the state, and one plan for each batch size seen.
#pragma once

#include <dnnl.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/arena.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/plan.h"

namespace trainyard::kernels::cpu {

class CpuProgram : public Program {
 public:
  CpuProgram(const Graph& graph, int threads);

  void SetNormalisation(std::span<const float> mean, std::span<const float> inverse_std) override;
  void WriteState(const ProgramState& state) override;
  void ReadState(ProgramState& state) const override;
  StepResult TrainStep(const ImageSet& images, std::span<const int32_t> indices,
                       const StepScalars& scalars) override;
  EvaluationResult Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                            std::span<float> logits) override;
  void ReadGradients(std::span<float> gradients) const override;
  int64_t MemoryBytes() const override;
  std::string Fingerprint() const override;

  // Fills everything that a step must not read before writing it with NaN. For tests.
  void PoisonScratch();

  // Seconds spent in each step of the full batch's plan since profiling was switched on.
  void SetProfiling(bool on);
  std::vector<StepTime> Profile() const;

 private:
  // A run of parameters of one slice that one thread updates at a time.
  struct Chunk {
    int64_t offset = 0, size = 0;
    bool decays = false;
  };
  // A plan for a smaller batch shares the arena, unless it needs more room than the largest one.
  struct Sized {
    std::unique_ptr<Plan> plan;
    Arena own;
  };

  void CutChunks();
  int64_t MeanChunk() const;
  std::unique_ptr<Plan> MakePlan(int batch);
  Plan& PlanFor(int batch);
  double GradientNorm();
  void Update(const StepScalars& scalars, double gradient_norm);

  const Graph graph_;
  const int threads_;
  const dnnl::engine engine_;
  const dnnl::stream stream_;
  const Loops& loops_;
  std::map<int, Sized> plans_;
  Arena arena_;
  // Flat spans at the arena's start.
  float *parameters_ = nullptr, *gradients_ = nullptr, *moment1_ = nullptr, *moment2_ = nullptr;
  float* statistics_ = nullptr;
  char* transient_ = nullptr;
  std::vector<Chunk> chunks_;
  std::vector<double> partial_;  // one a chunk
  std::vector<float> table_;
  // Whether a parameter, statistic or input factor is not finite. A fused ReLU turns NaN to 0, so
  // without this a lost network could look healthy.
  bool state_lost_ = false;
  bool table_lost_ = false;
};

}  // namespace trainyard::kernels::cpu
