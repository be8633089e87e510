#include "kernels/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "kernels/hash.h"

namespace trainyard::kernels {
namespace {

bool Meet(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

struct Taken {
  int64_t begin = 0, end = 0;
};

// The start of the smallest gap between `taken` (sorted by begin) that holds `bytes`, or the end.
int64_t BestGap(const std::vector<Taken>& taken, int64_t bytes) {
  int64_t end = 0, best = -1, best_size = 0;
  for (const Taken& t : taken) {
    const int64_t gap = t.begin - end;
    if (gap >= bytes && (best < 0 || gap < best_size)) {
      best = end;
      best_size = gap;
    }
    end = std::max(end, t.end);
  }
  return best < 0 ? end : best;
}

}  // namespace

MemoryPlan AssignOffsets(std::span<const Lifetime> lifetimes, int64_t alignment) {
  auto round_up = [alignment](int64_t bytes) {
    return (bytes + alignment - 1) / alignment * alignment;
  };
  std::vector<int> order(lifetimes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  MemoryPlan plan;
  plan.offsets.assign(lifetimes.size(), 0);
  std::vector<int> placed;
  std::vector<Taken> taken;
  for (int id : order) {
    const int64_t bytes = round_up(lifetimes[id].bytes);
    taken.clear();
    for (int other : placed) {
      if (!Meet(lifetimes[id], lifetimes[other])) continue;
      const int64_t begin = plan.offsets[other];
      taken.push_back({begin, begin + round_up(lifetimes[other].bytes)});
    }
    std::sort(taken.begin(), taken.end(),
              [](const Taken& a, const Taken& b) { return a.begin < b.begin; });
    plan.offsets[id] = BestGap(taken, bytes);
    plan.bytes = std::max(plan.bytes, plan.offsets[id] + bytes);
    placed.push_back(id);
  }
  return plan;
}

std::string HashOf(std::span<const std::string> step_names, const MemoryPlan& memory) {
  Fnv1a hash;
  for (const std::string& name : step_names) hash.Add(name);
  hash.Add(memory.offsets.data(), memory.offsets.size() * sizeof(int64_t));
  return hash.Digits();
}

}  // namespace trainyard::kernels
