// Batches are the same bytes whoever made them and whenever, and are made ahead where that can be.
#include "kernels/cpu/batch_loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/augment.h"

namespace trainyard::kernels::cpu {
namespace {

const std::vector<float> kMean = {0.3f, 0.5f}, kInverseStd = {3.0f, 2.5f};

struct RandomImages {
  RandomImages(const ValueShape& shape, int count, uint32_t seed)
      : pixels(static_cast<size_t>(count * shape.size())), labels(static_cast<size_t>(count)) {
    std::mt19937 random(seed);
    for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random());
    set = {pixels, labels, shape};
  }
  RandomImages(const RandomImages&) = delete;
  std::vector<uint8_t> pixels;
  std::vector<int32_t> labels;
  ImageSet set;
};

StepScalars Scalars(int64_t step) {
  StepScalars scalars;
  scalars.seed = 5;
  scalars.step = step;
  scalars.flip = true;
  scalars.shift = 2;
  scalars.cutout = 3;
  return scalars;
}

class BatchLoaderTest : public ::testing::Test {
 protected:
  static constexpr ValueShape kShape{2, 9, 11};
  static constexpr int kBatch = 8, kCount = 50;

  BatchLoaderTest() : order_(kCount) {
    loader_.SetNormalisation(kMean, kInverseStd);
    std::iota(order_.begin(), order_.end(), 0);
    std::shuffle(order_.begin(), order_.end(), std::mt19937(3));
  }

  // By plain loops over the definition.
  std::vector<float> Defined(const ImageSet& images, std::span<const int32_t> indices,
                             const StepScalars* scalars) const {
    const std::vector<float> table = NormalisationTable(mean_, inverse_std_);
    const ValueShape& shape = images.shape;
    std::vector<float> out(indices.size() * static_cast<size_t>(shape.size()));
    for (size_t n = 0; n < indices.size(); ++n) {
      const ImageDraws draws = scalars == nullptr
                                   ? ImageDraws{}
                                   : DrawAugmentation(*scalars, static_cast<int>(n), shape);
      AugmentImage(images.pixels.data() + indices[n] * shape.size(), shape, table.data(), draws,
                   out.data() + static_cast<int64_t>(n) * shape.size());
    }
    return out;
  }
  void ExpectRight(const ImageSet& images, std::span<const int32_t> indices,
                   const StepScalars* scalars) {
    const std::vector<float> expected = Defined(images, indices, scalars);
    const float* found = loader_.Take(images, indices, scalars);
    ASSERT_EQ(std::memcmp(found, expected.data(), expected.size() * sizeof(float)), 0);
  }
  std::span<const int32_t> BatchAt(int64_t number) const {
    const auto begin = static_cast<size_t>(number * kBatch);
    return std::span(order_).subspan(begin, std::min<size_t>(kBatch, order_.size() - begin));
  }

