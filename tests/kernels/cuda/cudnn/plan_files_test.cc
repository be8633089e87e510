// Plans come back as they were written, and nothing else comes back.
#include "kernels/cuda/cudnn/plan_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "tests/kernels/cuda/cudnn/folder.h"

namespace trainyard::kernels::cuda::testing {
namespace {

const StoredPlan kPlan = {"e45(2=3)", std::string("{\"cubin\":\n\"\0\xff\"}", 15)};

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Overwrite(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

TEST(PlanFiles, ComeBackAsTheyWereWritten) {
  const Folder folder;
  const PlanFiles files(folder.path + "/made/as/needed");
  EXPECT_FALSE(files.Read("key"));
  files.Write("key", kPlan);
  const auto read = PlanFiles(folder.path + "/made/as/needed").Read("key");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->engine, kPlan.engine);
  EXPECT_EQ(read->text, kPlan.text);
  EXPECT_FALSE(files.Read("another key"));
  files.Write("key", {"e1", "text"});
  EXPECT_EQ(files.Read("key")->engine, "e1") << "the last one written counts";
}

TEST(PlanFiles, AreAbsentWhereverTheyAreCutOrChanged) {
  const Folder folder;
  const PlanFiles files(folder.path);
  files.Write("key", kPlan);
  const std::string path = files.PathOf("key"), whole = Contents(path);
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    Overwrite(path, whole.substr(0, bytes));
    EXPECT_FALSE(files.Read("key")) << "cut to " << bytes << " bytes";
    std::string changed = whole;
    changed[bytes] ^= 1;
    Overwrite(path, changed);
    EXPECT_FALSE(files.Read("key")) << "byte " << bytes;
  }
  Overwrite(path, whole + "x");
  EXPECT_FALSE(files.Read("key"));
  files.Write("key", kPlan);
  EXPECT_TRUE(files.Read("key")) << "and are replaced";
}

// As when the hashes of two keys were the same.
TEST(PlanFiles, OfAnotherKeyAreAbsent) {
  const Folder folder;
  const PlanFiles files(folder.path);
  files.Write("key", kPlan);
  std::filesystem::rename(files.PathOf("key"), files.PathOf("other"));
  EXPECT_FALSE(files.Read("other"));
}

TEST(PlanFiles, OfManyWritersAreWholeAtAnyTime) {
  const Folder folder;
  const PlanFiles files(folder.path);
  const std::string texts[] = {std::string(100000, 'a'), std::string(70000, 'b')};
  files.Write("key", {"a", texts[0]});
  std::vector<std::thread> writers;
  for (const int which : {0, 1}) {
    writers.emplace_back([&, which] {
      for (int i = 0; i < 50; ++i) files.Write("key", {which == 0 ? "a" : "b", texts[which]});
    });
  }
  for (int i = 0; i < 200; ++i) {
    const auto read = files.Read("key");
    ASSERT_TRUE(read);
    ASSERT_EQ(read->text, texts[read->engine == "a" ? 0 : 1]);
  }
  for (std::thread& writer : writers) writer.join();
  int left = 0;
  for ([[maybe_unused]] const auto& file : std::filesystem::directory_iterator(folder.path)) {
    ++left;
  }
  EXPECT_EQ(left, 1) << "nothing but the plan is left";
}

TEST(PlanFiles, ThatCannotBeWrittenAreNotKept) {
  const Folder folder;
  Overwrite(folder.path + "/file", "no folder");
  const PlanFiles inside_a_file(folder.path + "/file/plans");
  inside_a_file.Write("key", kPlan);
  EXPECT_FALSE(inside_a_file.Read("key"));
  const PlanFiles nowhere("");
  nowhere.Write("key", kPlan);
  EXPECT_FALSE(nowhere.Read("key"));
}

TEST(PlanFiles, OfAFolderThatIsReadOnlyAreReadAndNotWritten) {
  if (geteuid() == 0) GTEST_SKIP() << "root writes to read-only folders too";
  const Folder folder;
  const PlanFiles files(folder.path);
  files.Write("key", kPlan);
  chmod(folder.path.c_str(), 0500);
  files.Write("other", kPlan);
  EXPECT_TRUE(files.Read("key"));
  EXPECT_FALSE(files.Read("other"));
  chmod(folder.path.c_str(), 0700);
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
