// Bytes of images to the floats that a network reads: as kernels/augment.h defines it, bit for bit,
// several times as fast.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/augment_draws.h"
#include "kernels/graph.h"

namespace trainyard::kernels::cpu {

// How one channel's bytes become floats. `table` is the definition. Where `affine` holds, rounding
// scale * byte + offset once more, to a float, gives what the table has, for every byte.
struct ChannelMap {
  const float* table = nullptr;  // 256
  double scale = 0, offset = 0;
  bool affine = false;
};

class Normaliser {
 public:
  // As NormalisationTable: (byte / 255 - mean) * inverse_std, by channel.
  Normaliser(std::span<const float> mean, std::span<const float> inverse_std);
  Normaliser(const Normaliser&) = delete;

  // One image (channels, height, width), as AugmentImage does it with the same table.
  void Load(const uint8_t* pixels, const ValueShape& shape, const ImageDraws& draws,
            float* out) const;

  bool finite() const { return finite_; }
  const ChannelMap& channel(int c) const { return channels_[static_cast<size_t>(c)]; }

 private:
  std::vector<float> table_;
  std::vector<ChannelMap> channels_;
  bool finite_ = true;
};

}  // namespace trainyard::kernels::cpu
