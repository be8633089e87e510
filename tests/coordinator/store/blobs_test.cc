// Blobs exist whole under their SHA-256 or not at all, whatever is torn, altered, full or
// interrupted.
#include "coordinator/store/blobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "tests/coordinator/store/temp_folder.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// FIPS 180-2, appendix B.1.
constexpr char kAbcSha256[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr char kOtherSha256[] = "0000000000000000000000000000000000000000000000000000000000000000";

std::string Content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void Overwrite(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

int FilesIn(const fs::path& folder) {
  return static_cast<int>(std::count_if(fs::recursive_directory_iterator(folder), {},
                                        [](const auto& entry) { return entry.is_regular_file(); }));
}

class BlobsTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    auto blobs = Blobs::Open(folder_.path() / "blobs");
    ASSERT_TRUE(blobs.ok()) << blobs.status();
    blobs_ = std::move(*blobs);
  }

  TempFolder folder_;
  std::unique_ptr<Blobs> blobs_;
};

TEST_F(BlobsTest, WhatIsPutIsFoundUnderItsSha256WithTheSameBytes) {
  ASSERT_EQ(*blobs_->Put("abc"), kAbcSha256);
  EXPECT_TRUE(blobs_->Has(kAbcSha256));
  EXPECT_EQ(*blobs_->Size(kAbcSha256), 3);
  EXPECT_EQ(Content(*blobs_->Path(kAbcSha256)), "abc");
  EXPECT_TRUE(blobs_->Verify(kAbcSha256).ok());
}

TEST_F(BlobsTest, AnUploadInPiecesOfManyMegabytesIsHashedAsAWhole) {
  const std::string piece(1 << 20, 'x');
  auto writer = blobs_->Create();
  ASSERT_TRUE(writer.ok());
  std::string whole;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE((*writer)->Append(piece).ok());
    whole += piece;
  }
  const auto sha256 = (*writer)->Commit("");
  ASSERT_TRUE(sha256.ok()) << sha256.status();
  EXPECT_EQ(*blobs_->Put(whole), *sha256);
  EXPECT_EQ(*blobs_->Size(*sha256), 5 << 20);
  EXPECT_TRUE(blobs_->Verify(*sha256).ok());
}

TEST_F(BlobsTest, AnUploadDoesNotExistBeforeItsCommitAndLeavesNothingWhenDropped) {
  {
    auto writer = blobs_->Create();
    ASSERT_TRUE((*writer)->Append("abc").ok());
    EXPECT_FALSE(blobs_->Has(kAbcSha256));
  }
  EXPECT_EQ(FilesIn(folder_.path()), 0);
}

TEST_F(BlobsTest, AnUploadWithAnotherHashThanExpectedIsDataLossAndLeavesNothing) {
  {
    auto writer = blobs_->Create();
    ASSERT_TRUE((*writer)->Append("abc").ok());
    const auto result = (*writer)->Commit(kOtherSha256);
    EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(kAbcSha256));
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(kOtherSha256));
  }
  EXPECT_EQ(FilesIn(folder_.path()), 0);
}

TEST_F(BlobsTest, AnUploadIsCommittedOnce) {
  auto writer = blobs_->Create();
  ASSERT_TRUE((*writer)->Append("abc").ok());
  ASSERT_TRUE((*writer)->Commit(kAbcSha256).ok());
  EXPECT_EQ((*writer)->Commit(kAbcSha256).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*writer)->Append("d").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Content(*blobs_->Path(kAbcSha256)), "abc");
}

TEST_F(BlobsTest, OpeningKeepsBlobsAndClearsWhatAKilledProcessLeftHalfWritten) {
  ASSERT_TRUE(blobs_->Put("abc").ok());
  // What a killed upload leaves: Create made the file and nobody removed it.
  Overwrite(folder_.path() / "blobs/uploads/4711.1", "half");
  Reopen();
  EXPECT_EQ(FilesIn(folder_.path()), 1);
  EXPECT_TRUE(blobs_->Verify(kAbcSha256).ok());
}

TEST_F(BlobsTest, EveryTruncationAndEveryFlippedByteIsNoticedAndSetAside) {
  const std::string good = "a checkpoint of a few bytes";
  const std::string sha256 = *blobs_->Put(good);
  std::vector<std::string> damaged;
  for (size_t i = 0; i < good.size(); ++i) {
    damaged.push_back(good.substr(0, i));
    damaged.push_back(good);
    damaged.back()[i] ^= 1;
  }
  damaged.push_back(good + '\0');
  for (const std::string& bytes : damaged) {
    Overwrite(*blobs_->Path(sha256), bytes);
    const absl::Status status = blobs_->Verify(sha256);
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << "bytes: " << bytes;
    EXPECT_THAT(std::string(status.message()), HasSubstr("broken/"));
    EXPECT_FALSE(blobs_->Has(sha256));
    EXPECT_EQ(blobs_->Verify(sha256).code(), absl::StatusCode::kNotFound);
    ASSERT_EQ(*blobs_->Put(good), sha256);
  }
  EXPECT_TRUE(blobs_->Verify(sha256).ok());
}

