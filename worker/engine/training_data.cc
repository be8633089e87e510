#include "worker/engine/training_data.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

namespace trainyard::engine {
namespace {

using kernels::Error;

std::string Text(int channels, int height, int width) {
  return std::to_string(channels) + "x" + std::to_string(height) + "x" + std::to_string(width);
}

// Sum and sum of squares of bytes. In 32 bits as long as these hold them, which vectors do well.
struct Sums {
  uint64_t sum = 0, squares = 0;

  void Add(const uint8_t* bytes, size_t count) {
    constexpr size_t kPieceMax = 65'536;  // 255 * 255 * 65,536 < 2^32
    for (size_t begin = 0; begin < count; begin += kPieceMax) {
      const size_t end = std::min(begin + kPieceMax, count);
      uint32_t part = 0, part_squares = 0;
      for (size_t i = begin; i < end; ++i) {
        part += bytes[i];
        part_squares += uint32_t{bytes[i]} * bytes[i];
      }
      sum += part;
      squares += part_squares;
    }
  }
};

}  // namespace

void CheckDataset(const Dataset& dataset, const network::Network& network, const char* what) {
  const kernels::ImageSet images = dataset.images();
  const network::Shape& input = network.input;
  if (images.shape.channels != input.channels || images.shape.height != input.height ||
      images.shape.width != input.width) {
    throw Error(std::string(what) + ": found images of " +
                Text(images.shape.channels, images.shape.height, images.shape.width) +
                ", expected the network's input of " +
                Text(input.channels, input.height, input.width));
  }
  if (images.count() == 0 || images.count() > std::numeric_limits<int32_t>::max()) {
    throw Error(std::string(what) + ": found " + std::to_string(images.count()) +
                " images, expected 1 to 2^31 - 1");
  }
  for (size_t i = 0; i < images.labels.size(); ++i) {
    if (images.labels[i] < 0 || images.labels[i] >= network.classes) {
      throw Error(std::string(what) + ": image " + std::to_string(i) + ": found label " +
                  std::to_string(images.labels[i]) + ", expected 0 to " +
                  std::to_string(network.classes - 1));
    }
  }
}

Split ChooseImages(const TrainingData& data, const network::Network& network) {
  if (data.train == nullptr) throw Error("training data: found none");
  CheckDataset(*data.train, network, "training data");
  if (data.validation != nullptr) {
    CheckDataset(*data.validation, network, "validation data");
    Split split = SplitOff(data.train->count(), 0, 0);
    split.validation = SplitOff(data.validation->count(), 0, 0).train;
    return split;
  }
  if (!(data.validation_fraction >= 0 && data.validation_fraction < 1)) {
    throw Error("validation fraction: found " + std::to_string(data.validation_fraction) +
                ", expected 0 or more and less than 1");
  }
  return SplitOff(data.train->count(), data.validation_fraction, data.validation_seed);
}

Normalisation MeasureNormalisation(const kernels::ImageSet& images,
                                   const std::vector<int32_t>& indices) {
  const auto channels = static_cast<size_t>(images.shape.channels);
  const auto plane = static_cast<size_t>(images.shape.height) * images.shape.width;
  std::vector<Sums> sums(channels);
  for (int32_t index : indices) {
    const uint8_t* pixel = images.pixels.data() + static_cast<size_t>(index) * channels * plane;
    for (size_t c = 0; c < channels; ++c) sums[c].Add(pixel + c * plane, plane);
  }
  const double count = static_cast<double>(indices.size()) * static_cast<double>(plane);
  Normalisation normalisation;
  for (size_t c = 0; c < channels; ++c) {
    const double mean = static_cast<double>(sums[c].sum) / count;
    const double variance = static_cast<double>(sums[c].squares) / count - mean * mean;
    // Bytes that differ at all have a variance of at least about 1 / count.
    const bool varies = variance > 0.5 / count;
    normalisation.mean.push_back(static_cast<float>(mean / 255));
    normalisation.inverse_std.push_back(varies ? static_cast<float>(255 / std::sqrt(variance)) : 1);
  }
  return normalisation;
}

}  // namespace trainyard::engine
