#include "kernels/cpu/simd/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/gemm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/cpu/simd/layout.h"

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::CappedTag<float, kBlock>;
using Vector = hn::Vec<Lanes>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Lanes()));
constexpr int kVectors = kBlock / kLanes;  // of a panel's row

// The largest tile of C that stays in registers, beside a row of B and an element of A.
#if HWY_TARGET <= HWY_AVX3
constexpr int kTileRows = 14, kTilePanels = 2;  // 28 of 32 registers
#elif HWY_TARGET == HWY_AVX2
constexpr int kTileRows = 6, kTilePanels = 1;  // 12 of 16
#elif HWY_TARGET == HWY_SSE4
constexpr int kTileRows = 2, kTilePanels = 1;  // 8 of 16, four for B and two for products
#elif HWY_TARGET == HWY_SCALAR
constexpr int kTileRows = 1, kTilePanels = 1;
#else
constexpr int kTileRows = 5, kTilePanels = 1;  // NEON: 20 of 32, as GCC loads all of A's at once
#endif

// Pointers to rows that lie `stride` floats apart. A few bases, and from each the multiples 0 to 4
// of the stride, take few registers on x86, which can add a multiple to a base on the way.
template <typename Float, int kRows>
struct RowPointers {
  static constexpr int kOfBase = 5, kBases = (kRows + kOfBase - 1) / kOfBase;

  HWY_INLINE RowPointers(Float* first, int64_t stride) : stride(stride) {
    bases[0] = first;
#pragma GCC unroll 8
    for (int i = 1; i < kBases; ++i) bases[i] = bases[i - 1] + kOfBase * stride;
  }
  HWY_INLINE Float* operator[](int row) const {
    return bases[row / kOfBase] + row % kOfBase * stride;
  }
  HWY_INLINE void Advance(int64_t floats) {
#pragma GCC unroll 8
    for (int i = 0; i < kBases; ++i) bases[i] += floats;
  }

  Float* bases[kBases];
  int64_t stride;
};

// One tile: kRows x kPanels of C, all of the depth.
template <int kRows, int kPanels>
HWY_NOINLINE void Tile(const Gemm& gemm, const float* a, const float* b, float* c) {
  constexpr int kWide = kPanels * kVectors;
  const Lanes lanes;
  const int64_t a_row = gemm.a_row, a_depth = gemm.a_depth;
  const int64_t b_panel = gemm.b_panel, b_depth = gemm.b_depth;
  const int depth = gemm.depth;
  Vector sums[kRows][kWide];
  if (gemm.accumulate) {
#pragma GCC unroll 2
    for (int p = 0; p < kPanels; ++p) {
      const RowPointers<float, kRows> rows(c + p * gemm.c_panel, gemm.c_row);
#pragma GCC unroll 32
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          sums[r][p * kVectors + v] = hn::LoadU(lanes, rows[r] + v * kLanes);
        }
      }
    }
  } else {
#pragma GCC unroll 32
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kWide; ++v) sums[r][v] = hn::Zero(lanes);
    }
  }
  const float* row_b = b;
  for (int s = 0; s < gemm.segments; ++s) {
    RowPointers<const float, kRows> rows(gemm.a_offsets ? a + gemm.a_offsets[s] : a, a_row);
    if (gemm.b_offsets) row_b = b + gemm.b_offsets[s];
    for (int k = 0; k < depth; ++k) {
      Vector y[kWide];
#pragma GCC unroll 16
      for (int v = 0; v < kWide; ++v) {
        y[v] = hn::LoadU(lanes, row_b + v / kVectors * b_panel + v % kVectors * kLanes);
      }
#pragma GCC unroll 32
      for (int r = 0; r < kRows; ++r) {
        const Vector x = hn::Set(lanes, *rows[r]);
#pragma GCC unroll 16
        for (int v = 0; v < kWide; ++v) sums[r][v] = hn::MulAdd(x, y[v], sums[r][v]);
      }
      rows.Advance(a_depth);
      row_b += b_depth;
    }
  }
#pragma GCC unroll 2
  for (int p = 0; p < kPanels; ++p) {
    const RowPointers<float, kRows> rows(c + p * gemm.c_panel, gemm.c_row);
#pragma GCC unroll 32
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        hn::StoreU(sums[r][p * kVectors + v], lanes, rows[r] + v * kLanes);
      }
    }
  }
}

