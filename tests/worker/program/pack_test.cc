// A program's checkpoint as a blob: the same bytes for the same files, whole again elsewhere, and
// nothing in it that the program may not read itself.
#include "worker/program/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace trainyard::program {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class PackTest : public testing::Test {
 protected:
  PackTest() {
    std::string name = (fs::temp_directory_path() / "trainyard-pack-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~PackTest() override { RemoveTree(folder_); }

  Workspace Space(const std::string& name) {
    Workspace space;
    space.root = folder_ + "/" + name;
    for (auto [path, part] : {std::pair(&space.source, "/source"),
                              {&space.output, "/output"},
                              {&space.checkpoints, "/checkpoints"},
                              {&space.restored, "/restored"}}) {
      *path = space.root + part;
      fs::create_directories(*path);
    }
    return space;
  }
  static void Write(const std::string& path, const std::string& content) {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path) << content;
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string Names(const std::vector<Published>& files) {
    std::string names;
    for (const Published& file : files) names += file.name + " ";
    return names;
  }

  std::string folder_;
};

TEST_F(PackTest, GoesThereAndBackAndIsTheSameEachTime) {
  const Workspace here = Space("here"), there = Space("there");
  Write(here.checkpoints + "/epoch-3/model.keras", std::string(1'000'000, 'w'));
  Write(here.checkpoints + "/epoch-3/deep/er", "x");
  Write(here.output + "/report/curve.csv", "1,2");
  Write(here.source + "/best.pt", "torch");
  State state{.epoch = 3, .step = 30, .val_accuracy = 0.5, .entry = "epoch-3"};
  state.held = EpochLine{.epoch = 4, .loss = 0.25};
  const auto first = Pack(here, state, {"best.pt"}, folder_ + "/1.tar");
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = Pack(here, state, {"best.pt"}, folder_ + "/2.tar");
  EXPECT_EQ(first->sha256, second->sha256);
  EXPECT_EQ(first->bytes, static_cast<int64_t>(fs::file_size(folder_ + "/1.tar")));

  const auto back = Unpack(folder_ + "/1.tar", there);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->epoch, 3);
  EXPECT_EQ(back->step, 30);
  EXPECT_EQ(back->val_accuracy, 0.5);
  EXPECT_TRUE(std::isnan(back->val_loss));
  EXPECT_EQ(back->held->loss, 0.25);
  EXPECT_EQ(Read(there.checkpoints + "/epoch-3/model.keras").size(), 1'000'000u);
  EXPECT_EQ(Read(there.source + "/best.pt"), "torch");
  EXPECT_EQ(Names(FilesToPublish(there, *back)), "report/curve.csv model.keras best.pt ");
}

TEST_F(PackTest, LinksPipesAndUnfinishedEntriesStayOut) {
  const Workspace here = Space("here"), there = Space("there");
  Write(folder_ + "/secret", "token");
  Write(here.checkpoints + "/good/weights", "w");
  Write(here.checkpoints + "/.half/weights", "w");
  fs::create_symlink(folder_ + "/secret", here.checkpoints + "/good/model.keras");
  fs::create_symlink(folder_, here.output + "/all");
  mkfifo((here.output + "/pipe").c_str(), 0600);
  EXPECT_EQ(NewestEntry(here)->name, "good");
  fs::create_symlink(folder_, here.checkpoints + "/link");
  EXPECT_EQ(NewestEntry(here)->name, "good");
  EXPECT_FALSE(FindEntry(here, "link"));
  EXPECT_FALSE(FindEntry(here, "../here"));
  ASSERT_TRUE(Pack(here, {.epoch = 1, .entry = "good"}, {}, folder_ + "/1.tar").ok());
  ASSERT_TRUE(Unpack(folder_ + "/1.tar", there).ok());
  EXPECT_THAT(StampFiles(there.root), ElementsAre(testing::Key("checkpoints/good/weights"),
                                                  testing::Key("restored/state.json")));
}

TEST_F(PackTest, AnEntryThatIsGoneIsSaidAndNoFileIsLeft) {
  const Workspace here = Space("here");
  const auto packed = Pack(here, {.epoch = 1, .entry = "gone"}, {}, folder_ + "/1.tar");
  EXPECT_TRUE(absl::IsNotFound(packed.status()));
  EXPECT_FALSE(fs::exists(folder_ + "/1.tar"));
}

TEST_F(PackTest, AFullDiskIsToldAsSuch) {
  const Workspace here = Space("here");
  Write(here.checkpoints + "/e", std::string(100'000, 'x'));
  fs::create_symlink("/dev/full", folder_ + "/full.tar");
  const auto packed = Pack(here, {.epoch = 1, .entry = "e"}, {}, folder_ + "/full.tar");
  EXPECT_TRUE(absl::IsResourceExhausted(packed.status())) << packed.status();
}

TEST_F(PackTest, WhatIsNoCheckpointOfAProgramIsDataLoss) {
  const Workspace here = Space("here");
  Write(folder_ + "/text", "this is no archive at all, whatever it is");
  EXPECT_TRUE(absl::IsDataLoss(Unpack(folder_ + "/text", here).status()));
  Write(here.checkpoints + "/e", "x");
  ASSERT_TRUE(Pack(here, {.epoch = 1, .entry = "e"}, {}, folder_ + "/1.tar").ok());
  fs::resize_file(folder_ + "/1.tar", 700);
  EXPECT_TRUE(absl::IsDataLoss(Unpack(folder_ + "/1.tar", Space("there")).status()));
}

TEST_F(PackTest, OnlyModelFilesThatAreNewOrChangedAreTheProgramsOwn) {
  Workspace here = Space("here");
  Write(here.source + "/old.h5", "came with the source");
  Write(here.source + "/changed.h5", "came with the source");
  here.stamps = StampFiles(here.source);
  Write(here.source + "/changed.h5", "trained");
  Write(here.source + "/out/new.KERAS", "trained");
  Write(here.source + "/log.txt", "text");
  EXPECT_THAT(ModelFiles(here), ElementsAre("changed.h5", "out/new.KERAS"));
}

TEST_F(PackTest, WhereNothingElseWasLeftTheEntryIsTheModel) {
  const Workspace here = Space("here");
  Write(here.checkpoints + "/ckpt/a.bin", "x");
  EXPECT_EQ(Names(FilesToPublish(here, {.epoch = 1, .entry = "ckpt"})), "a.bin ");
  Write(here.checkpoints + "/ckpt-2.pt", "x");
  EXPECT_EQ(Names(FilesToPublish(here, {.epoch = 1, .entry = "ckpt-2.pt"})), "ckpt-2.pt ");
}

TEST_F(PackTest, FoldersWithoutRightsAreRemovedAllTheSame) {
  Write(folder_ + "/tree/a/b/c", "x");
  fs::permissions(folder_ + "/tree/a/b", fs::perms::none);
  fs::permissions(folder_ + "/tree/a", fs::perms::none);
  RemoveTree(folder_ + "/tree");
  EXPECT_FALSE(fs::exists(folder_ + "/tree"));
}

}  // namespace
}  // namespace trainyard::program
