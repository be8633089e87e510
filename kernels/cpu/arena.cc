#include "kernels/cpu/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "kernels/backend.h"

namespace trainyard::kernels::cpu {
namespace {

constexpr int64_t kAlignment = 64;

int64_t RoundUp(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

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

ArenaPlan AssignOffsets(std::span<const Lifetime> lifetimes) {
  std::vector<int> order(lifetimes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  ArenaPlan plan;
  plan.offsets.assign(lifetimes.size(), 0);
  std::vector<int> placed;
  std::vector<Taken> taken;
  for (int id : order) {
    const int64_t bytes = RoundUp(lifetimes[id].bytes);
    taken.clear();
    for (int other : placed) {
      if (!Meet(lifetimes[id], lifetimes[other])) continue;
      taken.push_back({plan.offsets[other], plan.offsets[other] + RoundUp(lifetimes[other].bytes)});
    }
    std::sort(taken.begin(), taken.end(),
              [](const Taken& a, const Taken& b) { return a.begin < b.begin; });
    plan.offsets[id] = BestGap(taken, bytes);
    plan.bytes = std::max(plan.bytes, plan.offsets[id] + bytes);
    placed.push_back(id);
  }
  return plan;
}

Arena::Arena(int64_t bytes) : bytes_(std::max<int64_t>(RoundUp(bytes), kAlignment)) {
  void* memory = mmap(nullptr, static_cast<size_t>(bytes_), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error("cpu: " + std::to_string(bytes_ >> 20) + " MiB of memory are not to be had");
  }
  data_ = static_cast<char*>(memory);
  // Only advice: without huge pages the program is a little slower and just as right.
  madvise(data_, static_cast<size_t>(bytes_), MADV_HUGEPAGE);
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(bytes_));
}

Arena::Arena(Arena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace trainyard::kernels::cpu
