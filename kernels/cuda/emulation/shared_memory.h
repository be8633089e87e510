// The shared memory of the block that runs: one exact allocation per array, so that
// AddressSanitizer sees where it ends, full of NaN when a block starts.
#pragma once

#include <cstddef>
#include <vector>

namespace trainyard::kernels::cuda::emulation {

constexpr size_t kStaticSharedBytesMax = 48 * 1024;
constexpr size_t kSharedBytesMax = 99 * 1024;  // what one block may have from sm_80 to sm_121

class SharedMemory {
 public:
  SharedMemory() = default;
  ~SharedMemory() { EndLaunch(); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // `bytes_max`: of static and dynamic memory together.
  void StartLaunch(size_t dynamic_bytes, size_t bytes_max);
  void StartBlock();
  void EndLaunch();

  // The array that is declared at `site`, the same for all threads of a block. Throws Error where
  // all arrays together are too large.
  void* Static(const void* site, size_t bytes, size_t alignment);
  void* Dynamic();
  bool Contains(const void* address, size_t bytes) const;

 private:
  struct Array {
    const void* site;  // null: dynamic memory
    size_t bytes, alignment;
    char* data;
  };
  static Array Allocate(const void* site, size_t bytes, size_t alignment);
  static void Free(const Array& array);

  std::vector<Array> arrays_;
  size_t static_bytes_ = 0, dynamic_bytes_ = 0, bytes_max_ = 0;
};

}  // namespace trainyard::kernels::cuda::emulation
