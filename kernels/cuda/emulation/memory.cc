// The memory functions of runtime.h.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <new>

#include "kernels/check.h"
#include "kernels/cuda/emulation/capture.h"
#include "kernels/cuda/emulation/faults.h"
#include "kernels/cuda/emulation/runtime.h"
#include "kernels/cuda/emulation/sanitizers.h"

namespace trainyard::kernels::cuda::emulation {
namespace {

constexpr std::align_val_t kAlignment{256};
constexpr int kPoison = 0xff;

// What is allocated, by kind of memory. Addresses are kept inverted: a leak checker must not find
// them here.
class Allocations {
 public:
  cudaError_t Allocate(void** memory, size_t bytes) {
    if (memory == nullptr) return cudaErrorInvalidValue;
    *memory = nullptr;
    if (bytes == 0) return cudaSuccess;
    *memory = ::operator new(bytes, kAlignment, std::nothrow);
    if (*memory == nullptr) return cudaErrorMemoryAllocation;
    std::memset(*memory, kPoison, bytes);
    const std::lock_guard lock(mutex_);
    bytes_[~reinterpret_cast<uintptr_t>(*memory)] = bytes;
    total_ += bytes;
    return cudaSuccess;
  }

  cudaError_t Free(void* memory) {
    if (memory == nullptr) return cudaSuccess;
    {
      const std::lock_guard lock(mutex_);
      const auto found = bytes_.find(~reinterpret_cast<uintptr_t>(memory));
      const bool known = found != bytes_.end();
      if (known) {
        total_ -= found->second;
        bytes_.erase(found);
      }
#if !defined(TRAINYARD_EMULATION_ASAN)  // which else tells where it was allocated and freed before
      if (!known) return cudaErrorInvalidValue;
#else
      (void)known;
#endif
    }
    ::operator delete(memory, kAlignment);
    return cudaSuccess;
  }

  size_t total() {
    const std::lock_guard lock(mutex_);
    return total_;
  }

  bool Contain(const void* memory) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(memory);
    const std::lock_guard lock(mutex_);
    const auto found = bytes_.lower_bound(~address);  // the highest start that is not above it
    return found != bytes_.end() && address - ~found->first < found->second;
  }

 private:
  std::mutex mutex_;
  std::map<uintptr_t, size_t> bytes_;
  size_t total_ = 0;
};

// Never destroyed: other static objects may free memory later.
Allocations& Device() {
  static Allocations& allocations = *new Allocations;
  return allocations;
}
Allocations& PinnedHost() {
  static Allocations& allocations = *new Allocations;
  return allocations;
}

bool DirectionIsRight(const void* to, const void* from, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDefault) return true;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return Device().Contain(to) == to_device && Device().Contain(from) == from_device;
}

}  // namespace
}  // namespace trainyard::kernels::cuda::emulation

using namespace trainyard::kernels::cuda::emulation;

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  *total_bytes = device_bytes;
  if (*total_bytes == 0) *total_bytes = static_cast<size_t>(trainyard::kernels::MemoryLimit());
  *free_bytes = *total_bytes - std::min<size_t>(*total_bytes, Device().total());
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  if (const cudaError_t refused = RefuseInCapture(); refused != cudaSuccess) return refused;
  const size_t limit = device_bytes, taken = Device().total();
  if (limit != 0 && bytes + taken > limit) return Note(cudaErrorMemoryAllocation);
  return Note(Device().Allocate(memory, bytes));
}

cudaError_t cudaFree(void* memory) {
  if (fault == cudaSuccess) {
    if (const cudaError_t refused = RefuseInCapture(); refused != cudaSuccess) return refused;
  }
  FinishStreams();  // which CUDA does too
  const cudaError_t freed = Note(Device().Free(memory));
  return freed != cudaSuccess ? freed : NoteFault();
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  if (const cudaError_t refused = RefuseInCapture(); refused != cudaSuccess) return refused;
  return Note(PinnedHost().Allocate(memory, bytes));
}

cudaError_t cudaFreeHost(void* memory) {
  if (fault == cudaSuccess) {
    if (const cudaError_t refused = RefuseInCapture(); refused != cudaSuccess) return refused;
  }
  const cudaError_t freed = Note(PinnedHost().Free(memory));
  return freed != cudaSuccess ? freed : NoteFault();
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t refused = RefuseInCapture(); refused != cudaSuccess) return refused;
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (to == nullptr || from == nullptr) return Note(cudaErrorInvalidValue);
  if (!DirectionIsRight(to, from, kind)) return Note(cudaErrorInvalidMemcpyDirection);
  return Note(Enqueue(stream, [=] { std::memcpy(to, from, bytes); }));
}

cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  if (const cudaError_t refused = RefuseInCapture(); refused != cudaSuccess) return refused;
  return cudaMemsetAsync(memory, value, bytes, nullptr);
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!Device().Contain(memory)) return Note(cudaErrorInvalidValue);
  return Note(Enqueue(stream, [=] { std::memset(memory, value, bytes); }));
}
