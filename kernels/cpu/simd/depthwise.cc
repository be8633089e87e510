#include "kernels/cpu/simd/depthwise.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/depthwise.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <array>
#include <utility>

#include "kernels/cpu/simd/layout.h"

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, kBlock>;
using Vector = hn::Vec<Floats>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Floats()));

// Sums that are taken side by side, so that none waits for the multiplication before.
constexpr int kPixels = 8, kTaps = 9;

int64_t InRow(const Depthwise& conv) { return int64_t{conv.in_w} * conv.channels; }

// kCount pixels side by side, all channels.
template <int kCount>
void ForwardPixels(const Depthwise& conv, const float* in, const float* weights, float* out) {
  const Floats floats;
  const int64_t pitch = conv.channels, step = conv.stride_w * pitch;
  for (int64_t c = 0; c < pitch; c += kLanes) {
    Vector sums[kCount];
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) sums[i] = hn::Zero(floats);
    const float* w = weights + c;
    for (int ky = 0; ky < conv.kernel_h; ++ky) {
      const float* x = in + ky * InRow(conv) + c;
      for (int kx = 0; kx < conv.kernel_w; ++kx, x += pitch, w += pitch) {
        const Vector weight = hn::LoadU(floats, w);
#pragma GCC unroll 16
        for (int i = 0; i < kCount; ++i) {
          sums[i] = hn::MulAdd(hn::LoadU(floats, x + i * step), weight, sums[i]);
        }
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) hn::StoreU(sums[i], floats, out + i * pitch + c);
  }
}

void ForwardHere(const Depthwise& conv, const float* in, const float* weights, float* out) {
  const int64_t pitch = conv.channels, step = conv.stride_w * pitch;
  for (int y = 0; y < conv.out_h; ++y) {
    const float* row = in + y * conv.stride_h * InRow(conv);
    int x = 0;
    for (; x + kPixels <= conv.out_w; x += kPixels, out += kPixels * pitch) {
      ForwardPixels<kPixels>(conv, row + x * step, weights, out);
    }
    for (; x + 2 <= conv.out_w; x += 2, out += 2 * pitch) {
      ForwardPixels<2>(conv, row + x * step, weights, out);
    }
    for (; x < conv.out_w; ++x, out += pitch) {
      ForwardPixels<1>(conv, row + x * step, weights, out);
    }
  }
}

void DataHere(const Depthwise& conv, const float* dy, const float* weights, float* dx) {
  const Floats floats;
  const int64_t pitch = conv.channels, step = conv.stride_w * pitch;
  for (int y = 0; y < conv.out_h; ++y) {
    float* row = dx + y * conv.stride_h * InRow(conv);
    for (int x = 0; x < conv.out_w; ++x, dy += pitch, row += step) {
      for (int64_t c = 0; c < pitch; c += kLanes) {
        const Vector gradient = hn::LoadU(floats, dy + c);
        const float* w = weights + c;
        for (int ky = 0; ky < conv.kernel_h; ++ky) {
          float* to = row + ky * InRow(conv) + c;
          for (int kx = 0; kx < conv.kernel_w; ++kx, to += pitch, w += pitch) {
            const Vector before = hn::LoadU(floats, to);
            hn::StoreU(hn::MulAdd(gradient, hn::LoadU(floats, w), before), floats, to);
          }
        }
      }
    }
  }
}

// Taps [first, first + kCount) of one vector of channels, all pixels.
template <int kCount>
void WeightsOfTaps(const Depthwise& conv, int first, const float* in, const float* dy,
                   float* sums) {
  const Floats floats;
  const int64_t pitch = conv.channels, step = conv.stride_w * pitch;
  int64_t offsets[kCount];
  Vector sum[kCount];
#pragma GCC unroll 16
  for (int t = 0; t < kCount; ++t) {
    const int tap = first + t;
    offsets[t] = tap / conv.kernel_w * InRow(conv) + tap % conv.kernel_w * pitch;
    sum[t] = hn::LoadU(floats, sums + tap * pitch);
  }
  for (int y = 0; y < conv.out_h; ++y) {
    const float* pixel = in + y * conv.stride_h * InRow(conv);
    for (int x = 0; x < conv.out_w; ++x, pixel += step, dy += pitch) {
      const Vector gradient = hn::LoadU(floats, dy);
#pragma GCC unroll 16
      for (int t = 0; t < kCount; ++t) {
        sum[t] = hn::MulAdd(gradient, hn::LoadU(floats, pixel + offsets[t]), sum[t]);
      }
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kCount; ++t) hn::StoreU(sum[t], floats, sums + (first + t) * pitch);
}

using TapsFunction = void (*)(const Depthwise&, int, const float*, const float*, float*);

// By the number of taps, less 1.
template <size_t... kIndex>
constexpr std::array<TapsFunction, sizeof...(kIndex)> ByTaps(std::index_sequence<kIndex...>) {
  return {&WeightsOfTaps<static_cast<int>(kIndex) + 1>...};
}

void WeightsHere(const Depthwise& conv, const float* in, const float* dy, float* sums) {
  static constexpr auto kByTaps = ByTaps(std::make_index_sequence<kTaps>());
  const int taps = conv.kernel_h * conv.kernel_w, runs = (taps + kTaps - 1) / kTaps;
  for (int c = 0; c < conv.channels; c += kLanes) {
    for (int run = 0, first = 0; run < runs; ++run) {
      const int count = (taps - first) / (runs - run);
      kByTaps[count - 1](conv, first, in + c, dy + c, sums + c);
      first += count;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {
namespace {

HWY_EXPORT(ForwardHere);
HWY_EXPORT(DataHere);
HWY_EXPORT(WeightsHere);

}  // namespace

void DepthwiseForward(const Depthwise& conv, const float* in, const float* weights, float* out) {
  HWY_DYNAMIC_DISPATCH(ForwardHere)(conv, in, weights, out);
}

void DepthwiseData(const Depthwise& conv, const float* dy, const float* weights, float* dx) {
  HWY_DYNAMIC_DISPATCH(DataHere)(conv, dy, weights, dx);
}

void DepthwiseWeights(const Depthwise& conv, const float* in, const float* dy, float* sums) {
  HWY_DYNAMIC_DISPATCH(WeightsHere)(conv, in, dy, sums);
}

}  // namespace trainyard::kernels::cpu
#endif
