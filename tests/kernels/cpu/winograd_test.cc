// Each transform against its matrices in double precision, on random images and tiles, for every
// instruction set; what lies between and around the results stays as it was.
#include "kernels/cpu/simd/winograd.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

using Matrix = std::vector<std::vector<double>>;

const Matrix kInputMatrix = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0},
                             {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
const Matrix kOutputMatrix = {
    {1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}};
const Matrix kWeightMatrix = {{1 / 4.0, 0, 0},
                              {-1 / 6.0, -1 / 6.0, -1 / 6.0},
                              {-1 / 6.0, 1 / 6.0, -1 / 6.0},
                              {1 / 24.0, 1 / 12.0, 1 / 6.0},
                              {1 / 24.0, -1 / 12.0, 1 / 6.0},
                              {0, 0, 1}};

Matrix Transposed(const Matrix& m) {
  Matrix t(m[0].size(), std::vector<double>(m.size()));
  for (size_t i = 0; i < m.size(); ++i) {
    for (size_t j = 0; j < m[0].size(); ++j) t[j][i] = m[i][j];
  }
  return t;
}

Matrix Product(const Matrix& a, const Matrix& b) {
  Matrix c(a.size(), std::vector<double>(b[0].size()));
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < b[0].size(); ++j) {
      for (size_t k = 0; k < b.size(); ++k) c[i][j] += a[i][k] * b[k][j];
    }
  }
  return c;
}

// m tile m^T
Matrix Map(const Matrix& m, const Matrix& tile) { return Product(Product(m, tile), Transposed(m)); }

// Floats of which the test knows what they should become.
struct Floats {
  std::vector<float> now;
  std::vector<double> expected;

  Floats(int64_t size, std::mt19937& random) : now(size), expected(size) {
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < size; ++i) expected[i] = now[i] = normal(random);
  }

  // What was not to be written is compared, too: it must be equal.
  void Check(const std::vector<bool>& written) const {
    double error = 0, size = 0;
    for (size_t i = 0; i < now.size(); ++i) {
      if (!written[i]) {
        ASSERT_EQ(now[i], static_cast<float>(expected[i])) << "written over at " << i;
      }
      error += (now[i] - expected[i]) * (now[i] - expected[i]);
      size += expected[i] * expected[i];
    }
    EXPECT_LT(std::sqrt(error / size), 1e-6);
  }
};

struct Place {
  int64_t origin = 0, y = 0, x = 0;
  int64_t At(int row, int column) const { return origin + row * y + column * x; }
};

Matrix Read(const std::vector<double>& from, const Place& place, int edge) {
  Matrix tile(edge, std::vector<double>(edge));
  for (int i = 0; i < edge; ++i) {
    for (int j = 0; j < edge; ++j) tile[i][j] = from[place.At(i, j)];
  }
  return tile;
}

// How many rows and columns of a tile have been written by others.
struct Shared {
  int rows = 0, columns = 0;
};

void Write(const Matrix& tile, const Place& place, const Shared& shared, Floats& to,
           std::vector<bool>& written) {
  for (int i = 0; i < static_cast<int>(tile.size()); ++i) {
    for (int j = 0; j < static_cast<int>(tile[0].size()); ++j) {
      const int64_t at = place.At(i, j);
      const bool adds = i < shared.rows || j < shared.columns;
      to.expected[at] = (adds ? to.expected[at] : 0) + tile[i][j];
      written[at] = true;
    }
  }
}

// Random tiles of a random image, between whose positions a gap lies.
struct Sample {
  Tiles tiles;
  int64_t image_floats = 0, transformed_floats = 0;

  explicit Sample(std::mt19937& random) {
    const auto draw = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    const int tiles_y = draw(1, 4);
    tiles.tiles_x = draw(1, 5);
    tiles.first = draw(0, tiles_y * tiles.tiles_x - 1);
    tiles.count = draw(1, tiles_y * tiles.tiles_x - tiles.first);
    tiles.channels = 16 * draw(1, 4);
    tiles.width = tiles.tiles_x * kTile + draw(2, 3);
    tiles.row = tiles.channels + 16 * draw(0, 2);
    tiles.position = tiles.count * tiles.row + 16 * draw(0, 3);
    image_floats = int64_t{tiles_y * kTile + 2} * tiles.width * tiles.channels;
    transformed_floats = kPositions * tiles.position;
  }
  Place Pixels(int tile, int channel) const {
    const int64_t row = int64_t{tiles.width} * tiles.channels;
    const int64_t number = tiles.first + tile;
    return {number / tiles.tiles_x * kTile * row + number % tiles.tiles_x * kTile * tiles.channels +
                channel,
            row, tiles.channels};
  }
  Place Positions(int tile, int channel) const {
    return {tile * tiles.row + channel, kTileIn * tiles.position, tiles.position};
  }
};

