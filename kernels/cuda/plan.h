// What a program enqueues for one batch size: steps in order, and the memory they work in.
//
// A plan is built once: AddBuffer and AddStep, then Finish, which derives lifetimes from the steps'
// uses and lays the buffers out in one piece of memory. Enqueueing it allocates nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/loss.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/step_block.h"
#include "kernels/cuda/types.h"
#include "kernels/memory_plan.h"

namespace trainyard::kernels::cuda {

// kWeights: the parameters as kernels multiply them, in the plan's element type. In fp32 these are
// the parameters themselves.
enum class Space { kNone, kTransient, kParameters, kWeights, kGradients, kStatistics };

// Where a tensor lies: number of a transient buffer, or offset in elements in one of the spans.
struct Place {
  Space space = Space::kNone;
  int64_t at = 0;
  bool valid() const { return space != Space::kNone; }
  bool transient() const { return space == Space::kTransient; }
  bool operator==(const Place&) const = default;
};

class Libraries;

// What steps read and write: device addresses, which stay the same from step to step.
struct Call {
  cudaStream_t stream = nullptr;
  // The batch.
  const BatchSource* source = nullptr;
  const int32_t* indices = nullptr;
  const float* table = nullptr;  // NormalisationTable
  // What changes from step to step; null for evaluation.
  const StepBlock* step = nullptr;
  const DropoutRate* rates = nullptr;
  // What comes back.
  LossResult* loss = nullptr;
  double* norm = nullptr;
  // Spans.
  OptimizerSpans spans;
  float* gradients = nullptr;
  float* statistics = nullptr;
  void* weights = nullptr;
  // Transient buffers.
  char* transient = nullptr;
  const int64_t* offsets = nullptr;  // set by the plan

  template <typename T = float>
  T* At(Place place) const {
    switch (place.space) {
      case Space::kTransient:
        return reinterpret_cast<T*>(transient + offsets[place.at]);
      case Space::kParameters:
        return reinterpret_cast<T*>(spans.parameters + place.at);
      case Space::kWeights:
        return static_cast<T*>(weights) + place.at;
      case Space::kGradients:
        return reinterpret_cast<T*>(gradients + place.at);
      case Space::kStatistics:
        return reinterpret_cast<T*>(statistics + place.at);
      case Space::kNone:
        break;
    }
    return nullptr;
  }
};

class Plan {
 public:
  // `libraries` (or none: our kernels alone) must outlive the plan.
  explicit Plan(Precision precision, Libraries* libraries = nullptr)
      : precision_(precision), libraries_(libraries) {}

  Precision precision() const { return precision_; }
  Libraries* libraries() const { return libraries_; }
  int element_bytes() const { return precision_ == Precision::kBf16 ? 2 : 4; }

  Place AddBuffer(int64_t bytes);
  Place AddTensor(int64_t elements) { return AddBuffer(elements * element_bytes()); }
  Place AddFloats(int64_t floats) { return AddBuffer(floats * 4); }

  // `uses`: every place that the step reads or writes. `by_library`: one of NVIDIA's computes it.
  void AddStep(std::string name, std::vector<Place> uses, std::function<void(const Call&)> run,
               bool by_library = false);

  // The same for kernels that take the plan's element type: run(call, T{}).
  template <typename Run>
  void AddTypedStep(std::string name, std::vector<Place> uses, Run run, bool by_library = false) {
    std::function<void(const Call&)> typed;
    if (precision_ == Precision::kBf16) {
      typed = [run](const Call& call) { run(call, bf16{}); };
    } else {
      typed = [run](const Call& call) { run(call, float{}); };
    }
    AddStep(std::move(name), std::move(uses), std::move(typed), by_library);
  }

  // With guard bytes, no buffer's memory is used again and each ends in a guard that no step may
  // touch: for tests.
  void Finish(int64_t guard_bytes = 0);
  int64_t transient_bytes() const { return memory_.bytes; }
  struct Guard {
    int64_t offset = 0, bytes = 0;
  };
  std::vector<Guard> Guards() const;

  // The address of a place.
  template <typename T>
  T* At(Call call, Place place) const {
    call.offsets = memory_.offsets.data();
    return call.At<T>(place);
  }

  // Puts all steps on the stream. Throws Error, naming the step, where a kernel refuses it.
  void Enqueue(Call call) const;
  // Only those that a library computes: on whatever lies in their tensors.
  void EnqueueLibrarySteps(Call call) const;

  std::vector<std::string> StepNames() const;
  // See HashOf.
  std::string Hash() const;

 private:
  struct Step {
    std::string name;
    std::vector<Place> uses;
    std::function<void(const Call&)> run;
    bool by_library = false;
  };

  static void Run(const Step& step, const Call& call);

  const Precision precision_;
  Libraries* const libraries_;
  std::vector<int64_t> sizes_;
  std::vector<Step> steps_;
  MemoryPlan memory_;
  int64_t guard_bytes_ = 0;
};

}  // namespace trainyard::kernels::cuda
