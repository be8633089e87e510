// Dense layers against double loops, for every SIMD target, and the same bytes for any number of
// threads.
#include "kernels/cpu/dense.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/simd/layout.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

using Floats = std::vector<float>;

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

Floats Random(int64_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> values(-1, 1);
  Floats floats(size);
  for (float& value : floats) value = values(random);
  return floats;
}

// Scratch of so many threads as can work, and a guard behind it that nobody may write.
class Scratch {
 public:
  Scratch(const Dense& dense, int threads)
      : floats_((dense.scratch_floats() + 15) / 16 * 16),
        memory_(std::min<int64_t>(threads, dense.items()) * floats_ + 16, kPoison) {}
  ~Scratch() {
    for (int i = 1; i <= 16; ++i) EXPECT_TRUE(std::isnan(memory_[memory_.size() - i])) << i;
  }
  Scratch(const Scratch&) = delete;

  ThreadScratch get() { return {memory_.data(), floats_}; }

 private:
  const int64_t floats_;
  Floats memory_;
};

struct Layer {
  explicit Layer(Dense dense)
      : dense(dense),
        x(Random(dense.batch * dense.inputs, 1)),
        weights(Random(dense.inputs * dense.outputs, 2)),
        bias(Random(dense.outputs, 3)),
        dy(Random(dense.batch * dense.outputs, 4)) {}

  int64_t WeightAt(int64_t input, int64_t output) const {
    return (output / kBlock * dense.inputs + input) * kBlock + output % kBlock;
  }

  Dense dense;
  Floats x, weights, bias, dy;
};

// Everything that the three functions put out.
struct Results {
  Floats y, plain_y, dx, added_dx, dw, db;
};

Results RunLayer(const Layer& layer, int threads) {
  const Dense& dense = layer.dense;
  Scratch scratch(dense, threads);
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  Results out;
  out.y = out.plain_y = Floats(layer.dy.size(), kPoison);
  out.dx = Floats(layer.x.size(), kPoison);
  out.added_dx = layer.x;
  out.dw = Floats(layer.weights.size(), kPoison);
  out.db = Floats(layer.bias.size(), kPoison);
  DenseForward(dense, layer.x.data(), layer.weights.data(), layer.bias.data(), 0.25f, out.y.data(),
               scratch.get());
  DenseForward(dense, layer.x.data(), layer.weights.data(), nullptr, 1, out.plain_y.data(),
               scratch.get());
  DenseData(dense, layer.dy.data(), layer.weights.data(), false, out.dx.data(), scratch.get());
  DenseData(dense, layer.dy.data(), layer.weights.data(), true, out.added_dx.data(), scratch.get());
  DenseWeights(dense, layer.x.data(), layer.dy.data(), out.dw.data(), out.db.data(), scratch.get());
  omp_set_num_threads(before);
  return out;
}

Results Expected(const Layer& layer) {
  const auto [batch, inputs, outputs] = layer.dense;
  Results out;
  out.y = out.plain_y = Floats(layer.dy.size());
  out.dx = out.added_dx = Floats(layer.x.size());
  out.dw = Floats(layer.weights.size());
  out.db = Floats(layer.bias.size());
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t o = 0; o < outputs; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < inputs; ++i) {
        sum += double{layer.x[n * inputs + i]} * layer.weights[layer.WeightAt(i, o)];
      }
      out.plain_y[n * outputs + o] = static_cast<float>(sum);
      sum += layer.bias[o];
      out.y[n * outputs + o] = static_cast<float>(sum > 0 ? sum : 0.25 * sum);
    }
    for (int64_t i = 0; i < inputs; ++i) {
      double sum = 0;
      for (int64_t o = 0; o < outputs; ++o) {
        sum += double{layer.dy[n * outputs + o]} * layer.weights[layer.WeightAt(i, o)];
      }
      out.dx[n * inputs + i] = static_cast<float>(sum);
      out.added_dx[n * inputs + i] = static_cast<float>(layer.x[n * inputs + i] + sum);
    }
  }
  for (int64_t o = 0; o < outputs; ++o) {
    double bias_sum = 0;
    for (int64_t n = 0; n < batch; ++n) bias_sum += layer.dy[n * outputs + o];
    out.db[o] = static_cast<float>(bias_sum);
    for (int64_t i = 0; i < inputs; ++i) {
      double sum = 0;
      for (int64_t n = 0; n < batch; ++n) {
        sum += double{layer.x[n * inputs + i]} * layer.dy[n * outputs + o];
      }
      out.dw[layer.WeightAt(i, o)] = static_cast<float>(sum);
    }
  }
  return out;
}

