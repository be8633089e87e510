// What the sanitizers have to be told: which memory is nobody's, and which CUDA thread waited for
// which. Nothing of it costs anything in a build without them.
//
// TRAINYARD_EMULATION_TSAN, and not the compiler's own macro, says that ThreadSanitizer is linked:
// the machine's own files are not instrumented, because what it does itself is not the kernels'.
#pragma once

#include <cstddef>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define TRAINYARD_EMULATION_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TRAINYARD_EMULATION_ASAN
#endif
#endif

#if defined(TRAINYARD_EMULATION_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(TRAINYARD_EMULATION_TSAN)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace trainyard::kernels::cuda::emulation {

#if defined(TRAINYARD_EMULATION_TSAN)
constexpr bool kRaceDetector = true;
#else
constexpr bool kRaceDetector = false;
#endif

// While one lives, allocations and copies are the machine's own: no race detector looks at them,
// and memory that is allocated starts without a past.
class Unobserved {
 public:
#if defined(TRAINYARD_EMULATION_TSAN)
  Unobserved() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unobserved() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
#else
  Unobserved() {}
#endif
  Unobserved(const Unobserved&) = delete;
  Unobserved& operator=(const Unobserved&) = delete;
};

// An edge of "happened before": what came before any Release() came before all that follows an
// Acquire(). Renew() forgets all releases, so that one object can serve many meetings.
class Edge {
 public:
#if defined(TRAINYARD_EMULATION_TSAN)
  Edge() { Renew(); }
  ~Edge() { Drop(); }
  void Renew() {
    const Unobserved unobserved;
    Drop();
    cell_ = ::operator new(8);  // the detector forgets an address's releases when it is freed
  }
  void Release() { __tsan_release(cell_); }
  void Acquire() { __tsan_acquire(cell_); }

 private:
  void Drop() {
    const Unobserved unobserved;
    ::operator delete(std::exchange(cell_, nullptr));
  }
  void* cell_ = nullptr;

 public:
#else
  Edge() = default;
  void Renew() {}
  void Release() {}
  void Acquire() {}
#endif
  Edge(const Edge&) = delete;
  Edge& operator=(const Edge&) = delete;
};

}  // namespace trainyard::kernels::cuda::emulation
