// A stranger's archive stays inside its folder.
#include "worker/agent/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/worker/agent/fake_gateway.h"
#include "tests/worker/agent/test_data.h"

namespace trainyard::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ArchiveTest : public testing::Test {
 protected:
  ArchiveTest() { fs::create_directories(inside_); }

  absl::Status Extract(const std::string& bytes) {
    std::ofstream(folder_ / "archive.tar", std::ios::binary) << bytes;
    return ExtractArchive(folder_ / "archive.tar", inside_);
  }
  absl::Status Extract(const std::vector<TarEntry>& entries) { return Extract(Tar(entries)); }

  TestFolder folder_;
  const std::string inside_ = folder_ / "inside";
};

TEST_F(ArchiveTest, FilesFoldersAndInnerLinksAreThere) {
  ASSERT_TRUE(
      Extract({{"a/b.txt", "hello"}, {"a/link", "", "b.txt"}, {"up", "", "a/../a/b.txt"}}).ok());
  for (const std::string name : {"a/b.txt", "a/link", "up"}) {
    std::string path;
    ASSERT_TRUE(ResolveInside(inside_, name, &path).ok()) << name;
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    EXPECT_EQ(text.str(), "hello");
  }
}

TEST_F(ArchiveTest, WhatLeadsOutIsRefusedByNameAndTouchesNothingOutside) {
  const std::vector<std::vector<TarEntry>> cases = {
      {{"../outside", "x"}},
      {{"a/../../outside", "x"}},
      {{folder_ / "outside", "x"}},
      {{"outside-link", "", "../outside"}},
      {{"outside-link", "", "/etc"}},
      {{"a/outside-link", "", "../../outside"}},
      {{"outside-link", "", "../outside", true}},
      {{"outside-link", "", "..", false}, {"outside-link/outside", "x"}},
  };
  for (const auto& entries : cases) {
    const absl::Status status = Extract(entries);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << entries[0].name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("outside")) << status;
    EXPECT_FALSE(fs::exists(folder_ / "outside"));
  }
}

TEST_F(ArchiveTest, AFileThroughAnInnerLinkDoesNotLeave) {
  // The link is harmless when it is checked, and replaced by a folder or not followed when used.
  const absl::Status status = Extract({{"d/keep", "x"}, {"l", "", "d"}, {"l/file", "y"}});
  EXPECT_FALSE(fs::exists(folder_ / "file"));
  if (status.ok()) {
    EXPECT_TRUE(fs::exists(inside_ + "/l/file"));
  }
}

TEST_F(ArchiveTest, TruncatedAndForeignBytesAreRefused) {
  const std::string whole = Tar({{"a", std::string(5'000, 'x')}});
  EXPECT_EQ(Extract(whole.substr(0, 3'000)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Extract(std::string("no archive at all")).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ArchiveTest, ResolvingNamesThePathThatIsMissingOrLeadsOut) {
  ASSERT_TRUE(Extract({{"a", "x"}}).ok());
  fs::create_symlink("/etc/passwd", inside_ + "/evil");
  std::string path;
  for (const std::string name : {"missing", "../inside/a", "/etc/passwd", "evil"}) {
    const absl::Status status = ResolveInside(inside_, name, &path);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

}  // namespace
}  // namespace trainyard::agent
