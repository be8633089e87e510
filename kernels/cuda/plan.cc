#include "kernels/cuda/plan.h"

#include "kernels/backend.h"
#include "kernels/check.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr int64_t kAlignment = 256;  // as cudaMalloc

}  // namespace

Place Plan::AddBuffer(int64_t bytes) {
  sizes_.push_back(bytes);
  return {Space::kTransient, static_cast<int64_t>(sizes_.size()) - 1};
}

void Plan::AddStep(std::string name, std::vector<Place> uses, std::function<void(const Call&)> run,
                   bool by_library) {
  steps_.push_back({std::move(name), std::move(uses), std::move(run), by_library});
}

void Plan::Finish(int64_t guard_bytes) {
  guard_bytes_ = guard_bytes;
  std::vector<Lifetime> lifetimes = LifetimesOf(sizes_, steps_);
  if (guard_bytes > 0) {
    for (Lifetime& lifetime : lifetimes) {
      lifetime = {lifetime.bytes + guard_bytes, 0, static_cast<int>(steps_.size())};
    }
  }
  memory_ = AssignOffsets(lifetimes, kAlignment);
}

std::vector<Plan::Guard> Plan::Guards() const {
  std::vector<Guard> guards;
  for (size_t i = 0; i < sizes_.size(); ++i) {
    guards.push_back({memory_.offsets[i] + sizes_[i], guard_bytes_});
  }
  return guards;
}

void Plan::Enqueue(Call call) const {
  call.offsets = memory_.offsets.data();
  for (const Step& step : steps_) Run(step, call);
}

void Plan::EnqueueLibrarySteps(Call call) const {
  call.offsets = memory_.offsets.data();
  for (const Step& step : steps_) {
    if (step.by_library) Run(step, call);
  }
}

void Plan::Run(const Step& step, const Call& call) {
  try {
    step.run(call);
  } catch (const Error&) {
    RethrowAt(step.name);
  }
}

std::vector<std::string> Plan::StepNames() const {
  std::vector<std::string> names;
  for (const Step& step : steps_) names.push_back(step.name);
  return names;
}

std::string Plan::Hash() const { return HashOf(StepNames(), memory_); }

}  // namespace trainyard::kernels::cuda
