// The matrix product against double loops, for every SIMD target: strides, runs
// of the depth, accumulation; what it must not touch; and bytes that do not depend on the cut.
#include "kernels/cpu/simd/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/simd/layout.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// A product whose operands lie apart at random strides, with NaN in every gap.
struct Case {
  explicit Case(uint32_t seed) : random(seed) {
    gemm.rows = Pick(1, 45), gemm.panels = Pick(1, 5);
    gemm.segments = Pick(1, 4), gemm.depth = Pick(1, 20);
    gemm.accumulate = Pick(0, 1) == 1;
    PlaceA();
    PlaceB();
    PlaceC();
    gemm.a = a.data(), gemm.b = b.data(), gemm.c = c.data();
    gemm.a_offsets = a_offsets.empty() ? nullptr : a_offsets.data();
    gemm.b_offsets = b_offsets.empty() ? nullptr : b_offsets.data();
  }
  Case(const Case&) = delete;

  int Pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }
  float Value() { return std::uniform_real_distribution<float>(-1, 1)(random); }

  // Rows may lie in the depth's gaps, or the depth in the rows'. Runs may overlap, as taps do.
  void PlaceA() {
    const int64_t inner = Pick(1, 3), gap = Pick(0, 3);
    const bool rows_inside = Pick(0, 1) == 1;
    gemm.a_row = rows_inside ? inner : inner * gemm.depth + gap;
    gemm.a_depth = rows_inside ? inner * gemm.rows + gap : inner;
    if (Pick(0, 3) != 0) {
      for (int s = 0; s < gemm.segments; ++s) a_offsets.push_back(Pick(0, 300));
    }
    a.assign(5000, kPoison);
    ForDepth([&](int s, int k) {
      for (int i = 0; i < gemm.rows; ++i) a[IndexA(i, s, k)] = Value();
    });
  }

  void PlaceB() {
    const int64_t gap = 4 * Pick(0, 2);
    const int64_t depth = int64_t{gemm.segments} * gemm.depth;
    const bool panels_inside = Pick(0, 1) == 1;
    gemm.b_panel = panels_inside ? kBlock + gap : kBlock * depth + gap;
    gemm.b_depth = panels_inside ? gemm.b_panel * gemm.panels : kBlock;
    if (Pick(0, 1) == 1) {  // the runs in reverse
      for (int s = gemm.segments - 1; s >= 0; --s) {
        b_offsets.push_back(s * gemm.depth * gemm.b_depth);
      }
    }
    b.assign(gemm.panels * gemm.b_panel + depth * gemm.b_depth, kPoison);
    ForDepth([&](int s, int k) {
      for (int p = 0; p < gemm.panels; ++p) {
        for (int j = 0; j < kBlock; ++j) b[IndexB(s, k, p, j)] = Value();
      }
    });
  }

  void PlaceC() {
    const int64_t gap = 4 * Pick(0, 2);
    const bool panels_inside = Pick(0, 1) == 1;
    gemm.c_panel = panels_inside ? kBlock + gap : kBlock * gemm.rows + gap;
    gemm.c_row = panels_inside ? gemm.c_panel * gemm.panels : kBlock;
    c.assign(gemm.panels * gemm.c_panel + gemm.rows * gemm.c_row, kPoison);
    if (!gemm.accumulate) return;
    for (int i = 0; i < gemm.rows; ++i) {
      for (int p = 0; p < gemm.panels; ++p) {
        for (int j = 0; j < kBlock; ++j) c[IndexC(i, p, j)] = Value();
      }
    }
  }

  int64_t IndexA(int i, int s, int k) const {
    return (a_offsets.empty() ? 0 : a_offsets[s]) + i * gemm.a_row + k * gemm.a_depth;
  }
  int64_t IndexB(int s, int k, int p, int j) const {
    return (b_offsets.empty() ? s * gemm.depth * gemm.b_depth : b_offsets[s]) + p * gemm.b_panel +
           k * gemm.b_depth + j;
  }
  int64_t IndexC(int i, int p, int j) const { return i * gemm.c_row + p * gemm.c_panel + j; }

  template <typename Body>
  void ForDepth(const Body& body) const {
    for (int s = 0; s < gemm.segments; ++s) {
      for (int k = 0; k < gemm.depth; ++k) body(s, k);
    }
  }

  // Sum is the type that is summed in, step(sum, x, y) one multiply-add.
  template <typename Sum, typename Step>
  std::vector<float> Expected(const Step& step) const {
    std::vector<float> expected = c;
    for (int i = 0; i < gemm.rows; ++i) {
      for (int p = 0; p < gemm.panels; ++p) {
        for (int j = 0; j < kBlock; ++j) {
          float& element = expected[IndexC(i, p, j)];
          Sum sum = gemm.accumulate ? element : 0;
          ForDepth(
              [&](int s, int k) { sum = step(sum, a[IndexA(i, s, k)], b[IndexB(s, k, p, j)]); });
          element = static_cast<float>(sum);
        }
      }
    }
    return expected;
  }

  std::vector<float> Run() const {
    std::vector<float> result = c;
    Gemm run = gemm;
    run.c = result.data();
    Multiply(run);
    return result;
  }

  std::mt19937 random;
  Gemm gemm;
  std::vector<int64_t> a_offsets, b_offsets;
  std::vector<float> a, b, c;
};

