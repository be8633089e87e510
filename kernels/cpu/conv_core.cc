#include "kernels/cpu/conv_core.h"

#include <algorithm>

#include "kernels/cpu/batch_core.h"

namespace trainyard::kernels::cpu {
namespace {

// A tile of Winograd's costs 36 multiplications a pair of channels, a pixel of a direct 3x3
// convolution 9. So tiles must be a quarter full, which they are not where an image is a pixel or
// two.
bool WinogradPays(const ConvGeometry& geometry) {
  if (!WinogradSupports(geometry)) return false;
  const auto tiles = [](int pixels) { return (pixels + 3) / 4; };
  const int64_t pixels = int64_t{geometry.out.height} * geometry.out.width;
  return pixels * 9 >= int64_t{tiles(geometry.out.height)} * tiles(geometry.out.width) * 36;
}

}  // namespace

Frame InputFrame(const ConvGeometry& geometry) {
  const Op& op = *geometry.op;
  return {std::max(op.pad_top + geometry.in.height,
                   (geometry.out.height - 1) * op.stride_h + op.kernel_h),
          std::max(op.pad_left + geometry.in.width,
                   (geometry.out.width - 1) * op.stride_w + op.kernel_w),
          op.pad_top, op.pad_left};
}

Frame OutputFrame(const ConvGeometry& geometry) {
  return {geometry.out.height, geometry.out.width, 0, 0};
}

std::unique_ptr<ConvCore> ChooseConvCore(const ConvGeometry& geometry) {
  if (geometry.plain_input) return MakeFirstCore(geometry);
  const int groups = geometry.op->groups;
  if (groups > 1 && groups == geometry.in.channels && groups == geometry.out.channels) {
    return MakeDepthwiseCore(geometry);
  }
  if (WinogradPays(geometry)) return MakeWinogradCore(geometry);
  return MakeDirectCore(geometry);
}

std::unique_ptr<BatchCore> ChooseBatchCore(const ConvGeometry& geometry) {
  if (!WinogradPays(geometry) || !PrefersWinogradBatch(geometry)) return nullptr;
  return MakeWinogradBatchCore(geometry);
}

}  // namespace trainyard::kernels::cpu
