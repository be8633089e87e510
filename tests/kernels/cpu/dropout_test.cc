// Dropout keeps what the stream of random numbers says, whatever the shape.
#include "kernels/cpu/dropout.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/philox.h"

namespace trainyard::kernels::cpu {
namespace {

constexpr uint8_t kUnwritten = 0xAA;

std::vector<uint8_t> Keep(const Layout& layout, const StepScalars& scalars, int layer, float rate,
                          int threads) {
  const ThreadScope scope(threads);
  const int64_t floats = DropoutScratchFloats(layout);
  std::vector<float> memory(static_cast<size_t>(floats * threads));
  std::vector<uint8_t> keep(static_cast<size_t>(layout.floats()), kUnwritten);
  DropoutKeep(layout, scalars, layer, rate, {memory.data(), floats}, keep.data());
  return keep;
}

TEST(Dropout, KeepsByCanonicalIndexForEveryPlane) {
  StepScalars scalars;
  scalars.seed = 0x123456789ABCDEF0;
  scalars.step = (int64_t{1} << 32) + 5;
  const uint32_t threshold = DropoutThreshold(0.3f);
  const StreamPosition stream = DropoutStream(scalars.seed, scalars.step, 7);
  for (int channels : {1, 3, 16, 21, 64}) {
    for (const auto& [height, width] : {std::pair{1, 1}, {1, 2}, {3, 3}, {8, 5}, {17, 31}}) {
      const Layout layout{3, {channels, height, width}};
      const std::vector<uint8_t> keep = Keep(layout, scalars, 7, 0.3f, 2);
      size_t at = 0;
      for (int n = 0; n < 3; ++n) {
        for (int64_t pixel = 0; pixel < layout.plane(); ++pixel) {
          for (int c = 0; c < layout.channels(); ++c) {
            const int64_t element = (n * channels + c) * layout.plane() + pixel;
            const bool kept =
                c < channels && RandomWord(stream, static_cast<uint64_t>(element)) >= threshold;
            ASSERT_EQ(keep[at++], kept ? 1 : 0)
                << channels << "x" << height << "x" << width << " image " << n << " pixel " << pixel
                << " channel " << c;
          }
        }
      }
    }
  }
}

TEST(Dropout, IsTheSameBytesForAnyNumberOfThreads) {
  StepScalars scalars;
  scalars.seed = 1;
  const Layout layout{7, {24, 14, 14}};
  const std::vector<uint8_t> one = Keep(layout, scalars, 2, 0.5f, 1);
  EXPECT_EQ(one, Keep(layout, scalars, 2, 0.5f, 5));
  EXPECT_NE(one, Keep(layout, scalars, 3, 0.5f, 1));  // another layer
}

TEST(Dropout, EveryThreadWorksInScratchOfItsOwn) {
  constexpr int kThreads = 3;
  constexpr float kUntouched = -1;
  const ThreadScope scope(kThreads);
  const Layout layout{7, {24, 14, 14}};
  const int64_t floats = DropoutScratchFloats(layout);
  EXPECT_GE(floats * int64_t{sizeof(float)}, layout.shape.size());
  std::vector<float> memory(static_cast<size_t>(floats * kThreads), kUntouched);
  std::vector<uint8_t> keep(static_cast<size_t>(layout.floats()));
  DropoutKeep(layout, {}, 0, 0.5f, {memory.data(), floats}, keep.data());
  for (int t = 0; t < kThreads; ++t) EXPECT_NE(memory[t * floats], kUntouched) << t;
}

}  // namespace
}  // namespace trainyard::kernels::cpu
