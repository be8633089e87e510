// One allocation for everything a step touches.
#pragma once

#include <cstdint>

namespace trainyard::kernels::cpu {

constexpr int64_t kPage = 4096, kHugePage = int64_t{2} << 20;

// Zeroed memory, in huge pages where the system grants them. No page of it is there before
// somebody writes to it, and then it is near the core that did.
class Arena {
 public:
  Arena() = default;
  explicit Arena(int64_t bytes);  // throws Error when they are not to be had
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  // Aligned to a page, and to a huge one where it fills one.
  char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  char* data_ = nullptr;
  int64_t bytes_ = 0;
};

// `bytes` of one thread's own memory, rounded up so that the next thread's begins on another page,
// and on another huge page where this one fills most of one.
int64_t OwnPages(int64_t bytes);

}  // namespace trainyard::kernels::cpu
