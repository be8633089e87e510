// Philox is the published function, and every number of training has an address of its own.
#include "kernels/philox.h"

#include <gtest/gtest.h>

#include <set>

namespace trainyard::kernels {
namespace {

TEST(Philox, GivesThePublishedAnswers) {
  // Random123 1.14, tests/kat_vectors, philox4x32 10.
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxWords{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (PhiloxWords{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxWords{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, CountersDifferWhereAnyPartOfAnAddressDiffers) {
  std::set<PhiloxWords> counters;
  int made = 0;
  for (uint64_t group :
       {uint64_t{0}, uint64_t{1}, uint64_t{1} << 31, uint64_t{1} << 32, (uint64_t{1} << 40) - 1}) {
    for (int64_t step : {int64_t{0}, int64_t{1}, int64_t{1} << 32, (int64_t{1} << 48) - 1}) {
      for (int layer : {0, 1, 9999}) {
        for (Purpose purpose : {Purpose::kDropout, Purpose::kFlipAndShift, Purpose::kCutout,
                                Purpose::kInitialise, Purpose::kShuffle}) {
          counters.insert(StreamCounter({7, step, layer, purpose}, group));
          ++made;
        }
      }
    }
  }
  EXPECT_EQ(static_cast<int>(counters.size()), made);
}

TEST(Philox, WordsOfAStreamAreTheWordsOfItsGroups) {
  const StreamPosition at{42, 3, 5, Purpose::kDropout};
  for (uint64_t element = 0; element < 40; ++element) {
    EXPECT_EQ(RandomWord(at, element), RandomWords(at, element / 4)[element % 4]);
  }
}

TEST(Philox, BelowCoversItsRangeEvenly) {
  const StreamPosition at{1, 0, 0, Purpose::kShuffle};
  int counts[7] = {};
  for (uint64_t i = 0; i < 70000; ++i) ++counts[RandomBelow(RandomWord(at, i), 7)];
  for (int count : counts) EXPECT_NEAR(count, 10000, 500);  // five standard deviations
}

TEST(Philox, DropoutThresholdsKeepWhatTheRateSays) {
  EXPECT_EQ(DropoutThreshold(0.0f), 0u);
  EXPECT_EQ(DropoutThreshold(0.5f), 0x80000000u);
  EXPECT_EQ(DropoutThreshold(0.25f), 0x40000000u);
}

}  // namespace
}  // namespace trainyard::kernels
