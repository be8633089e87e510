// A data set is decoded once per host; what was kept is used only if it is whole, and makes room
// for what is used more.
#include "worker/engine/dataset_cache.h"

#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <latch>
#include <thread>

#include "tests/worker/engine/support/examples.h"
#include "tests/worker/engine/support/faults.h"

namespace trainyard::engine {
namespace {

namespace fs = std::filesystem;

// As many images of 3x5x7 take kFileBytes in the cache.
constexpr int kImages = 20;
constexpr int64_t kFileBytes = 40 + kImages * (4 + 3 * 5 * 7);
constexpr int64_t kPlenty = 1 << 20;

Dataset Example() { return MakePatterns(kImages, {3, 5, 7}, 4, 20, 1); }

void ExpectRight(const Dataset& dataset) {
  const Dataset expected = Example();
  EXPECT_EQ(dataset.shape().channels, 3);
  EXPECT_EQ(dataset.shape().height, 5);
  EXPECT_EQ(dataset.shape().width, 7);
  EXPECT_TRUE(std::ranges::equal(dataset.images().labels, expected.images().labels));
  EXPECT_TRUE(std::ranges::equal(dataset.images().pixels, expected.images().pixels));
}

class DatasetCacheTest : public ::testing::Test {
 protected:
  // Counts how often the data has to be decoded.
  Dataset Get(const std::string& key = "key", int64_t bytes_max = kPlenty) {
    problem_.clear();
    const auto read = [this] {
      ++reads_;
      return Example();
    };
    return DatasetCache(Folder(), bytes_max)
        .Get({.key = [&] { return key; }, .read = read}, &problem_);
  }
  std::string Folder() const { return folder_.File("cache"); }
  std::string Path(const std::string& key = "key") const {
    return Folder() + "/" + key + ".dataset";
  }
  bool Kept(const std::string& key) const { return fs::exists(Path(key)); }
  // As if it had been used so many minutes ago.
  void Age(const std::string& key, int minutes) { AgeFile(Path(key), minutes); }
  void AgeFile(const std::string& path, int minutes) {
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::minutes(minutes));
  }
  // A disk for 40 files of the cache, two of which are the reserve, with so many of others on it.
  // What the cache has there takes its room unless it is `held` by whom it was removed from.
  Faults SmallDisk(const int* of_others, bool held = false) {
    return {.disk = [=, this](struct statvfs* disk) {
      const auto file = static_cast<fsblkcnt_t>(kFileBytes);
      fsblkcnt_t used = static_cast<fsblkcnt_t>(*of_others);
      for (const auto& entry : fs::directory_iterator(Folder())) {
        if (!held) used += entry.path().extension() == ".dataset";
      }
      disk->f_frsize = disk->f_bsize = 1;
      disk->f_blocks = 40 * file;
      disk->f_bavail = disk->f_bfree = (40 - used) * file;
    }};
  }

