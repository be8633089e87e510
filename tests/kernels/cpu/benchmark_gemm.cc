// How close matrix products come to what the core can do, on one thread, for the shapes that
// networks have, walking through memory as a network's layers do.
//   kernels_gemm_benchmark [SIMD target] [part of a shape's name] [threads of dense layers]
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/kernels/cpu/benchmark_gemm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/cpu/dense.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/target.h"

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {

// Fused multiply-adds on registers alone; returns their floating-point operations.
double MultiplyAdds(float* out) {
  namespace hn = hwy::HWY_NAMESPACE;
  constexpr int kChains = 12, kSteps = 20000;  // chains enough for two units with latency 4
  const hn::CappedTag<float, 16> lanes;
  const auto x = hn::Set(lanes, out[0]), y = hn::Set(lanes, out[1]);
  hn::Vec<decltype(lanes)> sums[kChains];
  for (auto& sum : sums) sum = hn::Zero(lanes);
  for (int k = 0; k < kSteps; ++k) {
#pragma GCC unroll 12
    for (auto& sum : sums) sum = hn::MulAdd(x, y, sum);
  }
  for (int i = 1; i < kChains; ++i) sums[0] = hn::Add(sums[0], sums[i]);
  hn::StoreU(sums[0], lanes, out);
  return 2.0 * kSteps * kChains * static_cast<double>(hn::Lanes(lanes));
}

}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {
namespace {

HWY_EXPORT(MultiplyAdds);

using Clock = std::chrono::steady_clock;

constexpr double kRun_s = 0.0003;
constexpr int kRuns = 100;

template <typename Body>
double Time(int calls, const Body& body) {
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < calls; ++i) body();
  return std::chrono::duration<double>(Clock::now() - start).count() / calls;
}

class Floats {
 public:
  Floats(int64_t size, float value) : lines_((size + 15) / 16) { std::fill_n(data(), size, value); }
  float* data() { return lines_.data()->floats; }

 private:
  struct alignas(64) Line {
    float floats[16];
  };
  std::vector<Line> lines_;
};

// Equal products one after another: the floats from one's operands to the next one's.
struct Walk {
  int products = 1;
  int64_t a = 0, b = 0, c = 0;
};

class Bench {
 public:
  explicit Bench(std::string filter) : filter_(std::move(filter)) {
    std::printf("%s, GFLOP/s and the share of multiply-adds on registers alone\n",
                SimdTarget().c_str());
  }

  void Show(const std::string& name, Gemm gemm, const Walk& walk) {
    char shape[64];
    std::snprintf(shape, sizeof(shape), "rows %3d  panels %2d  depth %2d x %3d", gemm.rows,
                  gemm.panels, gemm.segments, gemm.depth);
    Show(name, shape,
         2.0 * gemm.rows * gemm.panels * 16 * gemm.segments * gemm.depth * walk.products, [&] {
           for (int i = 0; i < walk.products; ++i) {
             gemm.a = a_.data() + i * walk.a;
             gemm.b = b_.data() + i * walk.b;
             gemm.c = c_.data() + i * walk.c;
             Multiply(gemm);
           }
         });
  }

  // The best of many short runs, so that what else the machine does is left out, in turns with the
  // peak's, for the clock rate is not the same at all times.
  template <typename Body>
  void Show(const std::string& name, const std::string& shape, double work, const Body& body) {
    if (name.find(filter_) == std::string::npos) return;
    body();
    const int calls = std::max(1, static_cast<int>(kRun_s / Time(3, body)));
    float out[16] = {};
    double peak = 0, rate = 0;
    for (int i = 0; i < kRuns; ++i) {
      double done = 0;
      const double time = Time(1, [&] { done = HWY_DYNAMIC_DISPATCH(MultiplyAdds)(out); });
      peak = std::max(peak, done / time);
      rate = std::max(rate, work / Time(calls, body));
    }
    std::printf("%-20s %s  %6.1f of %6.1f  %3.0f%%\n", name.c_str(), shape.c_str(), 1e-9 * rate,
                1e-9 * peak, 100 * rate / peak);
  }

 private:
  const std::string filter_;
  Floats a_ = Floats(1 << 22, 0.5f), b_ = Floats(1 << 23, 0.25f), c_ = Floats(1 << 22, 0);
};

Gemm Packed(int rows, int segments, int depth, int panels) {
  Gemm gemm;
  gemm.rows = rows, gemm.panels = panels, gemm.segments = segments, gemm.depth = depth;
  gemm.a_row = depth;
  gemm.b_panel = int64_t{16} * segments * depth;
  gemm.c_row = 16 * panels;
  return gemm;
}

// The 36 positions of transformed tiles.
void ShowWinograd(Bench& bench) {
  auto show = [&](int rows, int depth, int panels) {
    bench.Show("winograd", Packed(rows, 1, depth, panels),
               {36, rows * depth, 16 * depth * panels, 16 * rows * panels});
  };
  for (int rows : {36, 32, 42, 49, 56, 64, 128}) show(rows, 32, 4);
  for (int depth : {16, 32, 64, 128, 256}) {
    for (int panels : {1, 2, 3, 4, 8, 16}) show(36, depth, panels);
  }
  for (int channels : {16, 32, 64, 128}) {
    for (int tiles : {36, 49, 64}) {
      for (int panels : {1, 2, 4, 8}) {
        Gemm gemm = Packed(channels, 1, tiles, panels);
        gemm.a_row = 1, gemm.a_depth = channels;
        gemm.b_panel = 16, gemm.b_depth = 16 * panels;
        gemm.c_row = 16, gemm.c_panel = channels * 16;
        gemm.accumulate = true;
        bench.Show("gradient of weights", gemm,
                   {36, channels * tiles, 16 * tiles * panels, 16 * channels * panels});
      }
    }
  }
}

// The rows of an image, 28 pixels wide.
void ShowTaps(Bench& bench) {
  std::vector<int64_t> offsets(27);
  for (int stride : {1, 2}) {
    for (int side : {3, 5}) {
      for (int channels : {16, 32, 64, 128}) {
        for (int rows : {7, 14, 28}) {
          const int64_t line = int64_t{stride * rows + side} * channels;
          for (int t = 0; t < side * side; ++t) {
            offsets[t] = t / side * line + t % side * channels;
          }
          Gemm gemm = Packed(rows, side * side, channels, 4);
          gemm.a_offsets = offsets.data();
          gemm.a_row = stride * channels;
          bench.Show(stride == 1 ? "taps" : "taps, stride 2", gemm,
                     {rows, stride * line, 0, 64 * rows});
        }
      }
    }
  }
  for (int stride : {1, 2}) {
    for (int channels : {1, 3}) {
      for (int panels : {1, 2, 3, 4}) {
        for (int t = 0; t < 9 * channels; ++t) {
          offsets[t] = t / 9 * 3600 + t % 9 / 3 * 60 + t % 3;
        }
        Gemm gemm = Packed(28, 9 * channels, 1, panels);
        gemm.a_offsets = offsets.data();
        gemm.a_row = stride;
        bench.Show(stride == 1 ? "first" : "first, stride 2", gemm,
                   {28, stride * 60, 0, 28 * 16 * panels});
      }
    }
  }
}

void ShowDense(Bench& bench, int threads) {
  omp_set_num_threads(threads);
  for (const Dense& dense : {Dense{128, 9216, 128}, Dense{128, 4096, 256}, Dense{128, 3136, 16},
                             Dense{128, 128, 16}, Dense{16, 9216, 128}, Dense{1, 9216, 128}}) {
    Floats x(dense.batch * dense.inputs, 0.5f), y(dense.batch * dense.outputs, 0.25f);
    Floats weights(dense.inputs * dense.outputs, 0.125f), sums(dense.outputs, 0);
    const int64_t floats = (dense.scratch_floats() + 15) / 16 * 16;
    Floats memory(threads * floats, 0);
    const ThreadScratch scratch{memory.data(), floats};
    char shape[64];
    std::snprintf(shape, sizeof(shape), "%3ld x %4ld x %3ld", dense.batch, dense.inputs,
                  dense.outputs);
    const double work = 2.0 * dense.batch * dense.inputs * dense.outputs;
    bench.Show("dense forward", shape, work, [&] {
      DenseForward(dense, x.data(), weights.data(), sums.data(), 0, y.data(), scratch);
    });
    bench.Show("dense data", shape, work,
               [&] { DenseData(dense, y.data(), weights.data(), false, x.data(), scratch); });
    bench.Show("dense weights", shape, work, [&] {
      DenseWeights(dense, x.data(), y.data(), weights.data(), sums.data(), scratch);
    });
  }
}

}  // namespace
}  // namespace trainyard::kernels::cpu

int main(int argc, char** argv) {
  using namespace trainyard::kernels::cpu;
  UseSimdTarget(argc > 1 ? argv[1] : "");
  Bench bench(argc > 2 ? argv[2] : "");
  ShowWinograd(bench);
  ShowTaps(bench);
  ShowDense(bench, argc > 3 ? std::atoi(argv[3]) : 1);
  return 0;
}
#endif
