// One allocation for everything a step touches.
#pragma once

#include <cstdint>

namespace trainyard::kernels::cpu {

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
