// The matrix product under the convolutions (kernels/cuda/conv.h): one block of four warps makes a
// tile of kRows x kColumns sums, stepping along the depth through stages of shared memory.
// For kernel sources only.
//
// Source: NVIDIA, "Parallel Thread Execution ISA" (fragments of mma and ldmatrix); Chetlur et al.,
// "cuDNN: Efficient Primitives for Deep Learning", 2014 (convolution as an implicit product).
#pragma once

#include "kernels/cuda/instructions.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {

constexpr int kConvThreads = 128;

// Loads by 16 bytes (kVector), or by elements where the channels do not allow it.
template <typename Element, Precision kArithmetic, int kRowCount, int kColumnCount, bool kVectors>
struct ConvTile {
  using T = Element;
  static constexpr Precision kPrecision = kArithmetic;
  static constexpr int kRows = kRowCount, kColumns = kColumnCount;
  static constexpr bool kVector = kVectors;
  static constexpr int kDepth = 64 / sizeof(T);  // of one step
  static constexpr int kStageSize = (kRows + kColumns) * kDepth;
  static constexpr bool kLarge = kRows * kColumns > 64 * 64;
  // Small tiles are for when there are few: then more steps must be on their way at once.
  static constexpr int kStages = kLarge ? 3 : 6;
  // Blocks that share a multiprocessor, which bounds the registers of a thread.
  static constexpr int kBlocks = !kVector ? 3 : kPrecision == Precision::kFp32 && kLarge ? 2 : 4;
  // Warps stand two by two; a warp's part is cut into 16x8 pieces, as tensor cores give them.
  static constexpr int kWarpRows = kRows / 2, kWarpColumns = kColumns / 2;
  static constexpr int kRowPieces = kWarpRows / 16, kColumnPieces = kWarpColumns / 8;
  // The tile on its way out, as float; eight more per row keep the warps' stores free of conflicts.
  static constexpr int kPitch = kColumns + 8;
  static constexpr int kStageBytes = kStages * kStageSize * int{sizeof(T)};
  static constexpr int kSumBytes = kRows * kPitch * int{sizeof(float)};
  static constexpr int kSharedVectors = (kStageBytes > kSumBytes ? kStageBytes : kSumBytes) / 16;
};

// What one thread sums, laid out as MmaBf16's d: rows g, g + 8 and columns 2t, 2t + 1 of a piece.
template <typename Tile>
struct ConvSums {
  float d[Tile::kRowPieces][Tile::kColumnPieces][4];
};

// One step of one operand in shared memory: `kCount` rows (of the left operand; columns of the
// right one) by kDepth, as lines along the depth or across it, whichever device memory holds
// contiguously. Chunks of 16 bytes are swapped within their line so that neither copies nor
// fragments meet in a bank.
template <typename T, int kCount, bool kAlongDepth>
struct ConvOperand {
  static constexpr bool kDepthInLine = kAlongDepth;
  static constexpr int kChunk = Vector<T>::kSize;
  static constexpr int kDepth = 64 / sizeof(T);
  static constexpr int kLines = kAlongDepth ? kCount : kDepth;
  static constexpr int kLength = kAlongDepth ? kDepth : kCount;
  static constexpr int kSize = kCount * kDepth;

  static __device__ __forceinline__ int At(int line, int position) {
    constexpr int kChunks = kLength / kChunk;
    static_assert(kChunks >= 4);
    int mix = line & 7;  // eight lines at one position (ldmatrix)
    if constexpr (kChunks == 4) {
      mix = line >> 1 & 3;  // the same, two lines to 128 bytes
    } else if constexpr (sizeof(T) == 4) {
      mix = (line & 3) << 1;  // four lines at eight positions (TF32 fragments, without ldmatrix)
    }
    return line * kLength + ((position / kChunk ^ mix) * kChunk | position % kChunk);
  }

  // At(line + lines, position + positions) from At(line, position), where positions are whole
  // chunks whose bits are not set in position, and lines do not change `mix`: a constant away.
  static __device__ __forceinline__ int Beyond(int at, int lines, int positions) {
    return (at ^ positions) + lines * kLength;
  }
};

// Where a lane reads its part of the fragments of one operand: pieces of 16 rows (of the left
// operand; columns of the right one) by 32 bytes of depth, from `row` on. out[0], out[1], out[2],
// out[3] are a[0..3] of the left operand; b[0], b[1] of the first eight columns and of the others.
template <typename T, typename Operand, bool kRight>
class ConvFragments {
 public:
  static constexpr int kDepth = 2 * Operand::kChunk;

