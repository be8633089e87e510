// cpu_peaks [THREADS]: what this machine's CPU can do, as the measure of what the engine does.
// Prints {"target", "lanes", "fma": [{"threads", "flops"}], "triad": [{"from", "threads", "bytes",
// "bytes_per_second"}]}: fp32 multiply-adds out of registers with the widest vectors, and the triad
// a = b + s c (McCalpin's STREAM) over arrays that lie in L3 or in DRAM, on 1 and on all threads.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/kernels/cpu_peaks.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // keep before highway.h
#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
constexpr int kChains = 12;

// kChains independent chains hide the latency of an FMA, and leave registers for the factors
// everywhere. Each is a variable of its own, so that none lives in memory. Returns their sum.
float MultiplyAdd(int64_t repeats) {
  const hn::ScalableTag<float> d;
  const auto x = hn::Set(d, 0.999f), y = hn::Set(d, 0.001f);
  auto a = hn::Iota(d, 0), b = hn::Iota(d, 1), c = hn::Iota(d, 2), e = hn::Iota(d, 3);
  auto f = hn::Iota(d, 4), g = hn::Iota(d, 5), h = hn::Iota(d, 6), i = hn::Iota(d, 7);
  auto j = hn::Iota(d, 8), k = hn::Iota(d, 9), l = hn::Iota(d, 10), m = hn::Iota(d, 11);
  for (int64_t n = 0; n < repeats; ++n) {
    a = hn::MulAdd(a, x, y), b = hn::MulAdd(b, x, y), c = hn::MulAdd(c, x, y);
    e = hn::MulAdd(e, x, y), f = hn::MulAdd(f, x, y), g = hn::MulAdd(g, x, y);
    h = hn::MulAdd(h, x, y), i = hn::MulAdd(i, x, y), j = hn::MulAdd(j, x, y);
    k = hn::MulAdd(k, x, y), l = hn::MulAdd(l, x, y), m = hn::MulAdd(m, x, y);
  }
  const auto sum =
      hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, e)), hn::Add(hn::Add(f, g), hn::Add(h, i)));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(sum, hn::Add(hn::Add(j, k), hn::Add(l, m)))));
}

// a = b + s c over `count` floats, a multiple of the lanes. `past_caches`: what is written will not
// be read soon, and need not be fetched before.
void Triad(float* a, const float* b, const float* c, size_t count, bool past_caches) {
  const hn::ScalableTag<float> d;
  const auto s = hn::Set(d, 0.5f);
  if (past_caches) {
    for (size_t i = 0; i < count; i += hn::Lanes(d)) {
      hn::Stream(hn::MulAdd(s, hn::Load(d, c + i), hn::Load(d, b + i)), d, a + i);
    }
    hwy::FlushStream();
  } else {
    for (size_t i = 0; i < count; i += hn::Lanes(d)) {
      hn::Store(hn::MulAdd(s, hn::Load(d, c + i), hn::Load(d, b + i)), d, a + i);
    }
  }
}

int LanesOfVector() { return static_cast<int>(hn::Lanes(hn::ScalableTag<float>())); }
int64_t FlopsOfRepeat() { return int64_t{2} * kChains * LanesOfVector(); }
const char* Target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <vector>

namespace trainyard::kernels {
namespace {

HWY_EXPORT(MultiplyAdd);
HWY_EXPORT(Triad);
HWY_EXPORT(LanesOfVector);
HWY_EXPORT(FlopsOfRepeat);
HWY_EXPORT(Target);

using nlohmann::json;

constexpr int kTimes = 40;

// Seconds of the fastest of kTimes runs of body(thread) on all threads at once, from when the first
// starts until the last ends.
double Fastest(int threads, const std::function<void(int)>& body) {
  using Clock = std::chrono::steady_clock;
  double best = std::numeric_limits<double>::max();
  Clock::time_point start;
  std::barrier begin(threads, [&]() noexcept { start = Clock::now(); });
  std::barrier end(threads, [&]() noexcept {
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  });
  std::vector<std::thread> running;
  for (int thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      body(thread);  // warms up caches, clock and page tables
      for (int i = 0; i < kTimes; ++i) {
        begin.arrive_and_wait();
        body(thread);
        end.arrive_and_wait();
      }
    });
  }
  for (std::thread& one : running) one.join();
  return best;
}

