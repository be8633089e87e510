// What a worker does on its host: its folder and its log lines.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tests/worker/agent/fake_gateway.h"
#include "worker/agent/log.h"
#include "worker/agent/work_folder.h"

namespace trainyard::agent {
namespace {

namespace fs = std::filesystem;

// A worker that opens its folder and dies by SIGKILL.
void LiveAndDie(const std::string& parent, bool keep) {
  const pid_t child = fork();
  if (child == 0) {
    absl::StatusOr<WorkFolder> folder = WorkFolder::Open(parent);
    if (folder.ok() && keep) folder->Keep();
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
}

size_t Count(const std::string& parent) {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator(parent), fs::directory_iterator()));
}

TEST(WorkFolderTest, FoldersOfKilledWorkersAreSweptThoseOfLivingOnesStay) {
  TestFolder parent;
  LiveAndDie(parent.path(), false);
  ASSERT_EQ(Count(parent.path()), 1u);
  absl::StatusOr<WorkFolder> first = WorkFolder::Open(parent.path());
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(Count(parent.path()), 1u) << "the dead one's is gone";
  {
    absl::StatusOr<WorkFolder> second = WorkFolder::Open(parent.path());
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(Count(parent.path()), 2u);
  }
  EXPECT_EQ(Count(parent.path()), 1u);
  EXPECT_TRUE(fs::exists(first->path()));
}

TEST(WorkFolderTest, AnOrphansFolderStays) {
  TestFolder parent;
  LiveAndDie(parent.path(), true);
  ASSERT_TRUE(WorkFolder::Open(parent.path()).ok());
  EXPECT_EQ(Count(parent.path()), 1u);
}

TEST(WorkFolderTest, AFolderThatCannotBeMadeIsNamed) {
  const absl::StatusOr<WorkFolder> folder = WorkFolder::Open("/dev/null/work");
  ASSERT_FALSE(folder.ok());
  EXPECT_NE(folder.status().ToString().find("/dev/null/work"), std::string::npos);
}

TEST(LogTest, AMessageStaysOnOneLineWithoutEscapes) {
  EXPECT_EQ(OneLine("a\nb\x1b[31mc\x7f\t"), "a\\x0ab\\x1b[31mc\\x7f\\x09");
  EXPECT_EQ(OneLine("gr\xc3\xb6\xc3\x9f"), "gr\xc3\xb6\xc3\x9f");
  EXPECT_EQ(OneLine(std::string(10'000, 'x')).size(), 4'003u);
}

}  // namespace
}  // namespace trainyard::agent
