// Where in one allocation each buffer of a program lies.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace trainyard::kernels {

// A buffer that is needed from step `first` to step `last` (inclusive) of a program.
struct Lifetime {
  int64_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct MemoryPlan {
  std::vector<int64_t> offsets;  // by lifetime, multiples of the alignment
  int64_t bytes = 0;             // what the allocation must hold
};

// Greedy best fit by size: the largest buffer first, each into the smallest gap, among the buffers
// already placed that live at the same time, that holds it. Deterministic. No two buffers whose
// lifetimes meet share a byte.
MemoryPlan AssignOffsets(std::span<const Lifetime> lifetimes, int64_t alignment);

// From the first step that uses a buffer to the last. A step's uses are places, of which the
// transient ones are `at` buffers' numbers. A buffer that no step uses meets no other.
template <typename Steps>
std::vector<Lifetime> LifetimesOf(std::span<const int64_t> sizes, const Steps& steps) {
  const int count = static_cast<int>(steps.size());
  std::vector<Lifetime> lifetimes;
  for (int64_t bytes : sizes) lifetimes.push_back({bytes, count, -1});
  for (int s = 0; s < count; ++s) {
    for (const auto& place : steps[s].uses) {
      if (!place.transient()) continue;
      Lifetime& lifetime = lifetimes[place.at];
      lifetime.first = std::min(lifetime.first, s);
      lifetime.last = std::max(lifetime.last, s);
    }
  }
  return lifetimes;
}

// The names of a program's steps and its buffers' offsets in 16 digits: programs that differ give
// others.
std::string HashOf(std::span<const std::string> step_names, const MemoryPlan& memory);

}  // namespace trainyard::kernels
