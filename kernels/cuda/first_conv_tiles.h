// How the first convolution cuts its output into tiles, and the patch of x that a tile sees. For
// kernel sources only.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/conv_shape.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

constexpr int kTilePixels = 128;  // of a tile, at most
constexpr int kTileWidth = 32;    // about square tiles share most of their windows
constexpr int kPatchBytesMax = 12 * 1024;

// The shape and how its output is cut into tiles. Along an image's row, pixels and channels are
// one: "row" sizes are counted in elements.
struct Tiling {
  int in_h, in_row, used_h, used_row;  // used: what windows cover
  int out_h, out_w, out_c;
  int kernel_h, kernel_row, stride_h, stride_row, pad_top, pad_row, depth;
  int tile_h, tile_w, tiles_h, tiles_w, tiles;
  int patch_h, patch_row, patch_size;
  int filter_groups, tiles_per_block;
};

struct Tile {
  int image, row, column;  // of the first output pixel
};

__device__ __forceinline__ Tile TileAt(const Tiling& t, int index) {
  const int row = index / t.tiles_w;
  return {row / t.tiles_h, row % t.tiles_h * t.tile_h, index % t.tiles_w * t.tile_w};
}

// Where pixel `index` of a tile lies in it. Beyond the tile: -1.
__device__ __forceinline__ int PackPlace(const Tiling& t, int index) {
  return index < t.tile_h * t.tile_w ? index / t.tile_w << 16 | index % t.tile_w : -1;
}
__device__ __forceinline__ int RowOf(int place) { return place >> 16; }
__device__ __forceinline__ int ColumnOf(int place) { return place & 0xffff; }

// Where the window of the pixel at `place` starts in the patch. Beyond the tile: any.
__device__ __forceinline__ int WindowStart(const Tiling& t, int place) {
  return place < 0 ? 0 : RowOf(place) * t.stride_h * t.patch_row + ColumnOf(place) * t.stride_row;
}

// The output pixel at `place`, or -1 where the image ends before.
__device__ __forceinline__ int OutputPixel(const Tiling& t, const Tile& tile, int place) {
  if (place < 0) return -1;
  const int row = tile.row + RowOf(place), column = tile.column + ColumnOf(place);
  return row < t.out_h && column < t.out_w ? (tile.image * t.out_h + row) * t.out_w + column : -1;
}

// The part of x that the tile's windows see, zeros around the image: a warp takes a row.
template <typename T>
__device__ __forceinline__ void StagePatch(const Tiling& t, const Tile& tile,
                                           const T* __restrict__ x, T* patch) {
  const int first_row = tile.row * t.stride_h - t.pad_top;
  const int first_element = tile.column * t.stride_row - t.pad_row;
  const int warps = static_cast<int>(blockDim.x) / 32;
  for (int i = static_cast<int>(threadIdx.x) / 32; i < t.patch_h; i += warps) {
    const int row = first_row + i;
    const bool inside = row >= 0 && row < t.used_h;
    const T* from = x + (tile.image * t.in_h + (inside ? row : 0)) * t.in_row;
#pragma unroll 4
    for (int j = static_cast<int>(threadIdx.x) % 32; j < t.patch_row; j += 32) {
      const int element = first_element + j;
      const bool valid = inside && element >= 0 && element < t.used_row;
      patch[i * t.patch_row + j] = valid ? from[element] : FromFloat<T>(0);
    }
  }
}

// What a kernel asks of its blocks: filters of each, how many blocks at most, tiles of each at
// least.
struct BlockPlan {
  int filters, blocks, tiles;
};

inline Tiling PlanTiling(const ConvShape& shape, int element_bytes, const BlockPlan& plan) {
  const int channels = shape.in_c;
  Tiling t{};
  t.in_h = shape.in_h, t.in_row = shape.in_w * channels;
  t.out_h = shape.out_h, t.out_w = shape.out_w, t.out_c = shape.out_c;
  t.kernel_h = shape.kernel_h, t.kernel_row = shape.kernel_w * channels;
  t.stride_h = t.out_h > 1 ? shape.stride_h : 1;  // one window: there is no next
  t.stride_row = t.out_w > 1 ? shape.stride_w * channels : channels;
  t.pad_top = shape.pad_top, t.pad_row = shape.pad_left * channels;
  t.depth = t.kernel_h * t.kernel_row;
  const int64_t end_h = int64_t{t.out_h - 1} * t.stride_h - t.pad_top + t.kernel_h;
  const int64_t end_row = int64_t{t.out_w - 1} * t.stride_row - t.pad_row + t.kernel_row;
  t.used_h = static_cast<int>(std::min<int64_t>(t.in_h, end_h));
  t.used_row = static_cast<int>(std::min<int64_t>(t.in_row, end_row));
  t.tile_w = CeilDivide(t.out_w, CeilDivide(t.out_w, kTileWidth));
  t.tile_h = std::min(t.out_h, kTilePixels / t.tile_w);
  for (;;) {
    const int64_t height = int64_t{t.tile_h - 1} * t.stride_h + t.kernel_h;
    const int64_t row = int64_t{t.tile_w - 1} * t.stride_row + t.kernel_row;
    if (height * row <= kPatchBytesMax / element_bytes) {
      t.patch_h = static_cast<int>(height), t.patch_row = static_cast<int>(row);
      break;
    }
    // Windows far apart: a smaller tile. That of one pixel always fits.
    (height >= row && t.tile_h > 1) || t.tile_w == 1 ? t.tile_h = CeilDivide(t.tile_h, 2)
                                                     : t.tile_w = CeilDivide(t.tile_w, 2);
  }
  t.patch_size = CeilDivide(t.patch_h * t.patch_row * element_bytes, 16) * 16 / element_bytes;
  t.tiles_h = CeilDivide(t.out_h, t.tile_h), t.tiles_w = CeilDivide(t.out_w, t.tile_w);
  t.tiles = shape.batch * t.tiles_h * t.tiles_w;
  t.filter_groups = CeilDivide(t.out_c, plan.filters);
  t.tiles_per_block =
      std::max(plan.tiles, CeilDivide(t.tiles, std::max(1, plan.blocks / t.filter_groups)));
  return t;
}

inline unsigned Blocks(const Tiling& t) {
  return Blocks(t.tiles, t.tiles_per_block) * t.filter_groups;
}

}  // namespace trainyard::kernels::cuda