  RandomImages images_{kShape, kCount, 1}, others_{kShape, kCount, 2};
  std::vector<int32_t> order_;
  std::vector<float> mean_ = kMean, inverse_std_ = kInverseStd;
  BatchLoader loader_{kShape, kBatch};
};

TEST_F(BatchLoaderTest, AllButTheFirstOfWhatIsExpectedIsMadeAhead) {
  for (int epoch = 0; epoch < 3; ++epoch) {
    loader_.ResetWaits();
    loader_.Expect(images_.set, order_);
    for (int i = 0; i < 7; ++i) {  // the last has 2 images
      const StepScalars scalars = Scalars(epoch * 7 + i);
      ExpectRight(images_.set, BatchAt(i), &scalars);
    }
    EXPECT_EQ(loader_.waits().taken, 7);
    EXPECT_EQ(loader_.waits().ahead, 6);
    EXPECT_LE(loader_.waits().awaited, 6);
    EXPECT_GT(loader_.waits().seconds, 0);
    loader_.ResetWaits();
    loader_.Expect(others_.set, order_);
    for (int i = 0; i < 7; ++i) ExpectRight(others_.set, BatchAt(i), nullptr);
    EXPECT_EQ(loader_.waits().ahead, 6);
  }
}

TEST_F(BatchLoaderTest, NothingIsMadeAheadOfWhatIsNotExpected) {
  for (int i = 0; i < 7; ++i) {
    const StepScalars scalars = Scalars(i);
    ExpectRight(images_.set, BatchAt(i), &scalars);
  }
  EXPECT_EQ(loader_.waits().ahead, 0);
}

TEST_F(BatchLoaderTest, WhateverElseChangesIsMadeAnew) {
  loader_.Expect(images_.set, order_);
  StepScalars scalars = Scalars(0);
  ExpectRight(images_.set, BatchAt(0), &scalars);
  // Another augmentation than before: made anew, and expected from there on.
  const std::vector<std::function<void()>> changes = {
      [&] { scalars.seed = 6; }, [&] { scalars.flip = false; }, [&] { scalars.shift = 1; },
      [&] { scalars.cutout = 0; }, [&] { scalars.step += 10; }};
  for (size_t i = 0; i < changes.size(); ++i) {
    ++scalars.step;
    changes[i]();
    ExpectRight(images_.set, BatchAt(static_cast<int64_t>(i) + 1), &scalars);
    EXPECT_EQ(loader_.waits().ahead, 0) << "change " << i;
  }
  ++scalars.step;
  ExpectRight(images_.set, BatchAt(6), &scalars);
  EXPECT_EQ(loader_.waits().ahead, 1);
}

TEST_F(BatchLoaderTest, AnEvaluationInBetweenCostsNothingThatWasMadeAhead) {
  loader_.Expect(images_.set, order_);
  for (int i = 0; i < 7; ++i) {
    const StepScalars scalars = Scalars(i);
    ExpectRight(images_.set, BatchAt(i), &scalars);
    ExpectRight(others_.set, BatchAt(6 - i), nullptr);
    ExpectRight(images_.set, BatchAt(0), nullptr);
  }
  EXPECT_EQ(loader_.waits().ahead, 6);
}

TEST_F(BatchLoaderTest, ExpectationsThatCannotBeAreLeftOut) {
  std::vector<int32_t> wrong = order_;
  wrong[20] = kCount;  // in the third batch
  loader_.Expect(images_.set, wrong);
  for (int i = 0; i < 7; ++i) ExpectRight(images_.set, BatchAt(i), nullptr);
  wrong[0] = -1;
  loader_.Expect(images_.set, wrong);
  ExpectRight(images_.set, BatchAt(0), nullptr);
  RandomImages small({2, 9, 10}, kCount, 4);
  loader_.Expect(small.set, order_);
  ExpectRight(images_.set, BatchAt(0), nullptr);
  ImageSet torn = images_.set;
  torn.pixels = torn.pixels.first(100);
  loader_.Expect(torn, order_);
  ExpectRight(images_.set, BatchAt(0), nullptr);
  EXPECT_EQ(loader_.waits().ahead, 1) << "the second batch";
}

TEST_F(BatchLoaderTest, ImagesMayGoOnceAllThatWasExpectedOfThemIsTaken) {
  for (int i = 0; i < 20; ++i) {
    auto images = std::make_unique<RandomImages>(kShape, 16, 10 + i);
    std::vector<int32_t> order(16);
    std::iota(order.begin(), order.end(), 0);
    loader_.Expect(images->set, order);
    const std::span all(order);
    ExpectRight(images->set, all.first(8), nullptr);
    ExpectRight(images->set, all.last(8), nullptr);
  }
  EXPECT_EQ(loader_.waits().ahead, 20);
}

TEST_F(BatchLoaderTest, ANewNormalisationHoldsFromTheNextBatchOn) {
  loader_.Expect(images_.set, order_);
  ExpectRight(images_.set, BatchAt(0), nullptr);
  mean_ = {0.1f, 0.9f};
  loader_.SetNormalisation(mean_, inverse_std_);
  ExpectRight(images_.set, BatchAt(1), nullptr);
  EXPECT_EQ(loader_.waits().ahead, 0);
  ExpectRight(images_.set, BatchAt(2), nullptr);
  EXPECT_EQ(loader_.waits().ahead, 1);
}

// Large images, so that the thread is at work whenever it is told something else.
TEST(BatchLoader, EndsAndChangesItsMindInTheMiddleOfWork) {
  const ValueShape shape{3, 200, 200};
  const RandomImages images(shape, 24, 1), others(shape, 24, 2);
  std::vector<int32_t> order(24);
  std::iota(order.begin(), order.end(), 0);
  const std::span<const int32_t> all(order);
  for (int i = 0; i < 10; ++i) {
    BatchLoader loader(shape, 8);
    loader.Expect(images.set, order);
    const StepScalars scalars = Scalars(i);
    loader.Take(images.set, all.first(8), &scalars);
    loader.Expect(others.set, order);
    loader.Take(others.set, all.first(8), &scalars);
    // What it makes is for another step than the next one turns out to be.
    StepScalars other = Scalars(i + 5);
    loader.Take(others.set, all.subspan(8, 1), &other);
    ++other.step;
    const float* found = loader.Take(others.set, all.subspan(9, 1), &other);
    std::vector<float> expected(static_cast<size_t>(shape.size()));
    const std::vector<float> table =
        NormalisationTable(std::vector<float>(3, 0.0f), std::vector<float>(3, 1.0f));
    AugmentImage(others.set.pixels.data() + 9 * shape.size(), shape, table.data(),
                 DrawAugmentation(other, 0, shape), expected.data());
    ASSERT_EQ(std::memcmp(found, expected.data(), expected.size() * sizeof(float)), 0);
    loader.Expect(others.set, order);
    loader.Take(others.set, all.first(8), &scalars);
    loader.SetNormalisation(std::vector<float>(3, 0.5f), std::vector<float>(3, 2.0f));
    loader.Take(others.set, all.subspan(8, 8), nullptr);
    EXPECT_EQ(loader.waits().ahead, 1);
  }
}

TEST_F(BatchLoaderTest, AnySequenceOfCallsGivesTheRightBytes) {
  std::mt19937 random(11);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const RandomImages* sets[] = {&images_, &others_};
  const RandomImages* set = sets[0];
  size_t position = 0;
  StepScalars scalars = Scalars(0);
  for (int i = 0; i < 5'000; ++i) {
    if (below(12) == 0 || position == order_.size()) {
      set = sets[below(2)];
      std::shuffle(order_.begin(), order_.end(), random);
      loader_.Expect(set->set, order_);
      position = 0;
    }
    if (below(20) == 0) scalars.shift = below(3);
    if (below(20) == 0) loader_.SetNormalisation(mean_, inverse_std_);
    if (below(5) == 0) {  // something else in between
      const size_t begin = static_cast<size_t>(below(kCount - kBatch));
      ExpectRight(sets[below(2)]->set, std::span(order_).subspan(begin, 1 + below(kBatch)),
                  below(2) == 0 ? nullptr : &scalars);
      continue;
    }
    const size_t most = std::min<size_t>(kBatch, order_.size() - position);
    const size_t count =
        below(6) == 0 ? 1 + static_cast<size_t>(below(static_cast<int>(most))) : most;
    ExpectRight(set->set, std::span(order_).subspan(position, count),
                below(10) == 0 ? nullptr : &scalars);
    position += count;
    ++scalars.step;
  }
  EXPECT_GT(loader_.waits().ahead, 1'000);
}

}  // namespace
}  // namespace trainyard::kernels::cpu
