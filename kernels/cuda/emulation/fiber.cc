#include "kernels/cuda/emulation/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#include "kernels/cuda/emulation/sanitizers.h"

#if !defined(__x86_64__) && !defined(TRAINYARD_EMULATION_UCONTEXT)
#define TRAINYARD_EMULATION_UCONTEXT
#endif
#if defined(TRAINYARD_EMULATION_UCONTEXT)
#include <ucontext.h>
#else
// Pushes what a function must preserve, leaves the stack pointer at *save and continues at `load`.
extern "C" void trainyard_switch_stack(void** save, void* load);
asm(R"(
.text
.p2align 4
.type trainyard_switch_stack, @function
trainyard_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size trainyard_switch_stack, .-trainyard_switch_stack
)");
#endif

namespace trainyard::kernels::cuda::emulation {
namespace {

constinit thread_local Fiber* arriving = nullptr;

[[maybe_unused]] constexpr unsigned kNoOrder = 1;  // of __tsan_switch_to_fiber

}  // namespace

Fiber::Fiber() {
#if defined(TRAINYARD_EMULATION_UCONTEXT)
  context_ = new ucontext_t;
#endif
}

Fiber::Fiber(void (*entry)()) : entry_(entry) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* mapping = mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED || mprotect(mapping, page, PROT_NONE) != 0) throw std::bad_alloc();
  mapping_ = static_cast<char*>(mapping);
  stack_ = mapping_ + page;
  stack_bytes_ = kStackBytes;
  Prepare();
#if defined(TRAINYARD_EMULATION_TSAN)
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#if defined(TRAINYARD_EMULATION_UCONTEXT)
  delete static_cast<ucontext_t*>(context_);
#endif
  if (mapping_ == nullptr) return;
#if defined(TRAINYARD_EMULATION_ASAN)
  __asan_unpoison_memory_region(stack_, stack_bytes_);
#endif
#if defined(TRAINYARD_EMULATION_TSAN)
  // What ran here comes before what its destroyer does. ThreadSanitizer's fiber stays: it may not
  // be destroyed in the middle of a function, where the CUDA threads of a kernel that failed are.
  void* destroyer = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_fiber_, kNoOrder);
  __tsan_switch_to_fiber(destroyer, 0);
#endif
  munmap(mapping_, kStackBytes + static_cast<size_t>(stack_ - mapping_));
}

void Fiber::Prepare() {
  // The stacks' tops are staggered, or all would compete for the same few sets of the cache.
  static thread_local uintptr_t count = 0;
  char* top = stack_ + stack_bytes_ - 64 - count++ % 61 * 320;
#if defined(TRAINYARD_EMULATION_UCONTEXT)
  ucontext_t* context = new ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack_;
  context->uc_stack.ss_size = static_cast<size_t>(top - stack_);
  context->uc_link = nullptr;
  makecontext(context, &Fiber::Begin, 0);
  context_ = context;
#else
  void** frame = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t{15});
  *--frame = nullptr;  // Begin's return address: the end of every backtrace
  *--frame = reinterpret_cast<void*>(&Fiber::Begin);
  constexpr int kPreserved = 6;
  for (int i = 0; i < kPreserved; ++i) *--frame = nullptr;
  context_ = frame;
#endif
}

void Fiber::Begin() {
  Fiber& self = *arriving;
  self.AfterArriving();
  self.entry_();
}

void Fiber::BeforeLeaving([[maybe_unused]] Fiber& to) {
#if defined(TRAINYARD_EMULATION_ASAN)
  to.came_from_ = this;
  __sanitizer_start_switch_fiber(&fake_stack_, to.stack_, to.stack_bytes_);
#endif
#if defined(TRAINYARD_EMULATION_TSAN)
  if (tsan_fiber_ == nullptr) tsan_fiber_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(to.tsan_fiber_, kNoOrder);
#endif
}

void Fiber::AfterArriving() {
#if defined(TRAINYARD_EMULATION_ASAN)
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fake_stack_, &bottom, &bytes);
  if (came_from_->mapping_ == nullptr) {
    came_from_->stack_ = static_cast<char*>(const_cast<void*>(bottom));
    came_from_->stack_bytes_ = bytes;
  }
#endif
}

void Fiber::Switch(Fiber& from, Fiber& to) {
  arriving = &to;
  from.BeforeLeaving(to);
#if defined(TRAINYARD_EMULATION_UCONTEXT)
  swapcontext(static_cast<ucontext_t*>(from.context_), static_cast<ucontext_t*>(to.context_));
#else
  trainyard_switch_stack(&from.context_, to.context_);
#endif
  from.AfterArriving();
}

}  // namespace trainyard::kernels::cuda::emulation
