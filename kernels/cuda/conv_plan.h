// How a convolution (kernels/cuda/conv.h) is cut into tiles and pieces: by its shape and its types
// alone, so that every device adds in the same order.
#pragma once

#include <cstdint>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/conv_shape.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

template <typename T, Precision kPrecision, int kRows, int kColumns, bool kVectors>
struct ConvTile;  // kernels/cuda/conv_tile.h

// Sizes of tiles: large for speed, small where large ones would be too few or mostly empty.
struct TileSize {
  int rows, columns;
};
constexpr TileSize kLargeTile = {128, 64}, kSmallTile = {64, 32};              // pixels, channels
constexpr TileSize kLargeFilterTile = {64, 128}, kSmallFilterTile = {32, 64};  // filters, weights

inline int64_t TileCount(TileSize tile, int64_t rows, int64_t columns) {
  return CeilDivide(rows, tile.rows) * CeilDivide(columns, tile.columns);
}

// Whether `products` independent products of rows x columns get large tiles.
bool UsesLargeTile(int64_t rows, int64_t columns, int64_t products);

// How ConvBackwardFilter cuts the pixels of all images (shape as FewestTaps gives it).
struct FilterPlan {
  bool large = false;
  int pieces = 1;
  int64_t pixels_per_piece = 0;
};
FilterPlan PlanFilter(const ConvShape& shape);

// Throws Error, naming `kernel`, unless tensors of T go with `precision`.
template <typename T>
void CheckPrecision(const char* kernel, Precision precision);

// Calls run(ConvTile) with the tile for tensors of T: large or small, and by elements in small ones
// where vectors do not fit. Checked: precision goes with T.
template <typename T, TileSize kLarge, TileSize kSmall, typename Run>
void WithConvTile(Precision precision, bool large, bool vectors, Run run) {
  const auto with = [&]<Precision kPrecision>() {
    if (!vectors) return run(ConvTile<T, kPrecision, kSmall.rows, kSmall.columns, false>{});
    if (!large) return run(ConvTile<T, kPrecision, kSmall.rows, kSmall.columns, true>{});
    run(ConvTile<T, kPrecision, kLarge.rows, kLarge.columns, true>{});
  };
  if constexpr (sizeof(T) == 2) {
    with.template operator()<Precision::kBf16>();
  } else if (precision == Precision::kTf32) {
    with.template operator()<Precision::kTf32>();
  } else {
    with.template operator()<Precision::kFp32>();
  }
}

// Throws Error, naming `kernel` and what there is too many of, unless it fits into a grid's y or z.
void CheckGridSize(const char* kernel, const char* what, int64_t count);

}  // namespace trainyard::kernels::cuda
