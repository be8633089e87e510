// The per-host cache: what it hands out is what its name says, whatever was left lying in it.
#include "worker/agent/blob_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <latch>
#include <sstream>
#include <thread>

#include "tests/worker/agent/fake_gateway.h"
#include "worker/agent/digest.h"

namespace trainyard::agent {
namespace {

namespace fs = std::filesystem;

std::string ReadFile(const std::string& path) {
  std::stringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

class BlobCacheTest : public testing::Test {
 protected:
  BlobCache::Fetcher Serve() {
    return [this](int64_t offset, const BlobCache::Sink& sink) {
      offsets_.push_back(offset);
      return sink(std::string_view(blob_).substr(static_cast<size_t>(offset)));
    };
  }
  std::string PathOf(const std::string& suffix = "") {
    return folder_ / (hash_.substr(0, 2) + "/" + hash_ + suffix);
  }
  void Leave(const std::string& path, const std::string& bytes) {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
  }

  const std::string blob_ = std::string(10'000, 'x') + "the end";
  const std::string hash_ = HashOf(blob_);
  TestFolder folder_;
  BlobCache cache_{folder_.path()};
  AttemptControl control_;
  std::vector<int64_t> offsets_;
};

TEST_F(BlobCacheTest, FetchesOnceAndKeepsTheFileReadOnly) {
  for (int i = 0; i < 2; ++i) {
    const absl::StatusOr<std::string> path = cache_.Get(hash_, Serve(), control_);
    ASSERT_TRUE(path.ok()) << path.status();
    EXPECT_EQ(ReadFile(*path), blob_);
    struct stat info;
    ASSERT_EQ(stat(path->c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0444u);
  }
  EXPECT_THAT(offsets_, testing::ElementsAre(0));
}

TEST_F(BlobCacheTest, AnAlteredFileIsFetchedAgain) {
  std::string altered = blob_;
  altered[5'000] ^= 1;
  Leave(PathOf(), altered);
  ASSERT_TRUE(cache_.Get(hash_, Serve(), control_).ok());
  EXPECT_EQ(ReadFile(PathOf()), blob_);
}

TEST_F(BlobCacheTest, ATruncatedFileIsFetchedAgain) {
  Leave(PathOf(), blob_.substr(0, 100));
  ASSERT_TRUE(cache_.Get(hash_, Serve(), control_).ok());
  EXPECT_EQ(ReadFile(PathOf()), blob_);
}

TEST_F(BlobCacheTest, WhatAKilledWorkerHadFetchedIsContinued) {
  Leave(PathOf(".part"), blob_.substr(0, 4'000));
  ASSERT_TRUE(cache_.Get(hash_, Serve(), control_).ok());
  EXPECT_THAT(offsets_, testing::ElementsAre(4'000));
  EXPECT_EQ(ReadFile(PathOf()), blob_);
}

TEST_F(BlobCacheTest, APartThatIsTornIsFetchedFromTheStart) {
  Leave(PathOf(".part"), std::string(4'000, 'y'));
  ASSERT_TRUE(cache_.Get(hash_, Serve(), control_).ok());
  EXPECT_THAT(offsets_, testing::ElementsAre(4'000, 0));
  EXPECT_EQ(ReadFile(PathOf()), blob_);
}

TEST_F(BlobCacheTest, APartThatIsLongerThanTheBlobIsFetchedFromTheStart) {
  Leave(PathOf(".part"), blob_ + "more");
  const auto fetch = [&](int64_t offset, const BlobCache::Sink& sink) {
    if (offset > static_cast<int64_t>(blob_.size())) return absl::InvalidArgumentError("offset");
    return Serve()(offset, sink);
  };
  ASSERT_TRUE(cache_.Get(hash_, fetch, control_).ok());
  EXPECT_EQ(ReadFile(PathOf()), blob_);
}

TEST_F(BlobCacheTest, WrongBytesTwiceAreAnErrorWithBothHashesAndLeaveNothing) {
  const auto fetch = [&](int64_t, const BlobCache::Sink& sink) { return sink("wrong"); };
  const absl::StatusOr<std::string> path = cache_.Get(hash_, fetch, control_);
  EXPECT_EQ(path.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(path.status().ToString(), testing::HasSubstr(hash_));
  EXPECT_THAT(path.status().ToString(), testing::HasSubstr(HashOf("wrong")));
  EXPECT_FALSE(fs::exists(PathOf()));
  EXPECT_FALSE(fs::exists(PathOf(".part")));
}

TEST_F(BlobCacheTest, ABrokenTransferKeepsWhatCame) {
  const auto fetch = [&](int64_t, const BlobCache::Sink& sink) {
    (void)sink(blob_.substr(0, 300));
    return absl::UnavailableError("cut");
  };
  EXPECT_EQ(cache_.Get(hash_, fetch, control_).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(fs::file_size(PathOf(".part")), 300u);
  EXPECT_FALSE(fs::exists(PathOf()));
}

TEST_F(BlobCacheTest, TwoWorkersThatWantTheSameFetchItOnce) {
  std::latch both_there(2);
  std::atomic<int> fetches{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < 2; ++i) {
    workers.emplace_back([&] {
      BlobCache cache(folder_.path());
      AttemptControl control;
      both_there.arrive_and_wait();
      const absl::StatusOr<std::string> path = cache.Get(
          hash_,
          [&](int64_t, const BlobCache::Sink& sink) {
            ++fetches;
            return sink(blob_);
          },
          control);
      EXPECT_TRUE(path.ok()) << path.status();
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(fetches, 1);
}

TEST_F(BlobCacheTest, AStopIsHeardWhileAnotherWorkerHoldsTheLock) {
  Leave(PathOf(".lock"), "");
  const int lock = open(PathOf(".lock").c_str(), O_RDWR);
  ASSERT_EQ(flock(lock, LOCK_EX), 0);
  control_.RequestStop({.reason = "enough"});
  EXPECT_EQ(cache_.Get(hash_, Serve(), control_).status().code(), absl::StatusCode::kCancelled);
  close(lock);
}

TEST_F(BlobCacheTest, OnlyHashesBecomeFileNames) {
  for (const std::string name : {"", "../../etc/passwd", "ABC", "zz"}) {
    EXPECT_EQ(cache_.Get(name, Serve(), control_).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace trainyard::agent
