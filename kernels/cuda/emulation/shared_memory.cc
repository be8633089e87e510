#include "kernels/cuda/emulation/shared_memory.h"

#include <cstring>
#include <functional>
#include <new>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/emulation/sanitizers.h"

namespace trainyard::kernels::cuda::emulation {
namespace {

constexpr size_t kDynamicAlignment = 16;
constexpr int kPoison = 0xff;  // NaN as float and bf16, -1 as an integer

}  // namespace

// The array starts where its own alignment allows and a larger one does not: a vector access to an
// array that was not declared to be aligned for it is then misaligned here, too.
SharedMemory::Array SharedMemory::Allocate(const void* site, size_t bytes, size_t alignment) {
  const Unobserved unobserved;
  char* all =
      static_cast<char*>(::operator new (bytes + alignment, std::align_val_t{2 * alignment}));
#if defined(TRAINYARD_EMULATION_ASAN)
  __asan_poison_memory_region(all, alignment);
#endif
  std::memset(all + alignment, kPoison, bytes);
  return {site, bytes, alignment, all + alignment};
}

void SharedMemory::Free(const Array& array) {
  const Unobserved unobserved;
  char* all = array.data - array.alignment;
#if defined(TRAINYARD_EMULATION_ASAN)
  __asan_unpoison_memory_region(all, array.alignment);
#endif
  ::operator delete (all, std::align_val_t{2 * array.alignment});
}

void SharedMemory::StartLaunch(size_t dynamic_bytes, size_t bytes_max) {
  EndLaunch();
  dynamic_bytes_ = dynamic_bytes;
  bytes_max_ = bytes_max;
  if (dynamic_bytes != 0) arrays_.push_back(Allocate(nullptr, dynamic_bytes, kDynamicAlignment));
}

void SharedMemory::StartBlock() {
  for (Array& array : arrays_) {
    if (kRaceDetector) {  // new memory has no past: blocks do not race for what is each one's own
      Free(array);
      array = Allocate(array.site, array.bytes, array.alignment);
    } else {
      std::memset(array.data, kPoison, array.bytes);
    }
  }
}

void SharedMemory::EndLaunch() {
  for (const Array& array : arrays_) Free(array);
  arrays_.clear();
  static_bytes_ = 0;
}

void* SharedMemory::Static(const void* site, size_t bytes, size_t alignment) {
  for (const Array& array : arrays_) {
    if (array.site == site) return array.data;
  }
  const size_t start = (static_bytes_ + alignment - 1) / alignment * alignment;
  if (start + bytes > kStaticSharedBytesMax) {
    throw Error("the kernel's static shared memory has " + std::to_string(start + bytes) +
                " bytes or more, expected at most " + std::to_string(kStaticSharedBytesMax));
  }
  if (start + bytes + dynamic_bytes_ > bytes_max_) {
    throw Error("the kernel's shared memory has " + std::to_string(start + bytes) +
                " bytes or more of static and " + std::to_string(dynamic_bytes_) +
                " bytes of dynamic memory, expected at most " + std::to_string(bytes_max_) +
                " together");
  }
  static_bytes_ = start + bytes;
  const Unobserved unobserved;
  arrays_.push_back(Allocate(site, bytes, alignment));
  return arrays_.back().data;
}

void* SharedMemory::Dynamic() {
  if (dynamic_bytes_ == 0) {
    throw Error("the kernel uses dynamic shared memory; its launch gives it 0 bytes");
  }
  return arrays_.front().data;
}

bool SharedMemory::Contains(const void* address, size_t bytes) const {
  const char* first = static_cast<const char*>(address);
  for (const Array& array : arrays_) {
    if (!std::less<>()(first, array.data) &&
        !std::less<>()(array.data + array.bytes, first + bytes)) {
      return true;
    }
  }
  return false;
}

}  // namespace trainyard::kernels::cuda::emulation
