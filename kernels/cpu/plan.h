// What a program runs for one batch size: steps in order, and the memory they work in.
//
// A plan is built once: AddBuffer and AddStep, then Finish, which derives lifetimes from the steps'
// uses and lays the buffers out, then Bind, which fixes addresses. Running it allocates nothing.
#pragma once

#include <cstdint>
#include <dnnl.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "kernels/memory_plan.h"

namespace trainyard::kernels::cpu {

enum class Space { kNone, kTransient, kParameters, kGradients, kStatistics };

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
};

// What one call hands to the steps, and what they hand back.
struct Call {
  bool training = false;
  const StepScalars* scalars = nullptr;  // training only
  const ImageSet* images = nullptr;
  std::span<const int32_t> indices;
  const float* table = nullptr;  // NormalisationTable
  std::span<float> logits;       // evaluation only
  double loss_sum = 0;           // out
  int64_t correct = 0;           // out
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
      case Space::kNone:
        break;
    }
    return nullptr;
  }
};

// One argument of a oneDNN primitive.
struct Argument {
  int id = 0;  // DNNL_ARG_*
  dnnl::memory::desc desc;
  Place place;
};

struct StepTime {
  std::string name;
  double seconds = 0;
};

class Plan {
 public:
  Plan(const dnnl::engine& engine, const dnnl::stream& stream) : engine_(engine), stream_(stream) {}

  Place AddBuffer(int64_t bytes);
  // A step of our own. `uses`: every place that it reads or writes.
  void AddStep(std::string name, std::vector<Place> uses, std::function<void(Call&)> run);
  // A oneDNN primitive. A scratchpad of its own is added where `scratchpad` is not empty.
  void AddPrimitive(std::string name, const dnnl::primitive& primitive,
                    const dnnl::memory::desc& scratchpad, std::vector<Argument> arguments);
  // Steps added from here on belong to the backward pass.
  void BeginBackward() { forward_steps_ = static_cast<int>(steps_.size()); }

  void Finish();
  int64_t transient_bytes() const { return memory_.bytes; }
  void Bind(const Bases& bases);

  void RunForward(Call& call);
  void RunBackward(Call& call);

  // See HashOf.
  std::string Hash() const;
  void set_profiling(bool on) { profiling_ = on; }
  std::vector<StepTime> Times() const;

 private:
  struct Primitive {
    dnnl::primitive primitive;
    std::vector<Argument> arguments;
    std::vector<dnnl::memory> memories;
    std::vector<dnnl_exec_arg_t> bound;
  };
  struct Step {
    std::string name;
    std::vector<Place> uses;
    std::function<void(Call&)> run;
    std::unique_ptr<Primitive> primitive;
    double seconds = 0;
  };
  void Run(Call& call, int begin, int end);
  void Execute(Step& step, Call& call);

  dnnl::engine engine_;
  dnnl::stream stream_;
  std::vector<int64_t> sizes_;
  std::vector<Step> steps_;
  int forward_steps_ = 0;
  MemoryPlan memory_;
  Bases bases_;
  bool profiling_ = false;
};

}  // namespace trainyard::kernels::cpu
