// The machine that runs a kernel's blocks, one after the other, and the CUDA threads of a block on
// fibers: a thread runs until it must wait for others, and the schedule says who goes on.
//
// What a kernel does wrong is thrown as kernels::Error from the call that launched it, with the
// block, the threads and the lines concerned. Errors in the use of memory are left to the
// sanitizers: under ThreadSanitizer every CUDA thread is a thread of its own, and only barriers and
// warp operations order one before another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/emulation/copies.h"
#include "kernels/cuda/emulation/fiber.h"
#include "kernels/cuda/emulation/schedule.h"
#include "kernels/cuda/emulation/shared_memory.h"
#include "kernels/cuda/emulation/types.h"
#include "kernels/cuda/emulation/warp.h"

// What CUDA C++ tells a thread of itself.
inline constinit thread_local uint3 threadIdx{}, blockIdx{};
inline constinit thread_local dim3 blockDim{}, gridDim{};

namespace trainyard::kernels::cuda::emulation {

constexpr unsigned kThreadsPerBlockMax = 1024;

struct LaunchShape {
  dim3 grid, block;
  size_t dynamic_shared_bytes = 0;
  size_t shared_bytes_max = kStaticSharedBytesMax;  // of static and dynamic memory together
};

// One CUDA thread, and after it has exited another.
struct CudaThread {
  explicit CudaThread(void (*entry)()) : fiber(entry) {}

  Fiber fiber;
  unsigned index = 0;  // within its block
  uint3 position{};
  // What it waits in, and where; null: it runs or can run.
  const char* waits_in = nullptr;
  Site waits_at;
  const WarpMeeting* meeting = nullptr;
  Copies copies;
};

class Machine {
 public:
  // This OS thread's.
  static Machine& OfThisThread();
  // The one that runs the kernel which asks.
  static Machine& Current() { return *current_machine_; }

  // Runs all threads of all blocks through `body`.
  void Run(const LaunchShape& shape, const std::function<void()>& body);

  // What the running CUDA thread can do.
  void Barrier(const Site& site);
  WarpMeeting& Meet(uint32_t mask, const WarpOperation& operation, const Site& site,
                    const void* value, size_t bytes);
  void Depart(WarpMeeting& meeting) { warp().Depart(meeting, lane()); }
  unsigned lane() const { return running_->index % kLanes; }
  uint32_t live_lanes() { return warp().live(); }
  Copies& copies() { return running_->copies; }
  SharedMemory& shared() { return shared_; }
  // Throws Error(what), with the block and the thread.
  [[noreturn]] void Fail(const std::string& what) const;

 private:
  static void Entry();
  void RunBlock(uint32_t block);
  void RunThreads();
  void Exit();
  CudaThread* Next();
  CudaThread* Start();
  CudaThread* Resume();
  void Wait(const char* operation, const Site& site, const WarpMeeting* meeting);
  void SwitchTo(CudaThread* thread);
  void OpenBarrierIfComplete();
  void CompleteMeeting(WarpMeeting& meeting);
  std::string Deadlock() const;
  CudaThread* IdleThread();
  void AddThread();
  Warp& warp() { return warps_[running_->index / kLanes]; }

  static inline constinit thread_local Machine* current_machine_ = nullptr;

  // Of the launch.
  const std::function<void()>* body_ = nullptr;
  unsigned thread_count_ = 0;
  Random random_{1};
  Edge launched_, finished_;
  std::exception_ptr fault_;

  // Of the block. `ready_` is used from `ready_head_` on.
  SharedMemory shared_;
  std::vector<uint32_t> sequence_;
  unsigned started_ = 0, live_ = 0;
  std::vector<CudaThread*> ready_, at_barrier_;
  size_t ready_head_ = 0;
  uint64_t barriers_ = 0;
  Edge barrier_edges_[2];
  Warp warps_[kThreadsPerBlockMax / kLanes];

  Fiber host_;
  CudaThread* running_ = nullptr;  // null: the host
  std::vector<std::unique_ptr<CudaThread>> threads_;
  std::deque<CudaThread*> idle_;
};

// "(1,2,3)"
std::string Text(uint3 position);
// "kernel.cu:12"
std::string Text(const Site& site);

}  // namespace trainyard::kernels::cuda::emulation
