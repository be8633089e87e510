// How kernels over (rows, channels) share out a tensor, and sums over its rows in two stages.
//
// Rows are folded until one is a whole number of 16-byte vectors: (rows, channels) in memory is
// (rows / fold, fold * channels) as well, so that every channel count, 1 and 257 too, moves in
// vectors. A thread owns the `kSize` slots of one vector and walks down the folded rows; slot s is
// of channel s % channels. A block is `height` such lanes over a tile of `width` <= 32 vectors, so
// that neighbouring threads read neighbouring bytes. The rows are cut into pieces, one a block. If
// `fold` does not divide the rows, the last folded row ends early: the rest.
//
// Sums: each thread adds up its slots, the lanes of a block are joined in a tree through shared
// memory, and the block writes one value a slot to a workspace. Those are partials of shape
// (pieces, fold * channels), which is (pieces * fold, channels): a second kernel joins its rows.
// The order depends on the shape alone.
//
// For kernel sources only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/types.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {

constexpr int kColumnThreads = 256;
// Two waves of four blocks on each of 132 multiprocessors.
constexpr int kMostColumnBlocks = 1056;
// Threads of the second stage: neighbouring channels by lanes that share the partials' rows.
constexpr int kJoinChannels = 8, kJoinLanes = 64, kJoinThreads = kJoinChannels * kJoinLanes;

struct ColumnPlan {
  int channels = 0;
  int fold = 1;
  int slots = 0;              // of a folded row
  int width = 0, height = 0;  // of a block: vectors, folded rows that it takes at once
  int tiles = 0, pieces = 0;  // the grid
  int steps = 0;              // folded rows that a thread takes at most
  int64_t folded_rows = 0;    // whole ones
  int rest = 0;               // slots of the one after them

  dim3 grid() const { return dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(pieces)); }
  int64_t partials() const { return int64_t{pieces} * slots; }
};

// `kernel` is named in the Error that is thrown for shapes without elements or beyond 2^40 of them.
inline void CheckColumns(const char* kernel, int64_t rows, int channels) {
  constexpr int kMostChannels = 1 << 24;
  constexpr int64_t kMostElements = int64_t{1} << 40;
  if (channels < 1 || channels > kMostChannels) {
    throw Error(std::string(kernel) + ": " + std::to_string(channels) +
                " channels, expected 1 to " + std::to_string(kMostChannels));
  }
  if (rows < 1 || rows > kMostElements / channels) {
    throw Error(std::string(kernel) + ": " + std::to_string(rows) + " rows, expected 1 to " +
                std::to_string(kMostElements / channels));
  }
}

// The plan for vectors of `vector_size` elements.
inline ColumnPlan PlanColumns(int64_t rows, int channels, int vector_size) {
  constexpr int kMostWidth = 32, kLeastSteps = 4;
  ColumnPlan plan;
  plan.channels = channels;
  plan.fold = vector_size / std::gcd(channels, vector_size);
  plan.slots = channels * plan.fold;
  const int vectors = plan.slots / vector_size;
  plan.tiles = CeilDivide(vectors, kMostWidth);
  plan.width = CeilDivide(vectors, plan.tiles);
  plan.height = kColumnThreads / plan.width;
  plan.folded_rows = rows / plan.fold;
  plan.rest = static_cast<int>(rows % plan.fold) * channels;
  const int64_t steps = CeilDivide(plan.folded_rows + (plan.rest > 0 ? 1 : 0), plan.height);
  const int64_t most_pieces = std::max(1, kMostColumnBlocks / plan.tiles);
  plan.steps = static_cast<int>(std::max<int64_t>(kLeastSteps, CeilDivide(steps, most_pieces)));
  plan.pieces = static_cast<int>(CeilDivide(steps, plan.steps));
  return plan;
}

// The most partials of a plan for either type of tensor.
inline int64_t MostPartials(int64_t rows, int channels) {
  return std::max(PlanColumns(rows, channels, Vector<float>::kSize).partials(),
                  PlanColumns(rows, channels, Vector<bf16>::kSize).partials());
}

// Where a thread of a block of kColumnThreads stands.
struct ColumnThread {
  int lane;        // row of the block; at or beyond its height, or beyond the tensor's slots: idle
  int slot;        // first of the thread's slots
  int rows;        // whole folded rows that it takes
  int rest;        // slots of the one after them that it takes too
  int64_t offset;  // of its first vector; the others follow at height * slots
};

template <int kSize>
__device__ __forceinline__ ColumnThread PlaceInColumns(const ColumnPlan& plan, int piece) {
  ColumnThread at;
  at.lane = static_cast<int>(threadIdx.x) / plan.width;
  const int column = static_cast<int>(threadIdx.x) - at.lane * plan.width;
  at.slot = (static_cast<int>(blockIdx.x) * plan.width + column) * kSize;
  const int64_t first_row = int64_t{piece} * plan.steps * plan.height + at.lane;
  at.offset = first_row * plan.slots + at.slot;
  at.rows = at.rest = 0;
  if (at.lane < plan.height && at.slot < plan.slots && first_row <= plan.folded_rows) {
    const int64_t ahead = plan.folded_rows - first_row;
    const int most = plan.steps * plan.height;  // within one piece, so it fits
    const int near = ahead < most ? static_cast<int>(ahead) : most;
    at.rows = CeilDivide(near, plan.height);
    const bool owns_rest = at.rows < plan.steps && at.rows * plan.height == near;
    if (owns_rest && at.slot < plan.rest) at.rest = min(kSize, plan.rest - at.slot);
  }
  return at;
}