using TileFunction = void (*)(const Gemm&, const float*, const float*, float*);

// By the number of rows, less 1.
template <int kPanels, size_t... kIndex>
constexpr std::array<TileFunction, sizeof...(kIndex)> Tiles(std::index_sequence<kIndex...>) {
  return {&Tile<static_cast<int>(kIndex) + 1, kPanels>...};
}

// Rows are cut into tiles that differ by at most one row: a tile of few rows would wait for its own
// sums.
template <int kPanels>
void MultiplyPanels(const Gemm& gemm, int first) {
  constexpr int kMost = kTileRows * kTilePanels / kPanels;
  static constexpr auto kTiles = Tiles<kPanels>(std::make_index_sequence<kMost>());
  const int tiles = (gemm.rows + kMost - 1) / kMost;
  const float* b = gemm.b + first * gemm.b_panel;
  float* c = gemm.c + first * gemm.c_panel;
  for (int t = 0, row = 0; t < tiles; ++t) {
    const int rows = (gemm.rows - row) / (tiles - t);
    kTiles[rows - 1](gemm, gemm.a + row * gemm.a_row, b, c + row * gemm.c_row);
    row += rows;
  }
}

void MultiplyHere(const Gemm& gemm) {
  int panel = 0;
  for (; panel + kTilePanels <= gemm.panels; panel += kTilePanels) {
    MultiplyPanels<kTilePanels>(gemm, panel);
  }
  for (; panel < gemm.panels; ++panel) MultiplyPanels<1>(gemm, panel);
}

#if HWY_TARGET == HWY_SCALAR
void TransposeBlock(const float* from, float* to) {
  for (int r = 0; r < kBlock; ++r) {
    for (int c = 0; c < kBlock; ++c) to[c * kBlock + r] = from[r * kBlock + c];
  }
}
#else
// Four floats each of every fourth row of a block of 16 x 16.
template <typename D>
HWY_INLINE hn::Vec<D> LoadRows(D d, const float* from) {
  constexpr int kCount = static_cast<int>(hn::MaxLanes(D()));
  if constexpr (kCount == 4) {
    return hn::LoadU(d, from);
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, LoadRows(half, from + kCount / 2 * kBlock), LoadRows(half, from));
  }
}

// A block of 16 x 16: as many of its 4 x 4 at once, one below another, as a vector holds.
void TransposeBlock(const float* from, float* to) {
  const Lanes lanes;
  const hn::Repartition<double, Lanes> pairs;
  for (int r = 0; r < kBlock; r += kLanes) {
    for (int c = 0; c < kBlock; c += 4) {
      const float* f = from + r * kBlock + c;
      float* t = to + c * kBlock + r;
      const Vector f0 = LoadRows(lanes, f), f1 = LoadRows(lanes, f + kBlock);
      const Vector f2 = LoadRows(lanes, f + 2 * kBlock), f3 = LoadRows(lanes, f + 3 * kBlock);
      const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(lanes, f0, f1));
      const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(lanes, f2, f3));
      const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(lanes, f0, f1));
      const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(lanes, f2, f3));
      auto store = [&](int column, hn::Vec<decltype(pairs)> v) {
        hn::StoreU(hn::BitCast(lanes, v), lanes, t + column * kBlock);
      };
      store(0, hn::InterleaveLower(pairs, low01, low23));
      store(1, hn::InterleaveUpper(pairs, low01, low23));
      store(2, hn::InterleaveLower(pairs, high01, high23));
      store(3, hn::InterleaveUpper(pairs, high01, high23));
    }
  }
}
#endif

void TransposePanelsHere(const float* from, int64_t rows, int64_t columns, float* to) {
  for (int64_t c = 0; c < columns; c += kBlock) {
    for (int64_t r = 0; r < rows; r += kBlock) {
      TransposeBlock(from + c * rows + r * kBlock, to + r * columns + c * kBlock);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {
namespace {

HWY_EXPORT(MultiplyHere);
HWY_EXPORT(TransposePanelsHere);

}  // namespace

void Multiply(const Gemm& gemm) { HWY_DYNAMIC_DISPATCH(MultiplyHere)(gemm); }

void TransposePanels(const float* from, int64_t rows, int64_t columns, float* to) {
  HWY_DYNAMIC_DISPATCH(TransposePanelsHere)(from, rows, columns, to);
}

}  // namespace trainyard::kernels::cpu
#endif