double Distance(const Floats& found, const Floats& expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += (double{found[i]} - expected[i]) * (double{found[i]} - expected[i]);
    norm += double{expected[i]} * expected[i];
  }
  return std::sqrt(difference / norm);  // NaN where a float was not written
}

// what(name, floats) for all of them.
void ForEach(const Results& a, const Results& b,
             const std::function<void(const char*, const Floats&, const Floats&)>& what) {
  what("y", a.y, b.y);
  what("y without bias", a.plain_y, b.plain_y);
  what("dx", a.dx, b.dx);
  what("dx, added", a.added_dx, b.added_dx);
  what("dw", a.dw, b.dw);
  what("db", a.db, b.db);
}

class DenseTest : public SimdTest {};

// Shapes below and above what is done at once of batch (144 rows, or 256 of the depth), inputs and
// outputs (256), and rows of whole pages (1024 floats).
const Dense kShapes[] = {{1, 16, 16},     {7, 32, 48},     {128, 128, 16},
                         {131, 288, 144}, {33, 1024, 32},  {300, 176, 16},
                         {145, 528, 272}, {17, 2048, 528}, {256, 9216, 16}};

void ExpectDoubleLoops(const Dense& shape) {
  const Layer layer(shape);
  ForEach(RunLayer(layer, 2), Expected(layer),
          [&](const char* name, const Floats& x, const Floats& y) {
            EXPECT_LT(Distance(x, y), 1e-5)
                << name << ", " << shape.batch << " x " << shape.inputs << " x " << shape.outputs;
          });
}

TEST_P(DenseTest, AgreesWithDoubleLoops) {
  for (const Dense& shape : kShapes) ExpectDoubleLoops(shape);
}

TEST_P(DenseTest, AgreesWithDoubleLoopsOnRandomShapes) {
  std::mt19937 random(5);
  const auto draw = [&](int most) { return std::uniform_int_distribution<int>(1, most)(random); };
  for (int round = 0; round < 12; ++round) {
    ExpectDoubleLoops({draw(200), kBlock * draw(20), kBlock * draw(10)});
  }
}

TEST_P(DenseTest, BytesDoNotDependOnTheNumberOfThreads) {
  for (const Dense& shape : kShapes) {
    const Layer layer(shape);
    const Results one = RunLayer(layer, 1);
    for (int threads : {2, 3, 4, 8}) {
      ForEach(one, RunLayer(layer, threads),
              [&](const char* name, const Floats& x, const Floats& y) {
                EXPECT_EQ(std::memcmp(x.data(), y.data(), x.size() * sizeof(float)), 0)
                    << name << ", " << threads << " threads, " << shape.batch << " x "
                    << shape.inputs << " x " << shape.outputs;
              });
    }
  }
}

TEST(ThreadScratchTest, IsEachThreadsOwnOrEachItemsWhereThoseAreFewer) {
  float memory[64];
  const ThreadScratch scratch{memory, 16};
  std::vector<float*> of_thread(4), of_item(4);
#pragma omp parallel num_threads(4)
  {
    const int thread = omp_get_thread_num();
    of_thread[thread] = scratch.Of(3 - thread, 4);
    of_item[thread] = scratch.Of(thread % 3, 3);
  }
  EXPECT_EQ(of_thread, (std::vector{memory, memory + 16, memory + 32, memory + 48}));
  EXPECT_EQ(of_item, (std::vector{memory, memory + 16, memory + 32, memory}));
  EXPECT_EQ(scratch.Of(2, 3), memory) << "one thread needs no more than one";
}

TEST_P(DenseTest, TheBiasGradientIsSummedInOrder) {
  const Layer layer({37, 16, 32});
  Floats expected(32, 0.0f);
  for (size_t i = 0; i < layer.dy.size(); ++i) expected[i % 32] += layer.dy[i];
  EXPECT_EQ(RunLayer(layer, 1).db, expected);
}

TEST_P(DenseTest, NanStaysNan) {
  Layer layer({3, 16, 16});
  layer.x[16] = kPoison;
  const Floats y = RunLayer(layer, 1).y;
  for (int i = 0; i < 48; ++i) EXPECT_EQ(std::isnan(y[i]), i / 16 == 1) << i;
}

TRAINYARD_FOR_SIMD_TARGETS(DenseTest);

}  // namespace
}  // namespace trainyard::kernels::cpu
