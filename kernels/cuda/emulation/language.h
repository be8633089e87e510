// What CUDA C++ gives a kernel beyond C++: its keywords, barriers, warp operations and atomics.
//
// Source: NVIDIA, "CUDA C++ Programming Guide", chapter "C++ Language Extensions".
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/emulation/machine.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
// Not kept, as nothing of C++ goes from here to the launch: one with more threads than its kernel's
// bound runs here, and is refused by a GPU.
#define __launch_bounds__(...)

namespace trainyard::kernels::cuda::emulation {

// This lane's part in one operation of its warp, from the moment when all lanes have come.
template <typename T>
class Exchange {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= WarpMeeting::kValueBytes);

 public:
  Exchange(uint32_t mask, const WarpOperation& operation, const Site& site, const T& mine)
      : meeting_(Machine::Current().Meet(mask, operation, site, &mine, sizeof mine)) {}
  ~Exchange() { Machine::Current().Depart(meeting_); }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // What that lane left. Of a lane that did not take part: NaN, -1.
  T operator[](unsigned lane) const {
    T value;
    std::memset(static_cast<void*>(&value), 0xff, sizeof value);
    if (arrived() >> (lane % kLanes) & 1) {
      std::memcpy(static_cast<void*>(&value), meeting_.values[lane % kLanes], sizeof value);
    }
    return value;
  }
  uint32_t arrived() const { return meeting_.arrived; }

 private:
  WarpMeeting& meeting_;
};

// Of a shuffle: this lane's segment of `width` lanes, [first, last].
struct Segment {
  explicit Segment(int width)
      : lane(Machine::Current().lane()),
        first(lane & ~static_cast<unsigned>(width - 1)),
        last(first + static_cast<unsigned>(width) - 1) {
    if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
      Machine::Current().Fail("a shuffle over " + std::to_string(width) +
                              " lanes, expected a power of two up to 32");
    }
  }
  unsigned lane, first, last;
};

template <typename T>
constexpr bool kShuffles = std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8);

// Atomics are relaxed: they order nothing, as on a GPU.
template <typename T, typename Change>
T Atomic(T* address, Change change) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  if constexpr (kRaceDetector) {
    Bits* word = reinterpret_cast<Bits*>(address);
    Bits old = __atomic_load_n(word, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(word, &old,
                                        std::bit_cast<Bits>(T(change(std::bit_cast<T>(old)))),
                                        false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return std::bit_cast<T>(old);
  } else {  // nothing else runs
    const T old = *address;
    *address = T(change(old));
    return old;
  }
}

}  // namespace trainyard::kernels::cuda::emulation

#define TRAINYARD_SITE                               \
  ::trainyard::kernels::cuda::emulation::Site site = \
      ::trainyard::kernels::cuda::emulation::Site::current()
#define TRAINYARD_OPERATION \
  static constexpr ::trainyard::kernels::cuda::emulation::WarpOperation kOperation

inline void __syncthreads(TRAINYARD_SITE) {
  ::trainyard::kernels::cuda::emulation::Machine::Current().Barrier(site);
}

inline void __syncwarp(unsigned mask = 0xffffffffu, TRAINYARD_SITE) {
  TRAINYARD_OPERATION{"__syncwarp"};
  ::trainyard::kernels::cuda::emulation::Exchange<char>(mask, kOperation, site, 0);
}

// The lanes that have not exited: a GPU may name fewer.
inline unsigned __activemask() {
  return ::trainyard::kernels::cuda::emulation::Machine::Current().live_lanes();
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, TRAINYARD_SITE) {
  static_assert(::trainyard::kernels::cuda::emulation::kShuffles<T>);
  TRAINYARD_OPERATION{"__shfl_sync"};
  const ::trainyard::kernels::cuda::emulation::Segment segment(width);
  const ::trainyard::kernels::cuda::emulation::Exchange<T> lanes(mask, kOperation, site, value);
  return lanes[segment.first + (static_cast<unsigned>(source) & static_cast<unsigned>(width - 1))];
}

template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, TRAINYARD_SITE) {
  static_assert(::trainyard::kernels::cuda::emulation::kShuffles<T>);
  TRAINYARD_OPERATION{"__shfl_up_sync"};
  const ::trainyard::kernels::cuda::emulation::Segment segment(width);
  const ::trainyard::kernels::cuda::emulation::Exchange<T> lanes(mask, kOperation, site, value);
  return lanes[segment.lane - segment.first >= distance ? segment.lane - distance : segment.lane];
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, TRAINYARD_SITE) {
  static_assert(::trainyard::kernels::cuda::emulation::kShuffles<T>);
  TRAINYARD_OPERATION{"__shfl_down_sync"};
  const ::trainyard::kernels::cuda::emulation::Segment segment(width);
  const ::trainyard::kernels::cuda::emulation::Exchange<T> lanes(mask, kOperation, site, value);
  return lanes[segment.last - segment.lane >= distance ? segment.lane + distance : segment.lane];
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, TRAINYARD_SITE) {
  static_assert(::trainyard::kernels::cuda::emulation::kShuffles<T>);
  TRAINYARD_OPERATION{"__shfl_xor_sync"};
  const ::trainyard::kernels::cuda::emulation::Segment segment(width);
  const ::trainyard::kernels::cuda::emulation::Exchange<T> lanes(mask, kOperation, site, value);
  const unsigned source = segment.lane ^ static_cast<unsigned>(bits);
  return lanes[source <= segment.last ? source : segment.lane];
}

inline unsigned __ballot_sync(unsigned mask, int predicate, TRAINYARD_SITE) {
  TRAINYARD_OPERATION{"__ballot_sync"};
  const ::trainyard::kernels::cuda::emulation::Exchange<int> lanes(mask, kOperation, site,
                                                                   predicate);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (lanes.arrived() >> lane & 1 && lanes[lane] != 0) votes |= 1u << lane;
  }
  return votes;
}

inline int __any_sync(unsigned mask, int predicate, TRAINYARD_SITE) {
  return __ballot_sync(mask, predicate, site) != 0;
}

inline int __all_sync(unsigned mask, int predicate, TRAINYARD_SITE) {
  return __ballot_sync(mask, !predicate, site) == 0;
}

#undef TRAINYARD_SITE
#undef TRAINYARD_OPERATION

template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return ::trainyard::kernels::cuda::emulation::Atomic(address, [=](T old) { return old + value; });
}
template <typename T>
T atomicSub(T* address, std::type_identity_t<T> value) {
  return ::trainyard::kernels::cuda::emulation::Atomic(address, [=](T old) { return old - value; });
}
template <typename T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return ::trainyard::kernels::cuda::emulation::Atomic(
      address, [=](T old) { return old < value ? old : value; });
}
template <typename T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return ::trainyard::kernels::cuda::emulation::Atomic(
      address, [=](T old) { return old > value ? old : value; });
}
template <typename T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return ::trainyard::kernels::cuda::emulation::Atomic(address, [=](T old) { return old | value; });
}
template <typename T>
T atomicXor(T* address, std::type_identity_t<T> value) {
  return ::trainyard::kernels::cuda::emulation::Atomic(address, [=](T old) { return old ^ value; });
}
template <typename T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return ::trainyard::kernels::cuda::emulation::Atomic(
      address, [=](T old) { return old == expected ? value : old; });
}
