#include "kernels/cpu/plan.h"

#include <chrono>

namespace trainyard::kernels::cpu {
namespace {

constexpr int64_t kAlignment = 64;  // a cache line

}  // namespace

Place Plan::AddBuffer(int64_t bytes) {
  sizes_.push_back(bytes);
  return {Space::kTransient, static_cast<int64_t>(sizes_.size()) - 1};
}

void Plan::AddStep(std::string name, std::vector<Place> uses, std::function<void(Call&)> run) {
  steps_.push_back({std::move(name), std::move(uses), std::move(run), nullptr, 0});
}

void Plan::AddPrimitive(std::string name, const dnnl::primitive& primitive,
                        const dnnl::memory::desc& scratchpad, std::vector<Argument> arguments) {
  if (scratchpad.get_size() > 0) {
    const Place place = AddBuffer(static_cast<int64_t>(scratchpad.get_size()));
    arguments.push_back({DNNL_ARG_SCRATCHPAD, scratchpad, place});
  }
  std::vector<Place> uses;
  for (const Argument& argument : arguments) uses.push_back(argument.place);
  auto owned = std::make_unique<Primitive>();
  owned->primitive = primitive;
  owned->arguments = std::move(arguments);
  steps_.push_back({std::move(name), std::move(uses), nullptr, std::move(owned), 0});
}

void Plan::Finish() { memory_ = AssignOffsets(LifetimesOf(sizes_, steps_), kAlignment); }

void Plan::Bind(const Bases& bases) {
  bases_ = bases;
  Call call;
  call.bases = bases;
  call.offsets = memory_.offsets.data();
  for (Step& step : steps_) {
    if (step.primitive == nullptr) continue;
    Primitive& primitive = *step.primitive;
    primitive.memories.clear();
    primitive.bound.clear();
    for (const Argument& argument : primitive.arguments) {
      primitive.memories.emplace_back(argument.desc, engine_, call.At<void*>(argument.place));
      primitive.bound.push_back({argument.id, primitive.memories.back().get()});
    }
  }
}

void Plan::Execute(Step& step, Call& call) {
  if (step.primitive == nullptr) {
    step.run(call);
    return;
  }
  // The C function takes the arguments as they are; the C++ one copies them to the heap first.
  const std::vector<dnnl_exec_arg_t>& bound = step.primitive->bound;
  const dnnl_status_t status = dnnl_primitive_execute(
      step.primitive->primitive.get(), stream_.get(), static_cast<int>(bound.size()), bound.data());
  if (status != dnnl_success) {
    throw Error("cpu: " + step.name + ": oneDNN status " + std::to_string(status));
  }
}

void Plan::Run(Call& call, int begin, int end) {
  using Clock = std::chrono::steady_clock;
  call.bases = bases_;
  call.offsets = memory_.offsets.data();
  for (int s = begin; s < end; ++s) {
    if (!profiling_) {
      Execute(steps_[s], call);
      continue;
    }
    const Clock::time_point start = Clock::now();
    Execute(steps_[s], call);
    steps_[s].seconds += std::chrono::duration<double>(Clock::now() - start).count();
  }
}

void Plan::RunForward(Call& call) { Run(call, 0, forward_steps_); }

void Plan::RunBackward(Call& call) { Run(call, forward_steps_, static_cast<int>(steps_.size())); }

std::string Plan::Hash() const {
  std::vector<std::string> names;
  for (const Step& step : steps_) names.push_back(step.name);
  return HashOf(names, memory_);
}

std::vector<StepTime> Plan::Times() const {
  std::vector<StepTime> times;
  for (const Step& step : steps_) times.push_back({step.name, step.seconds});
  return times;
}

}  // namespace trainyard::kernels::cpu
