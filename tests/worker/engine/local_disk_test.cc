// Only where nobody else can change a file under its reader is it mapped.
#include "worker/engine/local_disk.h"

#include <gtest/gtest.h>
#include <linux/magic.h>

#include <filesystem>

#include "tests/worker/engine/support/examples.h"
#include "tests/worker/engine/support/faults.h"
#include "worker/engine/mapped_file.h"

namespace trainyard::engine {
namespace {

constexpr uint32_t kLustre = 0x0bd00bd0, kGpfs = 0x47504653, kCifs = 0xff534d42, kXfs = 0x58465342;

TEST(LocalDisk, OnlyFileSystemsThatAreKnownToBeLocalAre) {
  for (const uint32_t kind : {uint32_t{EXT4_SUPER_MAGIC}, kXfs, uint32_t{BTRFS_SUPER_MAGIC},
                              uint32_t{TMPFS_MAGIC}, uint32_t{OVERLAYFS_SUPER_MAGIC}}) {
    const WithFaults faults({.file_system = kind});
    EXPECT_TRUE(IsLocal("/")) << std::hex << kind;
  }
  for (const uint32_t kind :
       {uint32_t{NFS_SUPER_MAGIC}, kLustre, kGpfs, kCifs, uint32_t{SMB2_SUPER_MAGIC},
        uint32_t{FUSE_SUPER_MAGIC}, uint32_t{CEPH_SUPER_MAGIC}, uint32_t{V9FS_MAGIC}, 12345u}) {
    const WithFaults faults({.file_system = kind});
    EXPECT_FALSE(IsLocal("/")) << std::hex << kind;
  }
}

TEST(LocalDisk, WhatIsNotThereYetIsWhereItWouldBeMade) {
  const TemporaryFolder folder;
  EXPECT_EQ(IsLocal(folder.File("not/there/yet")), IsLocal(folder.File(".")));
  EXPECT_FALSE(IsLocal("/proc/not/there"));
  EXPECT_FALSE(IsLocal("/proc"));
}

TEST(MappedFileTest, ElsewhereTheFileIsReadAndMayBeCutMeanwhile) {
  const TemporaryFolder folder;
  const std::string bytes(10000, 'x');
  WriteBytes(folder.File("a"), bytes);
  const WithFaults faults({.file_system = NFS_SUPER_MAGIC});
  const std::optional<MappedFile> file = MappedFile::Open(folder.File("a"));
  ASSERT_TRUE(file);
  std::filesystem::resize_file(folder.File("a"), 0);
  EXPECT_EQ(file->bytes(), bytes);
  EXPECT_FALSE(MappedFile::Open(folder.File("a"))) << "empty";
  EXPECT_FALSE(MappedFile::Open(folder.File("none")));
}

}  // namespace
}  // namespace trainyard::engine
