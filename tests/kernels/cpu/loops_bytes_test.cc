#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "kernels/cpu/simd/layout.h"
#include "kernels/cpu/simd/loops.h"
#include "kernels/philox.h"
#include "tests/kernels/cpu/simd_checks.h"
#include "tests/kernels/cpu/simd_targets.h"

namespace trainyard::kernels::cpu {
namespace {

using LoopsBytesTest = SimdTest;
TRAINYARD_FOR_SIMD_TARGETS(LoopsBytesTest);

void ExpectKeeps(const StreamPosition& at, uint64_t start, int64_t count, uint32_t threshold) {
  const PhiloxWords words = StreamCounter(at, 0);
  const uint32_t counter[] = {words[1], words[2], words[3]};
  const std::array<uint32_t, 2> key = StreamKey(at.seed);
  Bordered<uint8_t> keep(count);
  KeepBytes(start, count, counter, key.data(), threshold, keep.data());
  for (int64_t i = 0; i < count; ++i) {
    ASSERT_EQ(keep[i], RandomWord(at, start + i) >= threshold) << start << " + " << i;
  }
  EXPECT_TRUE(keep.BordersIntact());
}

TEST_P(LoopsBytesTest, KeepIsWhatTheStreamOfDropoutSays) {
  Draws draws(1);
  for (int i = 0; i < 60; ++i) {
    const StreamPosition at = DropoutStream(uint64_t{0x9E3779B97F4A7C15} * i,
                                            draws.Int(0, 1 << 30) * int64_t{200}, draws.Int(0, 50));
    ExpectKeeps(at, draws.Int(0, 1000), draws.Int(0, 700),
                DropoutThreshold(draws.Int(0, 9) / 10.0f));
  }
}

// The group's number has 40 bits, and 32 of them lie in another word of the counter.
TEST_P(LoopsBytesTest, KeepGoesOnWhereTheGroupLeaves32Bits) {
  const StreamPosition at = DropoutStream(7, int64_t{1} << 40, 3);
  ExpectKeeps(at, (uint64_t{1} << 34) - 300, 600, DropoutThreshold(0.5f));
  ExpectKeeps(at, (uint64_t{1} << 41) - 300, 600, DropoutThreshold(0.5f));
}

TEST_P(LoopsBytesTest, KeepComparesAllBitsOfAWord) {
  const StreamPosition at = DropoutStream(5, 1, 2);
  const uint32_t word = RandomWord(at, 13);
  for (uint32_t threshold : {uint32_t{0}, word - 1, word, word + 1, ~uint32_t{0}}) {
    ExpectKeeps(at, 0, 130, threshold);
  }
}

template <class T>
void ExpectChannelsLast(int64_t pixels, int channels, const std::vector<T>& from,
                        const Bordered<T>& to) {
  const int padded = Padded(channels);
  for (int64_t i = 0; i < pixels * padded; ++i) {
    const int64_t p = i / padded, c = i % padded;
    ASSERT_EQ(to[i], c < channels ? from[c * pixels + p] : T{0}) << "pixel " << p << ", " << c;
  }
  EXPECT_TRUE(to.BordersIntact());
}

TEST_P(LoopsBytesTest, PlanesBecomeChannelsLastWithPaddingOfZeros) {
  Draws draws(2);
  for (int i = 0; i < 60; ++i) {
    const int64_t pixels = draws.Int(1, 70);
    const int channels = draws.Int(1, 50);
    const std::vector<uint8_t> bytes = draws.Bytes(pixels * channels, 0, 255);
    const std::vector<float> floats = draws.Normals(pixels * channels);
    Bordered<uint8_t> found_bytes(pixels * Padded(channels));
    Bordered<float> found(pixels * Padded(channels));
    BytesToChannelsLast(pixels, channels, bytes.data(), found_bytes.data());
    ToChannelsLast(pixels, channels, floats.data(), found.data());
    ExpectChannelsLast(pixels, channels, bytes, found_bytes);
    ExpectChannelsLast(pixels, channels, floats, found);
  }
}

}  // namespace
}  // namespace trainyard::kernels::cpu
