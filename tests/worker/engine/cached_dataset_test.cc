// A data set is decoded once per host; what was kept is used only if it is whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/worker/engine/support/examples.h"
#include "worker/engine/dataset.h"

namespace trainyard::engine {
namespace {

class CachedDatasetTest : public ::testing::Test {
 protected:
  // Counts how often the data has to be decoded.
  Dataset Get(const std::string& key = "key") {
    return CachedDataset(
        folder_.File("cache"), key,
        [this] {
          ++reads_;
          return MakePatterns(20, {3, 5, 7}, 4, 20, 1);
        },
        &problem_);
  }
  void ExpectRight(const Dataset& dataset) {
    const Dataset expected = MakePatterns(20, {3, 5, 7}, 4, 20, 1);
    EXPECT_EQ(dataset.shape().channels, 3);
    EXPECT_EQ(dataset.shape().height, 5);
    EXPECT_EQ(dataset.shape().width, 7);
    EXPECT_TRUE(std::ranges::equal(dataset.images().labels, expected.images().labels));
    EXPECT_TRUE(std::ranges::equal(dataset.images().pixels, expected.images().pixels));
  }
  std::string Path() const { return folder_.File("cache/key.dataset"); }

  TemporaryFolder folder_;
  int reads_ = 0;
  std::string problem_;
};

TEST_F(CachedDatasetTest, IsDecodedOnce) {
  ExpectRight(Get());
  ExpectRight(Get());
  EXPECT_EQ(reads_, 1);
  EXPECT_EQ(problem_, "");
  ExpectRight(Get("other"));
  EXPECT_EQ(reads_, 2);
}

TEST_F(CachedDatasetTest, StaysReadableWhenMovedAndWhenItsFileIsGone) {
  Get();
  Dataset dataset = Get();
  std::filesystem::remove(Path());
  const Dataset moved = std::move(dataset);
  ExpectRight(moved);
}

TEST_F(CachedDatasetTest, DamagedFileIsDecodedAnewAndReplaced) {
  Get();
  const std::string good = ReadBytes(Path());
  int expected_reads = 1;
  for (size_t i = 0; i < good.size(); i += 13) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 4);
    WriteFileAtomically(Path(), bad);
    ExpectRight(Get());
    EXPECT_EQ(reads_, ++expected_reads) << "byte " << i;
    EXPECT_TRUE(ReadBytes(Path()) == good);
  }
  for (size_t size : {size_t{0}, size_t{39}, size_t{40}, good.size() - 1}) {
    WriteFileAtomically(Path(), good.substr(0, size));
    ExpectRight(Get());
    EXPECT_EQ(reads_, ++expected_reads) << "cut to " << size;
  }
  WriteFileAtomically(Path(), good + "x");
  ExpectRight(Get());
  EXPECT_EQ(reads_, ++expected_reads);
}

TEST_F(CachedDatasetTest, FolderThatCannotBeWrittenIsAProblemButNoFailure) {
  WriteBytes(folder_.File("cache"), "a file where the folder should be");
  ExpectRight(Get());
  EXPECT_NE(problem_.find("key.dataset"), std::string::npos) << problem_;
}

TEST_F(CachedDatasetTest, KeyThatIsNoFileNameIsRefused) {
  for (const std::string& key : {std::string(), std::string("../x"), std::string("a/b"),
                                 std::string("."), std::string(129, 'a')}) {
    EXPECT_TRUE(ThrowsNaming([&] { Get(key); }, {"key", "letters, digits"})) << key;
  }
  EXPECT_EQ(reads_, 0);
}

TEST_F(CachedDatasetTest, WhatReadingThrowsIsPassedOnAndNothingIsKept) {
  const auto get = [&] {
    CachedDataset(
        folder_.File("cache"), "key", []() -> Dataset { throw kernels::Error("no such data"); },
        &problem_);
  };
  EXPECT_TRUE(ThrowsNaming(get, {"no such data"}));
  EXPECT_FALSE(std::filesystem::exists(Path()));
}

}  // namespace
}  // namespace trainyard::engine
