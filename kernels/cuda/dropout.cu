// A Philox call numbers four elements that follow each other in NCHW: four pixels of a channel. In
// memory the channels follow each other. So a thread takes a tile of four pixels by sixteen bytes
// of channels: one call for each channel, whole vectors for each pixel, no number wasted.
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/divisor.h"
#include "kernels/cuda/dropout.h"
#include "kernels/cuda/instructions.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vectors.h"
#include "kernels/philox.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// What the four elements from a place on are multiplied by.
struct Factors {
  float of[4];
};

struct Mask {
  StreamPosition at;
  DropoutRate rate;

  __device__ __forceinline__ float Factor(uint32_t word) const {
    return word >= rate.threshold ? rate.scale : 0;
  }

  // For elements 4 group .. 4 group + 3.
  __device__ __forceinline__ Factors OfGroup(uint32_t group) const {
    const PhiloxWords words = RandomWords(at, group, WideProduct{});
    return {Factor(words[0]), Factor(words[1]), Factor(words[2]), Factor(words[3])};
  }

  // For `count` (1 to 4) elements from any one on: one group or two.
  __device__ __forceinline__ Factors From(uint32_t element, int count) const {
    const uint32_t group = element / 4, skip = element % 4;
    const Factors low = OfGroup(group);
    const Factors high = skip + count > 4 ? OfGroup(group + 1) : low;
    const float all[7] = {low.of[0],  low.of[1],  low.of[2], low.of[3],
                          high.of[0], high.of[1], high.of[2]};
    // Moved along by one and by two: indices known to the compiler keep it all in registers.
    float odd[6];
    Factors moved;
#pragma unroll
    for (int i = 0; i < 6; ++i) odd[i] = skip & 1 ? all[i + 1] : all[i];
#pragma unroll
    for (int i = 0; i < 4; ++i) moved.of[i] = skip & 2 ? odd[i + 2] : odd[i];
    return moved;
  }
};

__device__ __forceinline__ Mask MaskOf(const StepBlock* step, int layer, const DropoutRate* rate) {
  return {DropoutStream(step->seed, step->step, layer), *rate};
}

// The tiles: `chunks` of channels, fastest, by quads of pixels, by images.
struct Tiles {
  uint32_t count;
  Divisor chunks, quads;
};

// kWhole: the pixels of a plane are a multiple of four, so groups and quads are the same.
template <typename T, int kWidth, bool kWhole>
__global__ void __launch_bounds__(kThreads)
    DropoutKernel(int pixels, Tiles tiles, const T* x, const StepBlock* __restrict__ step,
                  int layer, const DropoutRate* __restrict__ rate, bool accumulate, T* y) {
  const uint32_t tile = blockIdx.x * kThreads + threadIdx.x;
  if (tile >= tiles.count) return;
  const uint32_t column = Quotient(tile, tiles.chunks), image = Quotient(column, tiles.quads);
  const int quad = Remainder(column, image, tiles.quads);
  const int channel = Remainder(tile, column, tiles.chunks) * kWidth;
  const int channels = tiles.chunks.divisor * kWidth;
  const int count = kWhole ? 4 : min(4, pixels - 4 * quad);
  const int first = (image * pixels + 4 * quad) * channels + channel;

  Vector<T, kWidth> in[4] = {};
  float sum[4][kWidth];
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    if (kWhole || p < count) in[p] = Load<kWidth>(x + first + p * channels);
  }
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    Begin(accumulate && (kWhole || p < count), y + first + p * channels, sum[p]);
  }
  const Mask mask = MaskOf(step, layer, rate);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const uint32_t plane = image * channels + channel + i;
    const Factors factors = kWhole ? mask.OfGroup(plane * tiles.quads.divisor + quad)
                                   : mask.From(plane * pixels + 4 * quad, count);
#pragma unroll
    for (int p = 0; p < 4; ++p) sum[p][i] += ToFloat(in[p].at[i]) * factors.of[p];
  }
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    if (kWhole || p < count) Store(y + first + p * channels, FromFloats<T>(sum[p]));
  }
}

// Where NHWC and NCHW are the same: one pixel, as after a linear layer, or one channel.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    FlatDropoutKernel(uint32_t count, const T* x, const StepBlock* __restrict__ step, int layer,
                      const DropoutRate* __restrict__ rate, bool accumulate, T* y) {
  constexpr int kSize = Vector<T>::kSize;
  const uint32_t first = (blockIdx.x * kThreads + threadIdx.x) * kSize;
  if (first >= count) return;
  const int valid = min(count - first, uint32_t{kSize});
  const Vector<T> in = Load<kSize>(x + first, valid);
  float sum[kSize];
  Begin(accumulate, y + first, sum, valid);
  const Mask mask = MaskOf(step, layer, rate);
#pragma unroll
  for (int group = 0; group < kSize / 4; ++group) {
    const Factors factors = mask.OfGroup(first / 4 + group);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum[4 * group + i] += ToFloat(in.at[4 * group + i]) * factors.of[i];
    }
  }
  Store(y + first, FromFloats<T>(sum), valid);
}

template <typename T, int kWidth, bool kWhole>
void LaunchTiles(int batch, int pixels, int channels, const T* x, const StepBlock* step, int layer,
                 const DropoutRate* rate, bool accumulate, T* y, cudaStream_t stream) {
  const int chunks = channels / kWidth, quads = CeilDivide(pixels, 4);
  const int64_t count = int64_t{batch} * quads * chunks;
  const Tiles tiles{static_cast<uint32_t>(count), Divisor(chunks), Divisor(quads)};
  Launch(DropoutKernel<T, kWidth, kWhole>, Blocks(count, kThreads), kThreads, 0, stream, pixels,
         tiles, x, step, layer, rate, accumulate, y);
}

}  // namespace

template <typename T>
void Dropout(int batch, int pixels, int channels, const T* x, const StepBlock* step, int layer,
             const DropoutRate* rate, bool accumulate, T* y, cudaStream_t stream) {
  constexpr char kName[] = "Dropout";
  CheckPositive(kName, "batch", batch);
  CheckPositive(kName, "pixels", pixels);
  CheckPositive(kName, "channels", channels);
  const int64_t count = int64_t{batch} * pixels * channels;
  CheckIndexable(kName, "x", count);
  CheckAligned(kName, "x", x);
  CheckAligned(kName, "y", y);
  if (pixels == 1 || channels == 1) {
    constexpr int kSize = Vector<T>::kSize;
    Launch(FlatDropoutKernel<T>, Blocks(count, kThreads * kSize), kThreads, 0, stream, count, x,
           step, layer, rate, accumulate, y);
    return;
  }
  const auto launch = [&]<int kWidth>() {
    const auto tiles =
        pixels % 4 == 0 ? LaunchTiles<T, kWidth, true> : LaunchTiles<T, kWidth, false>;
    tiles(batch, pixels, channels, x, step, layer, rate, accumulate, y, stream);
  };
  channels % Vector<T>::kSize == 0 ? launch.template operator()<Vector<T>::kSize>()
                                   : launch.template operator()<1>();
}

template void Dropout(int, int, int, const float*, const StepBlock*, int, const DropoutRate*, bool,
                      float*, cudaStream_t);
template void Dropout(int, int, int, const bf16*, const StepBlock*, int, const DropoutRate*, bool,
                      bf16*, cudaStream_t);

}  // namespace trainyard::kernels::cuda
