// Stacks to switch between: each CUDA thread of a block runs on one, all of them on the OS thread
// that launched the kernel.
#pragma once

#include <cstddef>

namespace trainyard::kernels::cuda::emulation {

class Fiber {
 public:
  // The OS thread itself, on the stack it has.
  Fiber();
  // A new stack. The first switch to it calls `entry`, which must never return.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Continues `to` where it left off, and returns when something switches back to `from`, on which
  // this must be called. Implies no order between the two that a race detector would believe in.
  static void Switch(Fiber& from, Fiber& to);

 private:
  // Enough for any kernel: what a GPU thread keeps in registers and local memory. A guard page lies
  // below.
  static constexpr size_t kStackBytes = 128 * 1024;

  static void Begin();
  void Prepare();
  void BeforeLeaving(Fiber& to);
  void AfterArriving();

  void (*entry_)() = nullptr;
  char* stack_ = nullptr;   // its lowest usable byte; of the OS thread, only for AddressSanitizer
  size_t stack_bytes_ = 0;  // likewise
  char* mapping_ = nullptr;
  void* context_ = nullptr;     // where the stack stands, or a ucontext_t
  void* fake_stack_ = nullptr;  // AddressSanitizer's
  void* tsan_fiber_ = nullptr;  // ThreadSanitizer's
  Fiber* came_from_ = nullptr;
};

}  // namespace trainyard::kernels::cuda::emulation