TEST_F(BlobsTest, ABrokenBlobIsKeptForInspection) {
  ASSERT_TRUE(blobs_->Put("abc").ok());
  Overwrite(*blobs_->Path(kAbcSha256), "abX");
  ASSERT_EQ(blobs_->Verify(kAbcSha256).code(), absl::StatusCode::kDataLoss);
  ASSERT_EQ(FilesIn(folder_.path() / "blobs/broken"), 1);
  EXPECT_EQ(Content(fs::directory_iterator(folder_.path() / "blobs/broken")->path()), "abX");
}

TEST_F(BlobsTest, UploadingABlobAgainHealsATornOneUnderTheSameName) {
  ASSERT_TRUE(blobs_->Put("abc").ok());
  Overwrite(*blobs_->Path(kAbcSha256), "ab");
  ASSERT_EQ(*blobs_->Put("abc"), kAbcSha256);
  EXPECT_TRUE(blobs_->Verify(kAbcSha256).ok());
}

TEST_F(BlobsTest, NamesThatAreNoSha256NeverReachTheDisk) {
  Overwrite(folder_.path() / "secret", "secret");
  const std::string upper = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
  for (const std::string& name :
       {std::string(), std::string("../secret"), std::string(".."), std::string("/etc/passwd"),
        std::string("ba7816bf"), upper, "../secret" + std::string(55, '\0')}) {
    EXPECT_FALSE(blobs_->Has(name)) << name;
    EXPECT_EQ(blobs_->Size(name).status().code(), absl::StatusCode::kNotFound) << name;
    EXPECT_EQ(blobs_->Path(name).status().code(), absl::StatusCode::kNotFound) << name;
    EXPECT_EQ(blobs_->Verify(name).code(), absl::StatusCode::kNotFound) << name;
    blobs_->Remove(name);
  }
  EXPECT_EQ(Content(folder_.path() / "secret"), "secret");
}

TEST_F(BlobsTest, RemovingIsForGoodAndHarmlessWhenRepeated) {
  ASSERT_TRUE(blobs_->Put("abc").ok());
  blobs_->Remove(kAbcSha256);
  blobs_->Remove(kAbcSha256);
  EXPECT_FALSE(blobs_->Has(kAbcSha256));
  EXPECT_EQ(FilesIn(folder_.path()), 0);
}

TEST_F(BlobsTest, AFolderThatCannotBeUsedIsNamed) {
  Overwrite(folder_.path() / "file", "");
  const auto blobs = Blobs::Open(folder_.path() / "file" / "blobs");
  ASSERT_FALSE(blobs.ok());
  EXPECT_THAT(std::string(blobs.status().message()), HasSubstr((folder_.path() / "file").string()));
}

TEST_F(BlobsTest, AFullDiskIsResourceExhaustedNamesTheFolderKeepsOldBlobsAndGoesAway) {
  TempFolder disk;
  if (!disk.Limit(3 << 20)) GTEST_SKIP() << "may not mount a small disk here";
  auto blobs = Blobs::Open(disk.path());
  ASSERT_TRUE(blobs.ok()) << blobs.status();
  const std::string old = *(*blobs)->Put(std::string(1 << 20, 'o'));

  const auto full = (*blobs)->Put(std::string(4 << 20, 'n'));
  ASSERT_EQ(full.status().code(), absl::StatusCode::kResourceExhausted) << full.status();
  EXPECT_THAT(std::string(full.status().message()), HasSubstr(disk.path().string()));
  EXPECT_TRUE((*blobs)->Verify(old).ok());
  // The failed upload gave its room back.
  EXPECT_TRUE((*blobs)->Put(std::string(1 << 20, 'n')).ok());
}

TEST_F(BlobsTest, ConcurrentUploadsVerificationsAndRemovalsOfOneBlobNeverShowAPartOfIt) {
  const std::string bytes(100'000, 'b');
  const std::string sha256 = *blobs_->Put(bytes);
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) EXPECT_EQ(*blobs_->Put(bytes), sha256);
    });
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const absl::Status status = blobs_->Verify(sha256);
        EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kNotFound) << status;
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < 50; ++i) blobs_->Remove(sha256);
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(FilesIn(folder_.path() / "blobs/broken"), 0);
  EXPECT_EQ(FilesIn(folder_.path() / "blobs/uploads"), 0);
  ASSERT_EQ(*blobs_->Put(bytes), sha256);
  EXPECT_TRUE(blobs_->Verify(sha256).ok());
}

}  // namespace
}  // namespace trainyard::coordinator
