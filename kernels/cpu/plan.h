// What a program runs for one batch size: steps in order, and the memory they work in.
//
// A plan is built once: AddBuffer and AddStep, then Finish, which derives lifetimes from the steps'
// uses and lays the buffers out, then Bind, which fixes addresses. Running it allocates nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/arena.h"
#include "kernels/cpu/thread_scratch.h"
#include "kernels/memory_plan.h"

namespace trainyard::kernels::cpu {

enum class Space { kNone, kTransient, kInput, kParameters, kGradients, kStatistics };

// Where a tensor lies: number of a transient buffer, or offset in floats in one of the flat spans.
struct Place {
  Space space = Space::kNone;
  int64_t at = 0;
  bool valid() const { return space != Space::kNone; }
  bool transient() const { return space == Space::kTransient; }
  bool operator==(const Place&) const = default;
};

// Addresses of the spaces.
struct Bases {
  char* transient = nullptr;
  float* parameters = nullptr;
  float* gradients = nullptr;
  float* statistics = nullptr;
  float* scratch = nullptr;
};

// What one call hands to the steps, and what they hand back.
struct Call {
  bool training = false;
  // Whether the weights are those that this plan last ran with, so that what was made of them
  // holds.
  bool weights_kept = false;
  const StepScalars* scalars = nullptr;  // training only
  const float* input = nullptr;          // (batch, channels, height, width), normalised
  const ImageSet* images = nullptr;
  std::span<const int32_t> indices;
  std::span<float> logits;  // evaluation only
  double loss_sum = 0;      // out
  int64_t correct = 0;      // out
  // Set by the plan.
  Bases bases;
  const int64_t* offsets = nullptr;

  template <typename T = float>
  T* At(Place place) const {
    switch (place.space) {
      case Space::kTransient:
        return reinterpret_cast<T*>(bases.transient + offsets[place.at]);
      case Space::kParameters:
        return reinterpret_cast<T*>(bases.parameters + place.at);
      case Space::kGradients:
        return reinterpret_cast<T*>(bases.gradients + place.at);
      case Space::kStatistics:
        return reinterpret_cast<T*>(bases.statistics + place.at);
      case Space::kInput:
      case Space::kNone:
        break;
    }
    return nullptr;
  }
  // `floats` for each thread: a step's own until it ends.
  ThreadScratch Scratch(int64_t floats) const {
    const int64_t bytes = OwnPages(floats * int64_t{sizeof(float)});
    return {bases.scratch, bytes / int64_t{sizeof(float)}};
  }
  // As At, for what is only read.
  const float* Read(Place place) const {
    return place.space == Space::kInput ? input : At<const float>(place);
  }
};

struct StepTime {
  std::string name;
  double seconds = 0;
};

class Plan {
 public:
  Place AddBuffer(int64_t bytes);
  // One that no other shares memory with: what a step leaves in it is there in the next call.
  Place AddKeptBuffer(int64_t bytes);
  // `uses`: every place that it reads or writes.
  void AddStep(std::string name, std::vector<Place> uses, std::function<void(Call&)> run);
  // A step asks for Call::Scratch of that many floats, and spreads at most so many items over
  // threads. All steps share it.
  void NeedScratch(int64_t floats, int64_t items) { scratch_.push_back({floats, items}); }
  // Steps added from here on belong to the backward pass.
  void BeginBackward() { forward_steps_ = static_cast<int>(steps_.size()); }
  // A line for people: what computes which op.
  void Explain(std::string line) { explanation_.push_back(std::move(line)); }

  void Finish();
  int64_t transient_bytes() const { return memory_.bytes; }
  int64_t scratch_bytes(int threads) const;
  void Bind(const Bases& bases);

  void RunForward(Call& call);
  void RunBackward(Call& call);

  // Of the steps' names, which say how each op is computed. Where buffers lie changes no bytes.
  std::string Hash() const;
  void set_profiling(bool on) { profiling_ = on; }
  std::vector<StepTime> Times() const;
  const std::vector<std::string>& explanation() const { return explanation_; }

 private:
  struct Step {
    std::string name;
    std::vector<Place> uses;
    std::function<void(Call&)> run;
    double seconds = 0;
  };
  struct ScratchNeed {
    int64_t floats = 0, items = 0;
  };
  void Run(Call& call, int begin, int end);

  std::vector<int64_t> sizes_;
  std::vector<Place> kept_;
  std::vector<Step> steps_;
  std::vector<std::string> explanation_;
  int forward_steps_ = 0;
  std::vector<ScratchNeed> scratch_;
  MemoryPlan memory_;
  Bases bases_;
  bool profiling_ = false;
};

}  // namespace trainyard::kernels::cpu
