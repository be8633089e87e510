// A lowered network on the CPU: the state, and one plan for each batch size seen.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/arena.h"
#include "kernels/cpu/batch_loader.h"
#include "kernels/cpu/parameter_layout.h"
#include "kernels/cpu/plan.h"
#include "kernels/cpu/program_state.h"

namespace trainyard::kernels::cpu {

// The revision of what is computed, part of a checkpoint's fingerprint: raised whenever the bytes
// of results change (tests/kernels/cpu/arithmetic_test.cc), so that nobody continues a trial with
// other arithmetic than it began with.
constexpr int kArithmetic = 2;

class CpuProgram : public Program {
 public:
  CpuProgram(const Graph& graph, int threads);

  void SetNormalisation(std::span<const float> mean, std::span<const float> inverse_std) override;
  void WriteState(const ProgramState& state) override;
  void ReadState(ProgramState& state) const override;
  StepResult TrainStep(const ImageSet& images, std::span<const int32_t> indices,
                       const StepScalars& scalars) override;
  void Expect(const ImageSet& images, std::span<const int32_t> indices) override;
  EvaluationResult Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                            std::span<float> logits) override;
  void ReadGradients(std::span<float> gradients) const override;
  int64_t MemoryBytes() const override;
  std::string Fingerprint() const override;
  std::vector<std::string> Explain() const override;

  // Fills everything that a step must not read before writing it with NaN. For tests.
  void PoisonScratch();

  // Seconds spent in each step of the full batch's plan since profiling was switched on, in the
  // optimizer and in waiting for batches.
  void SetProfiling(bool on);
  std::vector<StepTime> Profile() const;
  const BatchLoader::Waits& waits() const { return loader_.waits(); }

 private:
  // A plan for a smaller batch shares the memory, unless it needs more room than the largest one.
  struct Sized {
    std::unique_ptr<Plan> plan;
    Arena own;
  };

  std::unique_ptr<Plan> MakePlan(int batch) const;
  Sized& SizedFor(int batch);
  void Bind(Sized& sized);
  Call CallOf(const ImageSet& images, std::span<const int32_t> indices, const StepScalars* scalars,
              const Plan& plan);
  double Update(const StepScalars& scalars);

  const Graph graph_;
  const int threads_;
  const ParameterLayout layout_;
  std::map<int, Sized> plans_;
  std::unique_ptr<ProgramMemory> memory_;
  BatchLoader loader_;
  // The plan that ran last, if the weights are still those that it ran with.
  const Plan* fresh_ = nullptr;
  bool profiling_ = false;
  double optimizer_seconds_ = 0;
};

}  // namespace trainyard::kernels::cpu
