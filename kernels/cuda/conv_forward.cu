#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_loads.h"
#include "kernels/cuda/conv_plan.h"

namespace trainyard::kernels::cuda {
namespace {

// Rows: output pixels; columns: filters; depth: the taps of a window. A block is one tile (x, those
// of one row of tiles together) of one group (z).
template <typename Tile, typename T = typename Tile::T>
__global__ void __launch_bounds__(kConvThreads, Tile::kBlocks)
    ConvForwardKernel(ConvShape shape, unsigned pixels, const T* __restrict__ x,
                      const T* __restrict__ w, const float* __restrict__ bias,
                      Activation activation, T* __restrict__ y) {
  KERNEL_SHARED(Vector<T>, shared, [Tile::kSharedVectors]);
  const unsigned filters = shape.out_c / shape.groups;
  const unsigned depth = shape.kernel_h * shape.kernel_w * (shape.in_c / shape.groups);
  const unsigned column_tiles = (filters - 1) / Tile::kColumns + 1;
  const unsigned first_pixel = blockIdx.x / column_tiles * Tile::kRows;
  const unsigned first_filter = blockIdx.x % column_tiles * Tile::kColumns;
  const unsigned group = blockIdx.z;

  const Windows windows = WindowsOverInput(shape, group);
  WindowRowsLoad<Tile> a(x, windows, first_pixel, pixels);
  MatrixLoad<Tile, ConvOperand<T, Tile::kColumns, true>> b(w, group * filters * depth, depth,
                                                           filters, depth, first_filter, 0);
  ConvSums<Tile> sums = {};
  MultiplyConvTile(a, b, (depth - 1) / Tile::kDepth + 1, reinterpret_cast<T*>(shared), sums);

  const bool vectors = filters % Vector<T>::kSize == 0;
  ForEachConvVector<Tile, T>(
      sums, reinterpret_cast<float*>(shared), [&](int row, int column, const float* values) {
        const unsigned pixel = first_pixel + row;
        const int count = static_cast<int>(filters - first_filter) - column;
        if (pixel >= pixels || count <= 0) return;
        const unsigned filter = group * filters + first_filter + column;
        StoreConvVector(y + (pixel * shape.out_c + filter), vectors, count, [&](int i) {
          return Activate(activation, bias == nullptr ? values[i] : values[i] + bias[filter + i]);
        });
      });
}

}  // namespace

template <typename T>
void ConvForward(const ConvShape& given, Precision precision, const T* x, const T* w,
                 const float* bias, Activation activation, T* y, cudaStream_t stream) {
  constexpr const char* kName = "ConvForward";
  CheckConvShape(kName, given);
  CheckPrecision<T>(kName, precision);
  CheckAligned(kName, "x", x);
  CheckAligned(kName, "w", w);
  CheckAligned(kName, "y", y);
  const ConvShape shape = FewestTaps(given);
  CheckGridSize(kName, "groups", shape.groups);
  const int64_t pixels = shape.out_pixels(), filters = shape.out_c / shape.groups;
  const bool large = UsesLargeTile(pixels, filters, shape.groups);
  const bool vectors = shape.in_c / shape.groups % Vector<T>::kSize == 0;
  WithConvTile<T, kLargeTile, kSmallTile>(precision, large, vectors, [&](auto tile) {
    using Tile = decltype(tile);
    const int64_t tiles = TileCount({Tile::kRows, Tile::kColumns}, pixels, filters);
    Launch(ConvForwardKernel<Tile>, dim3(static_cast<unsigned>(tiles), 1, shape.groups),
           kConvThreads, 0, stream, shape, pixels, x, w, bias, activation, y);
  });
}

template void ConvForward(const ConvShape&, Precision, const float*, const float*, const float*,
                          Activation, float*, cudaStream_t);
template void ConvForward(const ConvShape&, Precision, const bf16*, const bf16*, const float*,
                          Activation, bf16*, cudaStream_t);

}  // namespace trainyard::kernels::cuda
