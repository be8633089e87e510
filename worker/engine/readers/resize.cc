#include <algorithm>
#include <cmath>

#include "worker/engine/readers/image.h"

namespace trainyard::engine {
namespace {

constexpr int kColours = 3;
// Weights are whole numbers of 2^-14, so that a row's sum fits 32 bits and rounds the same
// everywhere.
constexpr int kWeightBits = 14;
constexpr int kOne = 1 << kWeightBits;

// What one target pixel is made of: source pixels first, first + 1, ... with a weight each.
struct Taps {
  int first = 0;
  std::vector<int> weights;  // sum is kOne
};

std::vector<Taps> MakeTaps(int source, int target) {
  const double scale = static_cast<double>(source) / target;
  const double reach = std::max(1.0, scale);
  std::vector<Taps> taps(static_cast<size_t>(target));
  for (int i = 0; i < target; ++i) {
    const double centre = (i + 0.5) * scale - 0.5;
    const int first = std::max(0, static_cast<int>(std::ceil(centre - reach)));
    const int last = std::min(source - 1, static_cast<int>(std::floor(centre + reach)));
    std::vector<double> weights;
    double sum = 0;
    for (int j = first; j <= last; ++j) {
      weights.push_back(std::max(0.0, 1 - std::abs(j - centre) / reach));
      sum += weights.back();
    }
    taps[i].first = first;
    int left = kOne;
    for (double weight : weights) {
      taps[i].weights.push_back(static_cast<int>(std::lround(weight / sum * kOne)));
      left -= taps[i].weights.back();
    }
    // What rounding left over goes to the heaviest.
    *std::max_element(taps[i].weights.begin(), taps[i].weights.end()) += left;
  }
  return taps;
}

uint8_t Round(int sum) {
  return static_cast<uint8_t>(std::clamp((sum + kOne / 2) >> kWeightBits, 0, 255));
}

// Resizes along x: rows of `source` pixels into rows of taps.size() pixels.
std::vector<uint8_t> ResizeRows(const std::vector<uint8_t>& in, int rows, int source,
                                const std::vector<Taps>& taps) {
  std::vector<uint8_t> out;
  out.reserve(static_cast<size_t>(rows) * taps.size() * kColours);
  for (int y = 0; y < rows; ++y) {
    const uint8_t* row = in.data() + static_cast<size_t>(y) * source * kColours;
    for (const Taps& tap : taps) {
      for (int colour = 0; colour < kColours; ++colour) {
        const uint8_t* pixel = row + static_cast<size_t>(tap.first) * kColours + colour;
        int sum = 0;
        for (int weight : tap.weights) {
          sum += weight * *pixel;
          pixel += kColours;
        }
        out.push_back(Round(sum));
      }
    }
  }
  return out;
}

// Resizes along y.
std::vector<uint8_t> ResizeColumns(const std::vector<uint8_t>& in, int width,
                                   const std::vector<Taps>& taps) {
  const size_t row_bytes = static_cast<size_t>(width) * kColours;
  std::vector<uint8_t> out;
  out.reserve(taps.size() * row_bytes);
  for (const Taps& tap : taps) {
    for (size_t x = 0; x < row_bytes; ++x) {
      const uint8_t* pixel = in.data() + static_cast<size_t>(tap.first) * row_bytes + x;
      int sum = 0;
      for (int weight : tap.weights) {
        sum += weight * *pixel;
        pixel += row_bytes;
      }
      out.push_back(Round(sum));
    }
  }
  return out;
}

}  // namespace

Picture Resize(const Picture& picture, int width, int height) {
  Picture out{width, height, {}};
  const std::vector<uint8_t>* rows = &picture.rgb;
  std::vector<uint8_t> resized;
  if (width != picture.width) {
    resized =
        ResizeRows(picture.rgb, picture.height, picture.width, MakeTaps(picture.width, width));
    rows = &resized;
  }
  out.rgb = height == picture.height
                ? *rows
                : ResizeColumns(*rows, width, MakeTaps(picture.height, height));
  return out;
}

void StoreAsPlanes(const Picture& picture, const kernels::ValueShape& shape,
                   std::span<uint8_t> out) {
  const Picture resized = Resize(picture, shape.width, shape.height);
  const size_t plane = static_cast<size_t>(shape.height) * shape.width;
  for (size_t i = 0; i < plane; ++i) {
    const uint8_t* rgb = resized.rgb.data() + i * kColours;
    if (shape.channels == 1) {
      // Of sum 65536, so that grey stays as it is.
      out[i] =
          static_cast<uint8_t>((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u) >> 16);
    } else {
      for (int colour = 0; colour < kColours; ++colour) out[colour * plane + i] = rgb[colour];
    }
  }
}

}  // namespace trainyard::engine
