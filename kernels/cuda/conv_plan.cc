#include "kernels/cuda/conv_plan.h"

#include <algorithm>
#include <string>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda {
namespace {

// Blocks that keep a large GPU busy: two for each of 132 multiprocessors.
constexpr int64_t kBusyBlocks = 264;
// Pixels that are worth a piece of their own, and what pieces are multiples of (a step's depth).
constexpr int64_t kMinPiecePixels = 256, kPixelMultiple = 32;
constexpr int64_t kMaxGridSize = 65535;

}  // namespace

bool UsesLargeTile(int64_t rows, int64_t columns, int64_t products) {
  return columns > kSmallTile.columns &&
         TileCount(kLargeTile, rows, columns) * products >= kBusyBlocks;
}

FilterPlan PlanFilter(const ConvShape& shape) {
  FilterPlan plan;
  const int64_t filters = shape.out_c / shape.groups, pixels = shape.out_pixels();
  plan.large = filters > kSmallFilterTile.rows && shape.depth() > kSmallFilterTile.columns;
  const TileSize tile = plan.large ? kLargeFilterTile : kSmallFilterTile;
  const int64_t blocks = TileCount(tile, filters, shape.depth()) * shape.groups;
  const int64_t pieces =
      std::max<int64_t>(1, std::min(kBusyBlocks / blocks, pixels / kMinPiecePixels));
  plan.pixels_per_piece = CeilDivide(CeilDivide(pixels, pieces), kPixelMultiple) * kPixelMultiple;
  plan.pieces = static_cast<int>(CeilDivide(pixels, plan.pixels_per_piece));
  return plan;
}

template <>
void CheckPrecision<float>(const char* kernel, Precision precision) {
  if (precision == Precision::kFp32 || precision == Precision::kTf32) return;
  throw Error(std::string(kernel) + ": float tensors with precision bf16, expected fp32 or tf32");
}

template <>
void CheckPrecision<bf16>(const char* kernel, Precision precision) {
  if (precision == Precision::kBf16) return;
  throw Error(std::string(kernel) + ": bf16 tensors with precision " +
              (precision == Precision::kFp32 ? "fp32" : "tf32") + ", expected bf16");
}

void CheckGridSize(const char* kernel, const char* what, int64_t count) {
  if (count <= kMaxGridSize) return;
  throw Error(std::string(kernel) + ": " + std::to_string(count) + " " + what +
              ", expected at most " + std::to_string(kMaxGridSize));
}

}  // namespace trainyard::kernels::cuda
