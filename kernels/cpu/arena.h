// One allocation for everything a step touches, and where in it each buffer lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace trainyard::kernels::cpu {

// A buffer that is needed from step `first` to step `last` (inclusive) of a program.
struct Lifetime {
  int64_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct ArenaPlan {
  std::vector<int64_t> offsets;  // by lifetime, multiples of 64
  int64_t bytes = 0;             // what the arena must hold
};

// Greedy best fit by size: the largest buffer first, each into the smallest gap, among the buffers
// already placed that live at the same time, that holds it. Deterministic. No two buffers whose
// lifetimes meet share a byte.
ArenaPlan AssignOffsets(std::span<const Lifetime> lifetimes);

// Zeroed pages, in huge pages where the system grants them.
class Arena {
 public:
  Arena() = default;
  explicit Arena(int64_t bytes);  // throws Error when they are not to be had
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  char* data() const { return data_; }  // aligned to 4096 bytes
  int64_t bytes() const { return bytes_; }

 private:
  char* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace trainyard::kernels::cpu