// Relative L2 distance, over what is not poisoned; infinity where one is poisoned and the other
// not.
double Distance(const std::vector<float>& found, const std::vector<float>& expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(found[i]) != std::isnan(expected[i])) {
      return std::numeric_limits<double>::infinity();
    }
    if (std::isnan(expected[i])) continue;
    difference += (double{found[i]} - expected[i]) * (double{found[i]} - expected[i]);
    norm += double{expected[i]} * expected[i];
  }
  return std::sqrt(difference / norm);
}

bool SameBytes(const std::vector<float>& x, const std::vector<float>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

class GemmTest : public SimdTest {};

TEST_P(GemmTest, IsTheProductAndTouchesNothingElse) {
  for (uint32_t seed = 0; seed < 400; ++seed) {
    const Case test(seed);
    const auto expected =
        test.Expected<double>([](double sum, float x, float y) { return sum + double{x} * y; });
    ASSERT_LT(Distance(test.Run(), expected), 1e-6)
        << "seed " << seed << ", rows " << test.gemm.rows << ", panels " << test.gemm.panels;
  }
}

// So all targets that have fused multiply-add agree, too; the others round twice.
TEST_P(GemmTest, EachElementIsOneChainOfMultiplyAdds) {
  const bool fused = SimdKind().ends_with("-fma");
  for (uint32_t seed = 0; seed < 200; ++seed) {
    const Case test(seed);
    const auto expected = test.Expected<float>(
        [&](float sum, float x, float y) { return fused ? std::fma(x, y, sum) : sum + x * y; });
    ASSERT_TRUE(SameBytes(test.Run(), expected)) << "seed " << seed;
  }
}

TEST_P(GemmTest, BytesDoNotDependOnTheCut) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    Case test(seed);
    const std::vector<float> whole = test.Run();
    // Rows and panels one by one, and the depth in two parts where there are no offsets to adjust.
    std::vector<float> cut = test.c;
    for (int i = 0; i < test.gemm.rows; ++i) {
      for (int p = 0; p < test.gemm.panels; ++p) {
        Gemm part = test.gemm;
        part.rows = part.panels = 1;
        part.a += i * part.a_row;
        part.b += p * part.b_panel;
        part.c = cut.data() + test.IndexC(i, p, 0);
        for (int s = 0; s < test.gemm.segments; ++s) {
          part.segments = 1;
          part.a_offsets = part.b_offsets = nullptr;
          part.a = test.a.data() + test.IndexA(i, s, 0);
          part.b = test.b.data() + test.IndexB(s, 0, p, 0);
          Multiply(part);
          part.accumulate = true;
        }
      }
    }
    ASSERT_TRUE(SameBytes(whole, cut)) << "seed " << seed;
  }
}

TEST_P(GemmTest, AnInfinityOrNanStaysInItsRowAndColumn) {
  constexpr int kRows = 17, kDepth = 5, kPanels = 3;
  std::vector<float> a(kRows * kDepth, 1), b(kDepth * kPanels * kBlock, 1);
  a[4 * kDepth + 2] = kPoison;
  b[(1 * kDepth + 3) * kBlock + 7] = std::numeric_limits<float>::infinity();
  std::vector<float> c(kRows * kPanels * kBlock);
  Gemm gemm;
  gemm.rows = kRows, gemm.panels = kPanels, gemm.depth = kDepth;
  gemm.a = a.data(), gemm.a_row = kDepth;
  gemm.b = b.data(), gemm.b_panel = kDepth * kBlock;
  gemm.c = c.data(), gemm.c_row = kPanels * kBlock;
  Multiply(gemm);
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kPanels * kBlock; ++j) {
      const float found = c[i * kPanels * kBlock + j];
      if (i == 4) {
        EXPECT_TRUE(std::isnan(found)) << i << ' ' << j;
      } else {
        EXPECT_EQ(found, j == kBlock + 7 ? std::numeric_limits<float>::infinity() : kDepth);
      }
    }
  }
}

TEST_P(GemmTest, TransposesPanels) {
  for (const auto& [rows, columns] : {std::pair{16, 16}, {48, 16}, {16, 64}, {80, 96}}) {
    std::vector<float> from(rows * columns), to(rows * columns, kPoison);
    for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
    TransposePanels(from.data(), rows, columns, to.data());
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < columns; ++c) {
        ASSERT_EQ(to[(r / kBlock * columns + c) * kBlock + r % kBlock],
                  from[(c / kBlock * rows + r) * kBlock + c % kBlock])
            << rows << 'x' << columns << ": " << r << ", " << c;
      }
    }
  }
}

TRAINYARD_FOR_SIMD_TARGETS(GemmTest);

}  // namespace
}  // namespace trainyard::kernels::cpu
