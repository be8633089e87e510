#include "kernels/cpu/plan.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace trainyard::kernels::cpu {
namespace {

constexpr int64_t kAlignment = 64;  // a cache line

}  // namespace

Place Plan::AddBuffer(int64_t bytes) {
  sizes_.push_back(bytes);
  return {Space::kTransient, static_cast<int64_t>(sizes_.size()) - 1};
}

Place Plan::AddKeptBuffer(int64_t bytes) {
  kept_.push_back(AddBuffer(bytes));
  return kept_.back();
}

void Plan::AddStep(std::string name, std::vector<Place> uses, std::function<void(Call&)> run) {
  steps_.push_back({std::move(name), std::move(uses), std::move(run), 0});
}

void Plan::Finish() {
  std::vector<Lifetime> lifetimes = LifetimesOf(sizes_, steps_);
  for (const Place& place : kept_) {
    lifetimes[place.at].first = 0;
    lifetimes[place.at].last = static_cast<int>(steps_.size());
  }
  memory_ = AssignOffsets(lifetimes, kAlignment);
}

int64_t Plan::scratch_bytes(int threads) const {
  int64_t bytes = 0;
  for (const auto& [floats, items] : scratch_) {
    const int64_t slots = std::min<int64_t>(threads, items);
    bytes = std::max(bytes, slots * OwnPages(floats * int64_t{sizeof(float)}));
  }
  return bytes;
}

void Plan::Bind(const Bases& bases) { bases_ = bases; }

void Plan::Run(Call& call, int begin, int end) {
  using Clock = std::chrono::steady_clock;
  call.bases = bases_;
  call.offsets = memory_.offsets.data();
  for (int s = begin; s < end; ++s) {
    if (!profiling_) {
      steps_[s].run(call);
      continue;
    }
    const Clock::time_point start = Clock::now();
    steps_[s].run(call);
    steps_[s].seconds += std::chrono::duration<double>(Clock::now() - start).count();
  }
}

void Plan::RunForward(Call& call) { Run(call, 0, forward_steps_); }

void Plan::RunBackward(Call& call) { Run(call, forward_steps_, static_cast<int>(steps_.size())); }

std::string Plan::Hash() const {
  std::vector<std::string> names;
  for (const Step& step : steps_) names.push_back(step.name);
  return HashOf(names, {});
}

std::vector<StepTime> Plan::Times() const {
  std::vector<StepTime> times;
  for (const Step& step : steps_) times.push_back({step.name, step.seconds});
  return times;
}

}  // namespace trainyard::kernels::cpu
