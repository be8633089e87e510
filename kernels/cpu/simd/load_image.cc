#include "kernels/cpu/simd/load_image.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/load_image.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "kernels/augment.h"

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// out[i] = map(bytes[i]), or bytes in reverse: out[i] = map(bytes[count - 1 - i]).
//
// In double, a multiplication and an addition, each rounded, on every target: which bytes come out
// must not depend on the target.
template <bool kReverse>
HWY_INLINE void MapBytes(const ChannelMap& map, int64_t count, const uint8_t* bytes, float* out) {
  const hn::ScalableTag<double> doubles;
  const hn::Rebind<float, decltype(doubles)> floats;
  const hn::Rebind<int32_t, decltype(doubles)> integers;
  const hn::Rebind<uint8_t, decltype(doubles)> octets;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(doubles));
  if (!map.affine || count < lanes) {
    for (int64_t i = 0; i < count; ++i) {
      out[i] = map.table[bytes[kReverse ? count - 1 - i : i]];
    }
    return;
  }
  const auto scale = hn::Set(doubles, map.scale), offset = hn::Set(doubles, map.offset);
  const auto vector = [&](int64_t i) HWY_ATTR {
    const uint8_t* from = bytes + (kReverse ? count - lanes - i : i);
    const auto value = hn::PromoteTo(doubles, hn::PromoteTo(integers, hn::LoadU(octets, from)));
    const auto mapped = hn::DemoteTo(floats, hn::Add(hn::Mul(value, scale), offset));
    hn::StoreU(kReverse ? hn::Reverse(floats, mapped) : mapped, floats, out + i);
  };
  for (int64_t i = 0; i + lanes <= count; i += lanes) vector(i);
  if (count % lanes != 0) vector(count - lanes);  // some of it once more
}

// One channel, as AugmentImage does it.
void LoadChannel(const ChannelMap& map, const uint8_t* pixels, int64_t height, int64_t width,
                 const ImageDraws& draws, float* out) {
  // Output columns whose source lies inside of the image.
  const int64_t first = std::clamp<int64_t>(-draws.dx, 0, width);
  const int64_t last = std::clamp<int64_t>(width - draws.dx, first, width);
  const int64_t begin = draws.flip ? width - (last + draws.dx) : first + draws.dx;
  const bool cuts = draws.cut_left < draws.cut_right;
  for (int64_t y = 0; y < height; ++y, out += width) {
    const int64_t from = y + draws.dy;
    if (from < 0 || from >= height || first == last) {
      std::fill(out, out + width, 0.0f);
      continue;
    }
    const uint8_t* bytes = pixels + from * width + begin;
    std::fill(out, out + first, 0.0f);
    if (draws.flip) {
      MapBytes<true>(map, last - first, bytes, out + first);
    } else {
      MapBytes<false>(map, last - first, bytes, out + first);
    }
    std::fill(out + last, out + width, 0.0f);
    if (cuts && y >= draws.cut_top && y < draws.cut_bottom) {
      std::fill(out + draws.cut_left, out + draws.cut_right, 0.0f);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {
namespace {

HWY_EXPORT(LoadChannel);

bool MovesNothing(const ImageDraws& draws) {
  return !draws.flip && draws.dy == 0 && draws.dx == 0 && draws.cut_left >= draws.cut_right;
}

}  // namespace

Normaliser::Normaliser(std::span<const float> mean, std::span<const float> inverse_std)
    : table_(NormalisationTable(mean, inverse_std)) {
  uint8_t bytes[256];
  std::iota(bytes, bytes + 256, uint8_t{0});
  for (size_t c = 0; c < mean.size(); ++c) {
    ChannelMap map{table_.data() + c * 256, double{inverse_std[c]} / 255,
                   -double{mean[c]} * double{inverse_std[c]}, true};
    // The two differ in how they round in double, which nearly never shows in a float.
    float mapped[256];
    HWY_DYNAMIC_DISPATCH(LoadChannel)(map, bytes, 1, 256, ImageDraws{}, mapped);
    map.affine = std::memcmp(mapped, map.table, sizeof mapped) == 0;
    channels_.push_back(map);
  }
  finite_ = std::all_of(table_.begin(), table_.end(), [](float v) { return std::isfinite(v); });
}

void Normaliser::Load(const uint8_t* pixels, const ValueShape& shape, const ImageDraws& draws,
                      float* out) const {
  const int64_t plane = int64_t{shape.height} * shape.width;
  for (const ChannelMap& map : channels_) {
    if (MovesNothing(draws)) {
      HWY_DYNAMIC_DISPATCH(LoadChannel)(map, pixels, 1, plane, ImageDraws{}, out);
    } else {
      HWY_DYNAMIC_DISPATCH(LoadChannel)(map, pixels, shape.height, shape.width, draws, out);
    }
    pixels += plane;
    out += plane;
  }
}

}  // namespace trainyard::kernels::cpu
#endif