  explicit __device__ __forceinline__ ConvFragments(int row) {
    const int lane = threadIdx.x % 32;
    const int row_half = kRight ? lane / 16 : lane / 8 % 2;
    const int depth_half = kRight ? lane / 8 % 2 : lane / 16;
    if constexpr (Operand::kDepthInLine) {
      lane_ = Operand::At(row + row_half * 8 + lane % 8, depth_half * Operand::kChunk);
    } else if constexpr (sizeof(T) == 2) {
      lane_ = Operand::At(depth_half * 8 + lane % 8, row + row_half * 8);
    } else {
      lane_ = Operand::At(lane % 4, row + lane / 4);
    }
  }

  __device__ __forceinline__ void Load(const T* operand, int piece, int depth,
                                       uint32_t (&out)[4]) const {
    if constexpr (Operand::kDepthInLine) {
      LoadMatrices(out, operand + Operand::Beyond(lane_, piece * 16, depth));
    } else if constexpr (sizeof(T) == 2) {
      LoadMatricesTransposed(out, operand + Operand::Beyond(lane_, depth, piece * 16));
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row_half = kRight ? i / 2 : i % 2, depth_half = kRight ? i % 2 : i / 2;
        const int at = Operand::Beyond(lane_, depth + depth_half * 4, piece * 16 + row_half * 8);
        memcpy(&out[i], operand + at, sizeof out[i]);
      }
    }
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float value;
        memcpy(&value, &out[i], sizeof value);
        out[i] = ToTf32(value);
      }
    }
  }

 private:
  int lane_;
};

// Four depths of one row.
template <typename Operand>
__device__ __forceinline__ Vector<float> LoadConvDepths(const float* operand, int row, int depth) {
  if constexpr (Operand::kDepthInLine) {
    return Load<4>(operand + Operand::At(row, depth));
  } else {
    Vector<float> values;
#pragma unroll
    for (int i = 0; i < 4; ++i) values.at[i] = operand[Operand::At(depth + i, row)];
    return values;
  }
}

// sums += a b over one step's depth, on tensor cores.
template <typename Tile, typename A, typename B>
__device__ __forceinline__ void MultiplyOnTensorCores(const typename Tile::T* a_operand,
                                                      const typename Tile::T* b_operand,
                                                      const A& a_fragments, const B& b_fragments,
                                                      ConvSums<Tile>& sums) {
#pragma unroll
  for (int depth = 0; depth < Tile::kDepth; depth += A::kDepth) {
    uint32_t a[Tile::kRowPieces][4], b[Tile::kColumnPieces / 2][4];
#pragma unroll
    for (int m = 0; m < Tile::kRowPieces; ++m) a_fragments.Load(a_operand, m, depth, a[m]);
#pragma unroll
    for (int n = 0; n < Tile::kColumnPieces / 2; ++n) b_fragments.Load(b_operand, n, depth, b[n]);
#pragma unroll
    for (int m = 0; m < Tile::kRowPieces; ++m) {
#pragma unroll
      for (int n = 0; n < Tile::kColumnPieces; ++n) {
        const uint32_t right[2] = {b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]};
        if constexpr (Tile::kPrecision == Precision::kBf16) {
          MmaBf16(sums.d[m][n], a[m], right);
        } else {
          MmaTf32(sums.d[m][n], a[m], right);
        }
      }
    }
  }
}

// The same in fp32, each thread with the same sums. row, column: where the warp's part starts.
template <typename Tile, typename A, typename B>
__device__ __forceinline__ void MultiplyInFp32(const float* a_operand, const float* b_operand,
                                               int row, int column, ConvSums<Tile>& sums) {
  row += threadIdx.x % 32 / 4;
  column += threadIdx.x % 4 * 2;
#pragma unroll
  for (int depth = 0; depth < Tile::kDepth; depth += 4) {
    Vector<float> b[Tile::kColumnPieces][2];
#pragma unroll
    for (int n = 0; n < Tile::kColumnPieces; ++n) {
      b[n][0] = LoadConvDepths<B>(b_operand, column + n * 8, depth);
      b[n][1] = LoadConvDepths<B>(b_operand, column + n * 8 + 1, depth);
    }
#pragma unroll
    for (int m = 0; m < Tile::kRowPieces * 2; ++m) {
      const Vector<float> a = LoadConvDepths<A>(a_operand, row + m * 8, depth);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int n = 0; n < Tile::kColumnPieces; ++n) {
          sums.d[m / 2][n][m % 2 * 2] += a.at[i] * b[n][0].at[i];
          sums.d[m / 2][n][m % 2 * 2 + 1] += a.at[i] * b[n][1].at[i];
        }
      }
    }
  }
}