double Flops(int threads) {
  constexpr int64_t kRepeats = 4'000'000;
  std::vector<float> sums(static_cast<size_t>(threads));
  const double seconds = Fastest(threads, [&](int thread) {
    sums[static_cast<size_t>(thread)] = HWY_DYNAMIC_DISPATCH(MultiplyAdd)(kRepeats);
  });
  for (float sum : sums) {
    if (!(sum > 0)) std::abort();  // also keeps the sums from being left out
  }
  return static_cast<double>(threads * kRepeats * HWY_DYNAMIC_DISPATCH(FlopsOfRepeat)()) / seconds;
}

// Bytes per second over three arrays of `bytes` together, a share of each for each thread.
double BytesPerSecond(int threads, size_t bytes, bool past_caches) {
  const size_t count = bytes / (3 * sizeof(float)) / static_cast<size_t>(threads) / 64 * 64;
  std::vector<hwy::AlignedFreeUniquePtr<float[]>> arrays;
  for (int i = 0; i < 3 * threads; ++i) {
    arrays.push_back(hwy::AllocateAligned<float>(count));
    if (!arrays.back()) throw std::bad_alloc();
    std::fill_n(arrays.back().get(), count, 1.0f);
  }
  const size_t passes = std::max<size_t>(1, (size_t{64} << 20) / bytes);
  const double seconds = Fastest(threads, [&](int thread) {
    const auto* mine = &arrays[static_cast<size_t>(3 * thread)];
    for (size_t pass = 0; pass < passes; ++pass) {
      HWY_DYNAMIC_DISPATCH(Triad)
      (mine[0].get(), mine[1].get(), mine[2].get(), count, past_caches);
    }
  });
  const size_t moved = passes * 3 * sizeof(float) * count * static_cast<size_t>(threads);
  return static_cast<double>(moved) / seconds;
}

// Of one core's L3, as Linux tells it (sysconf is wrong on virtual machines); 0 where there is
// none.
size_t L3Bytes() {
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");
  size_t kib = 0;
  file >> kib;
  return kib << 10;
}

json Measure(int threads) {
  // Half of L3 is more than all of L2; DRAM's arrays are many times L3.
  const size_t l3 = L3Bytes(), dram = std::max(size_t{512} << 20, 8 * l3);
  json fma = json::array(), triad = json::array();
  for (const int n : std::set{1, threads}) {
    fma.push_back({{"threads", n}, {"flops", Flops(n)}});
    const auto measure = [&](const char* from, size_t bytes, bool past_caches) {
      triad.push_back({{"from", from},
                       {"threads", n},
                       {"bytes", bytes},
                       {"bytes_per_second", BytesPerSecond(n, bytes, past_caches)}});
    };
    if (l3 > 0) measure("L3", l3 / 2, false);
    measure("DRAM", dram, true);
  }
  return {{"target", HWY_DYNAMIC_DISPATCH(Target)()},
          {"lanes", HWY_DYNAMIC_DISPATCH(LanesOfVector)()},
          {"fma", fma},
          {"triad", triad}};
}

}  // namespace
}  // namespace trainyard::kernels

int main(int argc, char** argv) {
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const int threads = argc > 1 ? std::atoi(argv[1]) : cores;
  if (argc > 2 || threads < 1) {
    std::fprintf(stderr, "usage: cpu_peaks [THREADS]\n");
    return 2;
  }
  try {
    std::cout << trainyard::kernels::Measure(threads).dump() << std::endl;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "cpu_peaks: no memory for the arrays\n");
    return 1;
  }
}
#endif  // HWY_ONCE
