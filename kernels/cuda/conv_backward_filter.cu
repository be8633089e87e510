#include "kernels/cuda/add_pieces.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_loads.h"
#include "kernels/cuda/conv_plan.h"

namespace trainyard::kernels::cuda {
namespace {

// Pieces are made for two blocks on each multiprocessor: a fourth is not worth its registers.
template <typename Tile>
constexpr int kFilterBlocks = Tile::kBlocks < 3 ? Tile::kBlocks : 3;

// Rows: filters; columns: weights of a filter; depth: output pixels. A block is one tile (x) of one
// piece of the pixels (y) of one group (z). sums: (piece, weights).
template <typename Tile, typename T = typename Tile::T>
__global__ void __launch_bounds__(kConvThreads, kFilterBlocks<Tile>)
    ConvBackwardFilterKernel(ConvShape shape, unsigned pixels, unsigned pixels_per_piece,
                             bool vectors, const T* __restrict__ x, const T* __restrict__ dy,
                             float* __restrict__ dw) {
  KERNEL_SHARED(Vector<T>, shared, [Tile::kSharedVectors]);
  const unsigned filters = shape.out_c / shape.groups;
  const unsigned weights =
      shape.kernel_h * shape.kernel_w * (shape.in_c / shape.groups);  // of one filter
  const unsigned column_tiles = (weights - 1) / Tile::kColumns + 1;
  const unsigned first_filter = blockIdx.x / column_tiles * Tile::kRows;
  const unsigned first_weight = blockIdx.x % column_tiles * Tile::kColumns;
  const unsigned group = blockIdx.z;
  const unsigned first = blockIdx.y * pixels_per_piece;
  const unsigned end = min(first + pixels_per_piece, pixels);

  const Windows windows = WindowsOverInput(shape, group);
  MatrixLoad<Tile, ConvOperand<T, Tile::kRows, false>> a(dy, group * filters, shape.out_c, end,
                                                         filters, first, first_filter);
  WindowColumnsLoad<Tile> b(x, windows, first_weight, first, end);
  ConvSums<Tile> sums = {};
  MultiplyConvTile(a, b, (end - first - 1) / Tile::kDepth + 1, reinterpret_cast<T*>(shared), sums);

  float* piece = dw + int64_t{blockIdx.y} * shape.out_c * weights;
  ForEachConvVector<Tile, float>(
      sums, reinterpret_cast<float*>(shared), [&](int row, int column, const float* values) {
        const unsigned filter = first_filter + row;
        const int count = static_cast<int>(weights - first_weight) - column;
        if (filter >= filters || count <= 0) return;
        StoreConvVector(piece + ((group * filters + filter) * weights + first_weight + column),
                        vectors, count, [&](int i) { return values[i]; });
      });
}

}  // namespace

int64_t ConvBackwardFilterWorkspace(const ConvShape& shape) {
  CheckConvShape("ConvBackwardFilter", shape);
  const FilterPlan plan = PlanFilter(FewestTaps(shape));
  return plan.pieces > 1 ? plan.pieces * shape.weights() : 0;
}

template <typename T>
void ConvBackwardFilter(const ConvShape& given, Precision precision, const T* x, const T* dy,
                        float* workspace, float* dw, cudaStream_t stream) {
  constexpr const char* kName = "ConvBackwardFilter";
  CheckConvShape(kName, given);
  CheckPrecision<T>(kName, precision);
  CheckAligned(kName, "x", x);
  CheckAligned(kName, "dy", dy);
  const ConvShape shape = FewestTaps(given);
  const FilterPlan plan = PlanFilter(shape);
  CheckGridSize(kName, "groups", shape.groups);
  const int64_t channels = shape.in_c / shape.groups, filters = shape.out_c / shape.groups;
  const bool vectors = channels % Vector<T>::kSize == 0 && filters % Vector<T>::kSize == 0;
  float* sums = plan.pieces > 1 ? workspace : dw;
  const bool vector_sums =
      shape.depth() % 4 == 0 && reinterpret_cast<uintptr_t>(sums) % sizeof(Vector<float>) == 0;
  WithConvTile<T, kLargeFilterTile, kSmallFilterTile>(
      precision, plan.large, vectors, [&](auto tile) {
        using Tile = decltype(tile);
        const int64_t tiles = TileCount({Tile::kRows, Tile::kColumns}, filters, shape.depth());
        const dim3 grid(static_cast<unsigned>(tiles), plan.pieces, shape.groups);
        Launch(ConvBackwardFilterKernel<Tile>, grid, kConvThreads, 0, stream, shape,
               shape.out_pixels(), plan.pixels_per_piece, vector_sums, x, dy, sums);
      });
  if (plan.pieces == 1) return;
  AddPieces(workspace, plan.pieces, shape.weights(), dw, stream);
}

template void ConvBackwardFilter(const ConvShape&, Precision, const float*, const float*, float*,
                                 float*, cudaStream_t);
template void ConvBackwardFilter(const ConvShape&, Precision, const bf16*, const bf16*, float*,
                                 float*, cudaStream_t);

}  // namespace trainyard::kernels::cuda