class WinogradTransforms : public SimdTest {
 protected:
  // An image's tiles to positions.
  void CheckToPositions(void (*transform)(const Tiles&, const float*, float*), const Matrix& matrix,
                        int edge) {
    for (int round = 0; round < 20; ++round) {
      const Sample sample(random_);
      const Floats image(sample.image_floats, random_);
      Floats u(sample.transformed_floats, random_);
      std::vector<bool> written(u.now.size());
      for (int t = 0; t < sample.tiles.count; ++t) {
        for (int c = 0; c < sample.tiles.channels; ++c) {
          Write(Map(matrix, Read(image.expected, sample.Pixels(t, c), edge)),
                sample.Positions(t, c), {}, u, written);
        }
      }
      transform(sample.tiles, image.now.data(), u.now.data());
      u.Check(written);
    }
  }
  // And back.
  void CheckToPixels(void (*transform)(const Tiles&, const float*, float*), const Matrix& matrix,
                     bool overlap) {
    for (int round = 0; round < 20; ++round) {
      const Sample sample(random_);
      const Floats m(sample.transformed_floats, random_);
      Floats image(sample.image_floats, random_);
      std::vector<bool> written(image.now.size());
      for (int t = 0; t < sample.tiles.count; ++t) {
        const int number = sample.tiles.first + t, tiles_x = sample.tiles.tiles_x;
        Shared shared;
        if (overlap) shared = {number < tiles_x ? 0 : 2, number % tiles_x == 0 ? 0 : 2};
        for (int c = 0; c < sample.tiles.channels; ++c) {
          Write(Map(matrix, Read(m.expected, sample.Positions(t, c), kTileIn)), sample.Pixels(t, c),
                shared, image, written);
        }
      }
      transform(sample.tiles, m.now.data(), image.now.data());
      image.Check(written);
    }
  }

  std::mt19937 random_{7};
};

TEST_P(WinogradTransforms, InputIsItsMatrices) {
  CheckToPositions(TransformInput, kInputMatrix, kTileIn);
}
TEST_P(WinogradTransforms, OutputIsItsMatrices) {
  CheckToPixels(TransformOutput, kOutputMatrix, false);
}
TEST_P(WinogradTransforms, OutputGradientIsTheAdjointOfOutput) {
  CheckToPositions(TransformOutputGradient, Transposed(kOutputMatrix), kTile);
}
TEST_P(WinogradTransforms, InputGradientIsTheAdjointOfInputAndAddsUpWhereTilesOverlap) {
  CheckToPixels(TransformInputGradient, Transposed(kInputMatrix), true);
}

struct WeightSample {
  WinogradWeights shape;
  int first = 0, count = 0;

  explicit WeightSample(std::mt19937& random) {
    const auto draw = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    shape = {16 * draw(1, 4), 16 * draw(1, 4)};
    first = draw(0, shape.rows() - 1);
    count = draw(1, shape.rows() - first);
  }
  Place Taps(int row, int j) const {
    const int64_t panel = row / shape.inputs, input = row % shape.inputs;
    const int64_t tap = int64_t{shape.inputs} * 16;
    return {panel * 9 * tap + input * 16 + j, 3 * tap, tap};
  }
  Place Positions(int row, int j) const {
    return {int64_t{row} * 16 + j, kTileIn * shape.position(), shape.position()};
  }
  int64_t weight_floats() const { return int64_t{9} * shape.inputs * shape.outputs; }
};

TEST_P(WinogradTransforms, WeightsAreTheirMatrices) {
  for (int round = 0; round < 20; ++round) {
    const WeightSample sample(random_);
    const Floats weights(sample.weight_floats(), random_);
    Floats transformed(sample.shape.floats(), random_);
    std::vector<bool> written(transformed.now.size());
    for (int row = sample.first; row < sample.first + sample.count; ++row) {
      for (int j = 0; j < 16; ++j) {
        Write(Map(kWeightMatrix, Read(weights.expected, sample.Taps(row, j), 3)),
              sample.Positions(row, j), {}, transformed, written);
      }
    }
    TransformWeights(sample.shape, sample.first, sample.count, weights.now.data(),
                     transformed.now.data());
    transformed.Check(written);
  }
}

TEST_P(WinogradTransforms, WeightGradientIsTheAdjointOfWeights) {
  for (int round = 0; round < 20; ++round) {
    const WeightSample sample(random_);
    const Floats sums(sample.shape.floats(), random_);
    Floats dw(sample.weight_floats(), random_);
    std::vector<bool> written(dw.now.size());
    for (int row = sample.first; row < sample.first + sample.count; ++row) {
      for (int j = 0; j < 16; ++j) {
        Write(
            Map(Transposed(kWeightMatrix), Read(sums.expected, sample.Positions(row, j), kTileIn)),
            sample.Taps(row, j), {}, dw, written);
      }
    }
    TransformWeightGradient(sample.shape, sample.first, sample.count, sums.now.data(),
                            dw.now.data());
    dw.Check(written);
  }
}

TRAINYARD_FOR_SIMD_TARGETS(WinogradTransforms);

}  // namespace
}  // namespace trainyard::kernels::cpu
