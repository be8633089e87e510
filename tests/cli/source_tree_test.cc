// What of a folder is uploaded.
#include "cli/source_tree.h"

#include <git2.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SourceTreeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder = fs::temp_directory_path() / ("trainyard-tree-" + std::to_string(getpid()));
    fs::create_directories(folder);
  }
  void TearDown() override { fs::remove_all(folder); }

  void Put(const std::string& path, const std::string& content = "x") {
    fs::create_directories((folder / path).parent_path());
    std::ofstream(folder / path) << content;
  }
  // Runs git with an identity, and fails the test when it fails.
  void Git(const std::string& arguments) {
    const std::string command = "git -c init.defaultBranch=main -C " + folder.string() +
                                " -c user.name=A -c user.email=a@b.c " + arguments + " > " +
                                (fs::temp_directory_path() / "trainyard-tree-git.log").string() +
                                " 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  static std::vector<std::string> Paths(const SourceTree& tree) {
    std::vector<std::string> paths;
    for (const SourceFile& file : tree.files) paths.push_back(file.path);
    return paths;
  }
  static std::string Tar(const SourceTree& tree) {
    std::string data;
    const absl::Status status = WriteTar(tree, 1000, [&](std::string_view piece) {
      EXPECT_LE(piece.size(), 1000u);
      data += piece;
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return data;
  }

  fs::path folder;
};

TEST_F(SourceTreeTest, IgnoreRulesHoldWithoutGit) {
  Put(".gitignore", "*.pyc\n/data/\n!keep.pyc\n");
  Put("sub/.gitignore", "local\n");
  for (const char* path : {"trainyard.yaml", "a.pyc", "keep.pyc", "data/big.bin", "sub/data/kept",
                           "sub/local", "local"}) {
    Put(path);
  }
  const auto tree = ReadFolder(folder);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_THAT(Paths(*tree), ElementsAre(".gitignore", "keep.pyc", "local", "sub/.gitignore",
                                        "sub/data/kept", "trainyard.yaml"));
  EXPECT_EQ(tree->commit, "");
  EXPECT_FALSE(fs::exists(folder / ".git")) << "reading must leave no trace";
}

TEST_F(SourceTreeTest, ACleanCheckoutHasItsCommitAndAChangedOneHasNone) {
  Put("trainyard.yaml");
  Put("forced.bin");
  Put(".gitignore", "*.bin\nout/\n");
  Git("init");
  Git("add -f .");
  Git("commit -m first");
  Put("ignored.bin");
  Put("out/log");
  auto tree = ReadFolder(folder);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(tree->commit.size(), 40u);
  EXPECT_THAT(Paths(*tree), ElementsAre(".gitignore", "forced.bin", "trainyard.yaml"))
      << "what Git has is kept, although it is ignored";
  Put("new.txt");
  tree = ReadFolder(folder);
  EXPECT_EQ(tree->commit, "");
  EXPECT_THAT(Paths(*tree), ElementsAre(".gitignore", "forced.bin", "new.txt", "trainyard.yaml"));
}

TEST_F(SourceTreeTest, AFolderWithinACheckoutFollowsTheRulesAboveIt) {
  Put(".gitignore", "*.log\n");
  Put("nets/small/trainyard.yaml");
  Put("nets/small/run.log");
  Git("init");
  const auto tree = ReadFolder(folder / "nets/small");
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_THAT(Paths(*tree), ElementsAre("trainyard.yaml"));
  EXPECT_EQ(tree->commit, "");
}

TEST_F(SourceTreeTest, ARevisionIsReadFromTheRepositoryNotTheFolder) {
  Put("trainyard.yaml", "first");
  Put("run.sh", "#!/bin/sh");
  fs::permissions(folder / "run.sh", fs::perms::owner_all);
  Git("init");
  Git("add .");
  Git("commit -m first");
  Git("tag v1");
  Put("trainyard.yaml", "second");
  const auto tree = ReadRevision(folder, "v1");
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_THAT(Paths(*tree), ElementsAre("run.sh", "trainyard.yaml"));
  EXPECT_EQ(tree->commit.size(), 40u);
  EXPECT_TRUE(tree->files[0].executable);
  EXPECT_THAT(Tar(*tree), HasSubstr("first"));
  EXPECT_THAT(std::string(ReadRevision(folder, "v2").status().message()),
              HasSubstr("no commit is named v2"));
}

TEST_F(SourceTreeTest, TheSameFilesMakeTheSameArchive) {
  Put("b", "two");
  Put("a", "one");
  Put(std::string(150, 'd') + "/" + std::string(150, 'f'), "long names too");
  const std::string first = Tar(*ReadFolder(folder));
  fs::last_write_time(folder / "a", fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(Tar(*ReadFolder(folder)), first);
}

TEST_F(SourceTreeTest, LinksInsideStayLinksAndLinksOutsideAreRefused) {
  Put("a/real");
  fs::create_symlink("a/real", folder / "inside");
  const auto tree = ReadFolder(folder);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(tree->files[1].link, "a/real");
  for (const char* target : {"/etc/passwd", "../outside", "a/../../outside"}) {
    fs::remove(folder / "bad");
    fs::create_symlink(target, folder / "bad");
    const auto refused = ReadFolder(folder);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << target;
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("bad: a symbolic link to"));
  }
}

TEST_F(SourceTreeTest, OddFilesAreLeftOutAndNamed) {
  Put("ordinary");
  Put("new\nline");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  const auto tree = ReadFolder(folder);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_THAT(tree->notes, ElementsAre("pipe: left out, neither a file nor a folder"));
  EXPECT_THAT(Paths(*tree), ElementsAre("new\nline", "ordinary"));
}

TEST_F(SourceTreeTest, AFileThatChangesMeanwhileIsNotedNotSentTorn) {
  Put("a", "0123456789");
  const auto tree = ReadFolder(folder);
  for (const std::string content : {"012", "0123456789abcdef"}) {
    Put("a", content);
    const absl::Status status =
        WriteTar(*tree, 1000, [](std::string_view) { return absl::OkStatus(); });
    EXPECT_THAT(std::string(status.message()), HasSubstr("a: changed")) << content;
  }
}

TEST_F(SourceTreeTest, AnEmptyFolderIsRefused) {
  const auto tree = ReadFolder(folder);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_THAT(std::string(CheckSize(*tree, 1000).message()), HasSubstr("no files"));
}

}  // namespace
}  // namespace trainyard::cli
