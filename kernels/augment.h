// What happens to one training image before the network sees it, as every backend does it:
// normalise, then flip, then shift, then cut out. Pixels without a source are zero.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/augment_draws.h"
#include "kernels/backend.h"
#include "kernels/graph.h"

namespace trainyard::kernels {

// The draws for the image at `place` in the batch (0-based) of step `scalars.step`.
ImageDraws DrawAugmentation(const StepScalars& scalars, int place, const ValueShape& shape);

// The normalised value of every byte, 256 floats a channel: (byte / 255 - mean) * inverse_std in
// double, rounded once. All backends read images through this table, so their inputs are equal.
std::vector<float> NormalisationTable(std::span<const float> mean,
                                      std::span<const float> inverse_std);

// Writes one image (channels, height, width) through the table.
void AugmentImage(const uint8_t* pixels, const ValueShape& shape, const float* table,
                  const ImageDraws& draws, float* out);

}  // namespace trainyard::kernels
