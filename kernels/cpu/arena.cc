#include "kernels/cpu/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <string>
#include <utility>

#include "kernels/backend.h"

namespace trainyard::kernels::cpu {
namespace {

int64_t RoundUp(int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; }

// Starts at a multiple of `alignment`, of which `bytes` is one too; null if there is no room.
char* Map(int64_t bytes, int64_t alignment) {
  const int64_t mapped = bytes + alignment - kPage;
  void* memory = mmap(nullptr, static_cast<size_t>(mapped), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  char* start = static_cast<char*>(memory);
  const int64_t before = -reinterpret_cast<intptr_t>(start) & (alignment - 1);
  const int64_t after = mapped - before - bytes;
  if (before > 0) munmap(start, static_cast<size_t>(before));
  if (after > 0) munmap(start + before + bytes, static_cast<size_t>(after));
  return start + before;
}

}  // namespace

Arena::Arena(int64_t bytes) {
  const int64_t page = bytes < kHugePage ? kPage : kHugePage;
  bytes_ = RoundUp(std::max<int64_t>(bytes, 1), page);
  data_ = Map(bytes_, page);
  if (data_ == nullptr) {
    throw Error("cpu: " + std::to_string(bytes_ >> 20) + " MiB of memory are not to be had");
  }
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

int64_t OwnPages(int64_t bytes) {
  return RoundUp(bytes, bytes > kHugePage / 2 ? kHugePage : kPage);
}

}  // namespace trainyard::kernels::cpu
