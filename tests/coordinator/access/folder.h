// A folder of the test's own, and a clock that it moves.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "coordinator/loop.h"
#include "gtest/gtest.h"

namespace trainyard::coordinator {

class FolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name =
        (std::filesystem::temp_directory_path() / "trainyard-access-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static std::string Read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  static void Write(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  static mode_t Mode(const std::filesystem::path& path) {
    struct stat info {};
    EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 07777;
  }

  std::filesystem::path folder_;
};

class SetClock final : public Clock {
 public:
  int64_t MonotonicMs() override { return now_ms; }
  int64_t WallMs() override { return now_ms; }
  std::atomic<int64_t> now_ms{1'700'000'000'000};
};

}  // namespace trainyard::coordinator
