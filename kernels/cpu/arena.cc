#include "kernels/cpu/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <string>
#include <utility>

#include "kernels/backend.h"

namespace trainyard::kernels::cpu {
namespace {

constexpr int64_t kAlignment = 64;

int64_t RoundUp(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

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