  TemporaryFolder folder_;
  int reads_ = 0;
  std::string problem_;
};

TEST_F(DatasetCacheTest, DecodesOnce) {
  ExpectRight(Get());
  ExpectRight(Get());
  EXPECT_EQ(reads_, 1);
  EXPECT_EQ(problem_, "");
  EXPECT_EQ(fs::file_size(Path()), static_cast<uintmax_t>(kFileBytes));
  ExpectRight(Get("other"));
  EXPECT_EQ(reads_, 2);
}

TEST_F(DatasetCacheTest, StaysReadableWhenMovedAndWhenItsFileIsGone) {
  Get();
  Dataset dataset = Get();
  fs::remove(Path());
  const Dataset moved = std::move(dataset);
  ExpectRight(moved);
}

TEST_F(DatasetCacheTest, DamagedFileIsDecodedAnewAndReplacedAndToldOf) {
  Get();
  const std::string good = ReadBytes(Path());
  int expected_reads = 1;
  for (size_t i = 0; i < good.size(); i += 13) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 4);
    WriteFileAtomically(Path(), bad);
    ExpectRight(Get());
    EXPECT_EQ(reads_, ++expected_reads) << "byte " << i;
    EXPECT_NE(problem_.find("damaged"), std::string::npos) << problem_;
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

TEST_F(DatasetCacheTest, WhatWasUsedLongestAgoMakesRoom) {
  for (const char* key : {"a", "b", "c"}) Get(key, 3 * kFileBytes);
  Age("a", 3), Age("b", 2), Age("c", 1);
  Get("a", 3 * kFileBytes);  // used just now
  const Dataset b = Get("b", 3 * kFileBytes);
  Age("b", 2);
  ExpectRight(Get("d", 3 * kFileBytes));
  EXPECT_EQ(reads_, 4);
  EXPECT_TRUE(Kept("a") && !Kept("b") && Kept("c") && Kept("d"));
  ExpectRight(b);  // whoever has it mapped keeps it
  Get("e", kFileBytes);
  EXPECT_TRUE(!Kept("a") && !Kept("c") && !Kept("d") && Kept("e")) << "a smaller limit";
}

TEST_F(DatasetCacheTest, WhatIsLargerThanTheLimitIsNotKeptAndNothingMakesRoomForIt) {
  Get("a");
  ExpectRight(Get("b", kFileBytes - 1));
  EXPECT_NE(problem_.find("limit of " + std::to_string(kFileBytes - 1)), std::string::npos)
      << problem_;
  EXPECT_TRUE(Kept("a") && !Kept("b"));
  EXPECT_TRUE(fs::remove_all(Folder()) > 0);
  ExpectRight(Get("a", 0));
  EXPECT_FALSE(fs::exists(Folder()));
  EXPECT_EQ(problem_, "");
}

TEST_F(DatasetCacheTest, WhatAKilledWorkerLeftUnfinishedIsCleanedUp) {
  fs::create_directories(Folder());
  const std::string old = Path("dead") + ".tmp-1", fresh = Path("alive") + ".tmp-2";
  for (const std::string& path : {old, fresh}) WriteBytes(path, "half");
  AgeFile(old, 61);
  AgeFile(fresh, 59);
  {
    const WithFaults no_locks({.lock_error = ENOLCK});
    Get("a");
    EXPECT_TRUE(Kept("a"));
    EXPECT_TRUE(fs::exists(old) && fs::exists(fresh)) << "others may write at the same time";
  }
  Get("b");
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(fresh));
}

TEST_F(DatasetCacheTest, OnAnotherMachinesDiskNoFileIsMapped) {
  const WithFaults faults({.file_system = NFS_SUPER_MAGIC});
  const Dataset decoded = Get();
  const Dataset kept = Get();
  EXPECT_EQ(reads_, 1);
  fs::resize_file(Path(), 0);
  ExpectRight(decoded);
  ExpectRight(kept);
}

TEST_F(DatasetCacheTest, FolderThatCannotBeWrittenIsAProblemButNoFailure) {
  WriteBytes(Folder(), "a file where the folder should be");
  ExpectRight(Get());
  EXPECT_NE(problem_.find("key.dataset"), std::string::npos) << problem_;
}

TEST_F(DatasetCacheTest, AWriteThatFailsHalfwayLeavesTheOthersAndNothingElse) {
  Get("a");
  // A limit on file sizes fails a write halfway, as a full disk does.
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  ExpectRight(Get("b"));
  const std::string problem = problem_;
  ExpectRight(Get("a"));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(problem.find("cannot be written"), std::string::npos) << problem;
  EXPECT_EQ(reads_, 2);
  const auto entries = fs::directory_iterator(Folder());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 2) << "`a` and the lock";
}

