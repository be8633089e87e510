#include "kernels/cuda/emulation/launch.h"

#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cuda/check.h"

namespace trainyard::kernels::cuda::emulation {
namespace {

std::mutex allowed_mutex;
std::map<const void*, size_t>& Allowed() {
  static std::map<const void*, size_t> allowed;
  return allowed;
}

std::string Text(dim3 size) { return emulation::Text(uint3{size.x, size.y, size.z}); }

// Of sm_80 and later.
void CheckShape(dim3 grid, dim3 block) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kThreadsPerBlockMax || block.x > 1024 || block.y > 1024 ||
      block.z > 64) {
    throw Error("a kernel's launch: a block of " + Text(block) +
                " threads, expected 1 to 1024, z at most 64");
  }
  constexpr unsigned kGridXMax = 0x7fffffff, kGridYMax = 65535;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > kGridXMax || grid.y > kGridYMax ||
      grid.z > kGridYMax) {
    throw Error("a kernel's launch: a grid of " + Text(grid) +
                " blocks, expected at least 1, x at most 2147483647, y and z at most 65535");
  }
  // No limit of CUDA, but what nobody would wait for.
  if (uint64_t{grid.x} * grid.y * grid.z > 0xffffffffu) {
    throw Error("a kernel's launch: a grid of " + Text(grid) +
                " blocks is more than the emulated machine can run");
  }
}

}  // namespace

void AllowShared(const void* kernel, size_t dynamic_shared_bytes) {
  if (dynamic_shared_bytes > kSharedBytesMax) {
    throw Error("raising a kernel's shared memory: " + std::to_string(dynamic_shared_bytes) +
                " bytes, expected at most " + std::to_string(kSharedBytesMax));
  }
  const std::lock_guard lock(allowed_mutex);
  Allowed()[kernel] = dynamic_shared_bytes;
}

void EnqueueKernel(const void* kernel, dim3 grid, dim3 block, size_t dynamic_shared_bytes,
                   cudaStream_t stream, std::function<void()> body) {
  CheckShape(grid, block);
  LaunchShape shape{grid, block, dynamic_shared_bytes, kStaticSharedBytesMax};
  size_t dynamic_bytes_max = kStaticSharedBytesMax;
  {
    const std::lock_guard lock(allowed_mutex);
    const auto found = Allowed().find(kernel);
    if (found != Allowed().end()) {
      shape.shared_bytes_max = kSharedBytesMax;
      dynamic_bytes_max = std::max(dynamic_bytes_max, found->second);
    }
  }
  if (dynamic_shared_bytes > dynamic_bytes_max) {
    throw Error("a kernel's launch: " + std::to_string(dynamic_shared_bytes) +
                " bytes of dynamic shared memory, expected at most " +
                std::to_string(dynamic_bytes_max) + ", which AllowShared can raise to " +
                std::to_string(kSharedBytesMax));
  }
  CheckCuda(Enqueue(stream,
                    [shape, body = std::move(body)] { Machine::OfThisThread().Run(shape, body); }),
            "a kernel's launch");
  CheckCuda(cudaGetLastError(), "a kernel's launch");  // as kernels/cuda/launch.h does
}

}  // namespace trainyard::kernels::cuda::emulation