// sums += a b, where every a.Load(where) and b.Load(where) brings the next step's operand (ending
// in zeros) into shared memory (kernels/cuda/conv_loads.h). All threads of the block come here.
template <typename Tile, typename A, typename B>
__device__ __forceinline__ void MultiplyConvTile(A& a, B& b, unsigned steps,
                                                 typename Tile::T* shared, ConvSums<Tile>& sums) {
  using T = typename Tile::T;
  using Left = typename A::Operand;
  using Right = typename B::Operand;
  constexpr int kSize = Tile::kStageSize;
  const int warp = threadIdx.x / 32;
  const int row = warp / 2 * Tile::kWarpRows, column = warp % 2 * Tile::kWarpColumns;
  const ConvFragments<T, Left, false> a_fragments(row);
  const ConvFragments<T, Right, true> b_fragments(column);
  unsigned loaded = 0, fill = 0, use = 0;  // steps; where stages start
  const auto load = [&] {
    if (loaded < steps) {
      a.Load(shared + fill);
      b.Load(shared + fill + Left::kSize);
    }
    ++loaded;
    fill = fill == (Tile::kStages - 1) * kSize ? 0 : fill + kSize;
    AsyncCommit();
  };
#pragma unroll
  for (int i = 0; i < Tile::kStages - 1; ++i) load();
#pragma unroll 1
  for (unsigned step = 0; step < steps; ++step) {
    AsyncWait<Tile::kStages - 2>();
    __syncthreads();  // this stage has arrived; the one that is filled next has been read
    load();
    const T* left = shared + use;
    const T* right = left + Left::kSize;
    use = use == (Tile::kStages - 1) * kSize ? 0 : use + kSize;
    if constexpr (Tile::kPrecision == Precision::kFp32) {
      MultiplyInFp32<Tile, Left, Right>(left, right, row, column, sums);
    } else {
      MultiplyOnTensorCores(left, right, a_fragments, b_fragments, sums);
    }
  }
}

// Rows of a tile that the block covers at once in vectors of Out.
template <typename Tile, typename Out>
constexpr int kConvRowsPerPass = kConvThreads / (Tile::kColumns / Vector<Out>::kSize);

// Turns the tile around in shared memory, so that rows leave it in vectors of Out: calls
// visit(row, column, values) with Vector<Out>::kSize floats for each. A thread's column never
// changes; its row starts below kConvRowsPerPass and goes up by that from call to call.
template <typename Tile, typename Out, typename Visit>
__device__ __forceinline__ void ForEachConvVector(const ConvSums<Tile>& sums, float* shared,
                                                  Visit visit) {
  constexpr int kSize = Vector<Out>::kSize, kPerRow = Tile::kColumns / kSize;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first_row = warp / 2 * Tile::kWarpRows + lane / 4;
  const int first_column = warp % 2 * Tile::kWarpColumns + lane % 4 * 2;
  __syncthreads();  // the stages have been read
#pragma unroll
  for (int m = 0; m < Tile::kRowPieces * 2; ++m) {
#pragma unroll
    for (int n = 0; n < Tile::kColumnPieces; ++n) {
      float2* to = reinterpret_cast<float2*>(shared + (first_row + m * 8) * Tile::kPitch +
                                             first_column + n * 8);
      *to = make_float2(sums.d[m / 2][n][m % 2 * 2], sums.d[m / 2][n][m % 2 * 2 + 1]);
    }
  }
  __syncthreads();
  const int row = threadIdx.x / kPerRow, column = threadIdx.x % kPerRow * kSize;
#pragma unroll 4
  for (int i = row; i < Tile::kRows; i += kConvRowsPerPass<Tile, Out>) {
    visit(i, column, shared + i * Tile::kPitch + column);
  }
}

// Writes value(0), value(1), ... to `to`: a whole vector at once, or the first `count` one by one.
template <typename Out, typename Value>
__device__ __forceinline__ void StoreConvVector(Out* to, bool whole, int count, Value value) {
  constexpr int kSize = Vector<Out>::kSize;
  if (whole) {
    Vector<Out> out;
#pragma unroll
    for (int i = 0; i < kSize; ++i) out.at[i] = FromFloat<Out>(value(i));
    Store(to, out);
  } else {
    for (int i = 0; i < kSize && i < count; ++i) to[i] = FromFloat<Out>(value(i));
  }
}

}  // namespace trainyard::kernels::cuda