TEST_F(DatasetCacheTest, AFullDiskIsAProblemButNoFailureAndSomeOfItIsLeftToOthers) {
  fs::create_directories(Folder());
  if (mount("tmpfs", Folder().c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "not permitted";
  WriteBytes(Folder() + "/of others", std::string(60 << 10, 'x'));
  ExpectRight(Get());
  EXPECT_NE(problem_.find("left"), std::string::npos) << problem_;
  EXPECT_FALSE(Kept("key"));
  fs::remove(Folder() + "/of others");
  ExpectRight(Get());
  EXPECT_TRUE(Kept("key"));
  EXPECT_EQ(problem_, "");
  umount2(Folder().c_str(), MNT_DETACH);
}

TEST_F(DatasetCacheTest, ADiskThatIsNearlyFullIsMadeRoomOn) {
  int of_others = 35;
  const WithFaults faults(SmallDisk(&of_others));
  for (const char* key : {"a", "b", "c"}) Get(key);
  EXPECT_EQ(problem_, "");
  Age("a", 3), Age("b", 2), Age("c", 1);
  ExpectRight(Get("d"));
  EXPECT_EQ(problem_, "");
  EXPECT_TRUE(!Kept("a") && Kept("b") && Kept("c") && Kept("d"));
  of_others = 36;
  ExpectRight(Get("e"));
  EXPECT_TRUE(!Kept("b") && !Kept("c") && Kept("d") && Kept("e"));
}

TEST_F(DatasetCacheTest, NothingMakesRoomForWhatTheDiskHasNoneForAnyway) {
  int of_others = 0;
  const WithFaults faults(SmallDisk(&of_others));
  for (const char* key : {"a", "b", "c"}) Get(key, 3 * kFileBytes);
  of_others = 37;
  ExpectRight(Get("d", 3 * kFileBytes));
  EXPECT_EQ(problem_, "") << "one more without the three";
  EXPECT_TRUE(!Kept("a") && !Kept("b") && !Kept("c") && Kept("d"));
  of_others = 38;
  ExpectRight(Get("e", kFileBytes));
  EXPECT_NE(problem_.find("left"), std::string::npos) << problem_;
  EXPECT_TRUE(Kept("d") && !Kept("e"));
}

TEST_F(DatasetCacheTest, RoomThatOthersStillHoldIsNotThereYet) {
  int of_others = 35;
  const WithFaults faults(SmallDisk(&of_others, true));
  for (const char* key : {"a", "b", "c"}) Get(key);
  of_others = 38;
  ExpectRight(Get("d"));
  EXPECT_NE(problem_.find("left"), std::string::npos) << problem_;
  EXPECT_FALSE(Kept("d"));
}

TEST_F(DatasetCacheTest, WhoWaitsForADecoderHasFetchedMeanwhileAndMayGiveUp) {
  struct GaveUp {};
  std::promise<void> decoding, go_on;
  std::thread decoder([&] {
    const auto read = [&] {
      decoding.set_value();
      go_on.get_future().wait();
      return Example();
    };
    ExpectRight(DatasetCache(Folder(), kPlenty)
                    .Get({.key = [] { return std::string("key"); }, .read = read}, nullptr));
  });
  decoding.get_future().wait();
  int fetches = 0, pauses = 0;
  const DatasetSource source{.key = [] { return std::string("key"); },
                             .fetch = [&] { ++fetches; },
                             .read = []() -> Dataset { throw kernels::Error("another reads it"); },
                             .pause =
                                 [&] {
                                   if (++pauses == 3) throw GaveUp();
                                 }};
  const DatasetCache cache(Folder(), kPlenty);
  EXPECT_THROW(cache.Get(source, nullptr), GaveUp);
  EXPECT_EQ(fetches, 1);
  EXPECT_EQ(pauses, 3);
  go_on.set_value();
  decoder.join();
  ExpectRight(cache.Get(source, nullptr));
  EXPECT_EQ(fetches, 1) << "what is kept needs none";
}

TEST_F(DatasetCacheTest, WhatChangesWhileItIsReadIsNotKept) {
  std::string key = "before";
  const DatasetCache cache(Folder(), kPlenty);
  const auto read = [&] {
    key = "after";
    return Example();
  };
  ExpectRight(cache.Get({.key = [&] { return key; }, .read = read}, &problem_));
  EXPECT_NE(problem_.find("changed"), std::string::npos) << problem_;
  EXPECT_FALSE(Kept("before") || Kept("after"));
}

TEST_F(DatasetCacheTest, ThreadsThatWantTheSameDecodeItOnce) {
  constexpr int kThreads = 4;
  std::latch all_there(kThreads);
  std::atomic<int> reads{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const DatasetCache cache(Folder(), kPlenty);
      all_there.arrive_and_wait();
      const auto read = [&] {
        ++reads;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));  // or none would have to wait
        return Example();
      };
      ExpectRight(cache.Get({.key = [] { return std::string("key"); }, .read = read}, nullptr));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(reads, 1);
}

// A line for each time it decodes; exits with 1 unless all it got was right.
[[noreturn]] void WorkAsProcess(const std::string& folder, const std::string& log, int seed) {
  const Dataset expected = Example();
  const auto pause = [] { std::this_thread::sleep_for(std::chrono::milliseconds(1)); };
  bool right = true;
  for (int i = 0; i < 200; ++i) {
    const std::string key = "key" + std::to_string((i * 7 + seed) % 5);
    const auto read = [&] {
      std::ofstream(log, std::ios::app) << key << "\n";
      return Example();
    };
    const Dataset got =
        DatasetCache(folder, 3 * kFileBytes)
            .Get({.key = [&] { return key; }, .read = read, .pause = pause}, nullptr);
    right = right && std::ranges::equal(got.images().pixels, expected.images().pixels) &&
            std::ranges::equal(got.images().labels, expected.images().labels);
  }
  _exit(right ? 0 : 1);
}

TEST_F(DatasetCacheTest, ProcessesThatEvictFromEachOtherGetTheirDataAndKeepTheLimit) {
  std::vector<pid_t> processes;
  for (int i = 0; i < 4; ++i) {
    const pid_t process = fork();
    if (process == 0) WorkAsProcess(Folder(), folder_.File("log"), i);
    processes.push_back(process);
  }
  for (const pid_t process : processes) {
    int status = 0;
    ASSERT_EQ(waitpid(process, &status, 0), process);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  int64_t kept = 0;
  for (const auto& entry : fs::directory_iterator(Folder())) {
    kept += static_cast<int64_t>(entry.file_size());
  }
  EXPECT_EQ(kept, 3 * kFileBytes);
  EXPECT_GT(ReadBytes(folder_.File("log")).size(), 5u * 5u) << "nothing was ever evicted";
}

TEST_F(DatasetCacheTest, AWorkerThatDiesWhileItDecodesLetsTheOthersGoOn) {
  int started[2];
  ASSERT_EQ(pipe(started), 0);
  const pid_t process = fork();
  if (process == 0) {
    const auto read = [&]() -> Dataset {
      EXPECT_EQ(write(started[1], "x", 1), 1);
      for (;;) pause();
    };
    DatasetCache(Folder(), kPlenty)
        .Get({.key = [] { return std::string("key"); }, .read = read}, nullptr);
  }
  char byte;
  ASSERT_EQ(read(started[0], &byte, 1), 1);
  std::thread waiting([&] { ExpectRight(Get()); });
  kill(process, SIGKILL);
  waitpid(process, nullptr, 0);
  waiting.join();
  EXPECT_EQ(reads_, 1);
  EXPECT_TRUE(Kept("key"));
  close(started[0]), close(started[1]);
}

TEST_F(DatasetCacheTest, KeyThatIsNoFileNameIsRefused) {
  for (const std::string& key : {std::string(), std::string("../x"), std::string("a/b"),
                                 std::string("."), std::string(129, 'a')}) {
    EXPECT_TRUE(ThrowsNaming([&] { Get(key); }, {"key", "letters, digits"})) << key;
  }
  EXPECT_EQ(reads_, 0);
}

TEST_F(DatasetCacheTest, WhatReadingThrowsIsPassedOnAndNothingIsKept) {
  const auto get = [&] {
    const auto read = []() -> Dataset { throw kernels::Error("no such data"); };
    DatasetCache(Folder(), kPlenty)
        .Get({.key = [] { return std::string("key"); }, .read = read}, &problem_);
  };
  EXPECT_TRUE(ThrowsNaming(get, {"no such data"}));
  EXPECT_FALSE(Kept("key"));
  ExpectRight(Get());  // and nobody waits for it
}

}  // namespace
}  // namespace trainyard::engine