// use(load(offset, count), offset, count) for each vector of the thread, `count` being its elements
// that exist. kBatch of them are loaded before the first is used.
template <int kSize, int kBatch, typename Load, typename Use>
__device__ __forceinline__ void ForEachRow(const ColumnPlan& plan, const ColumnThread& at,
                                           Load load, Use use) {
  const int64_t stride = int64_t{plan.height} * plan.slots;
  int64_t offset = at.offset;
  int row = 0;
  for (; row + kBatch <= at.rows; row += kBatch, offset += kBatch * stride) {
    decltype(load(offset, kSize)) loaded[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) loaded[i] = load(offset + i * stride, kSize);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) use(loaded[i], offset + i * stride, kSize);
  }
#pragma unroll 1
  for (; row < at.rows; ++row, offset += stride) use(load(offset, kSize), offset, kSize);
  if (at.rest > 0) use(load(offset, at.rest), offset, at.rest);
}

// What each channel needs in a kernel, kValues floats, for the slots of this thread: one thread
// computes them for one slot of the tile, by of_channel(channel, values), and all read them from
// shared memory. Barriers inside, so that every thread must come here; once a kernel.
template <int kValues, int kSize, typename OfChannel>
__device__ __forceinline__ void SpreadOverSlots(const ColumnPlan& plan, OfChannel of_channel,
                                                float (&values)[kValues][kSize]) {
  KERNEL_SHARED(Vector<float>, of_slots, [kValues][kColumnThreads / Vector<float>::kSize]);
  const int thread = static_cast<int>(threadIdx.x);
  const int slot = static_cast<int>(blockIdx.x) * plan.width * kSize + thread;
  if (thread < plan.width * kSize && slot < plan.slots) {
    float mine[kValues];
    of_channel(slot % plan.channels, mine);
#pragma unroll
    for (int k = 0; k < kValues; ++k) reinterpret_cast<float*>(of_slots[k])[thread] = mine[k];
  }
  __syncthreads();
  constexpr int kVectors = kSize / Vector<float>::kSize;
  const int lane = thread / plan.width, column = thread - lane * plan.width;
  if ((static_cast<int>(blockIdx.x) * plan.width + column) * kSize >= plan.slots) return;
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      values[k][i] =
          of_slots[k][column * kVectors + i / Vector<float>::kSize].at[i % Vector<float>::kSize];
    }
  }
}

// First stage's end: joins the block's lanes and writes the piece's partials.
template <int kSize, typename Value>
__device__ __forceinline__ void StorePartials(const ColumnPlan& plan, const ColumnThread& at,
                                              int piece, Value (&values)[kSize],
                                              Value* __restrict__ partials) {
  JoinLanes<kColumnThreads>(plan.width, plan.height, at.lane, values);
  if (at.lane > 0 || at.slot >= plan.slots) return;
  constexpr int kVectors = kSize * sizeof(Value) / sizeof(Vector<float>);
  Vector<float> packed[kVectors];
  memcpy(packed, values, sizeof values);
  auto* to = reinterpret_cast<Vector<float>*>(partials + int64_t{piece} * plan.slots + at.slot);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) to[i] = packed[i];
}

// Second stage, in ceil(channels / kJoinChannels) blocks of kJoinThreads: calls finish(channel,
// sum) in one thread a channel.
template <typename Value, typename Finish>
__device__ __forceinline__ void JoinPartials(const Value* __restrict__ partials, int rows,
                                             int channels, Finish finish) {
  const int lane = static_cast<int>(threadIdx.x) / kJoinChannels;
  const int channel = static_cast<int>(blockIdx.x * kJoinChannels + threadIdx.x % kJoinChannels);
  Value sum[1] = {};
  if (channel < channels) {
#pragma unroll 4
    for (int row = lane; row < rows; row += kJoinLanes) {
      sum[0].Join(partials[int64_t{row} * channels + channel]);
    }
  }
  JoinLanes<kJoinThreads>(kJoinChannels, kJoinLanes, lane, sum);
  if (lane == 0 && channel < channels) finish(channel, sum[0]);
}

// Enqueues a second stage's kernel.
template <typename... Parameters, typename... Arguments>
void LaunchJoin(void (*kernel)(Parameters...), int channels, cudaStream_t stream,
                Arguments... arguments) {
  Launch(kernel, Blocks(channels, kJoinChannels), kJoinThreads, 0, stream, arguments...);
}

}  // namespace trainyard::kernels::cuda
