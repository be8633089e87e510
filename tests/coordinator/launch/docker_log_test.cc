// Shows that a container's output is saved whole and once, wherever the stream or the coordinator
// broke off, and that no stream can fill the disk.
#include "coordinator/launch/docker_log.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// One entry of the engine's stream, this many seconds, at most 9, after 12:00.
std::string Entry(int second, const std::string& text, char stream = 1) {
  const std::string payload = "2024-05-01T12:00:0" + std::to_string(second) + ".000000005Z " + text;
  std::string frame = {stream, 0, 0, 0};
  for (int shift = 24; shift >= 0; shift -= 8) {
    frame += static_cast<char>(payload.size() >> shift & 255);
  }
  return frame + payload;
}

class ContainerLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "trainyard-log-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = (folder_ / "worker-1.log").string();
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::unique_ptr<ContainerLog> Open(const std::string& container = "abc",
                                     int64_t bytes_max = 1 << 20) {
    auto log = ContainerLog::Open(path_, container, bytes_max);
    EXPECT_TRUE(log.ok()) << log.status();
    return *std::move(log);
  }
  std::string Text() const {
    std::ifstream file(path_, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  fs::path folder_;
  std::string path_;
};

TEST_F(ContainerLogTest, AStreamIsUnderstoodHoweverItIsCut) {
  const std::string stream = Entry(1, "one\n") + Entry(2, "two\n", 2) + Entry(3, "") +
                             Entry(3, std::string("bin\0ary", 7)) + Entry(4, "\n");
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    fs::remove(path_);
    fs::remove(path_ + ".at");
    const auto log = Open();
    EXPECT_EQ(log->BeginStream(), "0");
    EXPECT_TRUE(log->Feed(stream.substr(0, cut)).ok());
    EXPECT_TRUE(log->Feed(stream.substr(cut)).ok());
    EXPECT_EQ(Text(), std::string("one\ntwo\nbin\0ary\n", 16)) << "cut at " << cut;
  }
}

TEST_F(ContainerLogTest, ABrokenStreamIsContinuedWithoutDoubles) {
  const auto log = Open();
  log->BeginStream();
  ASSERT_TRUE(
      log->Feed(Entry(1, "one\n") + Entry(2, "two\n") + Entry(3, "thr").substr(0, 20)).ok());
  EXPECT_EQ(log->BeginStream(), "1714564802.000000005");
  ASSERT_TRUE(log->Feed(Entry(2, "two\n") + Entry(3, "three\n")).ok());
  // What comes a little late within one stream is kept.
  ASSERT_TRUE(log->Feed(Entry(5, "five\n") + Entry(4, "four\n")).ok());
  EXPECT_EQ(Text(), "one\ntwo\nthree\nfive\nfour\n");
}

TEST_F(ContainerLogTest, TheNextCoordinatorGoesOnWhereTheLastOneWas) {
  {
    const auto log = Open();
    log->BeginStream();
    ASSERT_TRUE(log->Feed(Entry(1, "one\n")).ok());
  }
  // It died between the text and the note.
  std::ofstream(path_, std::ios::app) << "two";
  const auto log = Open();
  EXPECT_EQ(log->BeginStream(), "1714564801.000000005");
  ASSERT_TRUE(log->Feed(Entry(1, "one\n") + Entry(2, "two\n")).ok());
  EXPECT_EQ(Text(), "one\ntwo\n");
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(ContainerLogTest, AnotherContainerOfTheSameLaunchIsAppended) {
  for (const std::string container : {"abc", "def"}) {
    const auto log = Open(container);
    EXPECT_EQ(log->BeginStream(), "0");
    ASSERT_TRUE(log->Feed(Entry(1, container + "\n")).ok());
    log->Finish();
    EXPECT_FALSE(fs::exists(path_ + ".at"));
  }
  EXPECT_EQ(Text(), "abc\ndef\n");
}

TEST_F(ContainerLogTest, ANoteThatIsNoneLosesNothing) {
  for (const std::string note : {"", "abc", "abc never 7\n", "abc 2024-05-01T12:00:01.0Z x\n"}) {
    std::ofstream(path_) << "before\n";
    std::ofstream(path_ + ".at") << note;
    const auto log = Open();
    EXPECT_EQ(log->BeginStream(), "0");
    ASSERT_TRUE(log->Feed(Entry(1, "one\n")).ok());
    EXPECT_EQ(Text(), "before\none\n") << note;
  }
}

TEST_F(ContainerLogTest, TheLogIsCappedAndSaysSo) {
  {
    const auto log = Open("abc", 10);
    log->BeginStream();
    ASSERT_TRUE(log->Feed(Entry(1, "12345")).ok());
    EXPECT_FALSE(log->full());
    ASSERT_TRUE(log->Feed(Entry(2, "67890+++")).ok());
    EXPECT_TRUE(log->full());
    ASSERT_TRUE(log->Feed(Entry(3, "more")).ok());
  }
  EXPECT_THAT(Text(), StartsWith("1234567890\n["));
  EXPECT_THAT(Text(), HasSubstr("more than 10 bytes"));
  EXPECT_THAT(Text(), ::testing::Not(HasSubstr("+")));
  EXPECT_TRUE(Open("abc", 10)->full()) << "the next coordinator adds nothing";
}

TEST_F(ContainerLogTest, WhatIsNoLogStreamIsRefused) {
  for (const std::string& bytes :
       {std::string("HTTP/1.1 200 OK"), std::string("\7\0\0\0\0\0\0\1x", 9),
        std::string("\1\0\0\0\xff\xff\xff\xff", 8)}) {
    const auto log = Open();
    log->BeginStream();
    EXPECT_EQ(log->Feed(bytes).code(), absl::StatusCode::kDataLoss);
  }
}

TEST_F(ContainerLogTest, AFileThatCannotBeWrittenIsNamed) {
  const auto log = ContainerLog::Open((folder_ / "none" / "x.log").string(), "abc");
  EXPECT_EQ(log.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(log.status().message()), HasSubstr("none/x.log"));
}

}  // namespace
}  // namespace trainyard::coordinator
