// Uploaded folders become the same snapshots as commits; hostile archives are refused by path.
#include "coordinator/source/archive.h"

#include <gmock/gmock.h>

#include "coordinator/source/data_roots.h"
#include "coordinator/source/tar_header.h"
#include "tests/coordinator/source/git_sample.h"

namespace trainyard::coordinator {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

class ArchiveTest : public testing::Test {
 protected:
  absl::StatusOr<SnapshotInfo> Normalise(const std::string& bytes, SnapshotLimits limits = {}) {
    return NormaliseArchive(folder_.Write("upload.tar", bytes), folder_.path(), limits,
                            FileSink(folder_ / "snapshot.tar"));
  }
  std::string Refusal(const std::string& bytes, SnapshotLimits limits = {}) {
    auto info = Normalise(bytes, limits);
    EXPECT_EQ(info.status().code(), StatusCode::kInvalidArgument) << info.status();
    return std::string(info.status().message());
  }
  static std::string File(const std::string& path, const std::string& content) {
    return TarHeader({.path = path, .size = static_cast<int64_t>(content.size())}) + content +
           std::string(TarPadding(content.size()), '\0');
  }
  static std::string Link(const std::string& path, const std::string& target) {
    return TarHeader({.path = path, .link = target});
  }
  // A header of another type, its checksum put right.
  static std::string Typed(const std::string& path, char type, const std::string& link = "") {
    std::string header = TarHeader({.path = path, .link = link.empty() ? "x" : link});
    header[156] = type;
    std::fill(header.begin() + 148, header.begin() + 156, ' ');
    unsigned sum = 0;
    for (unsigned char byte : header) sum += byte;
    char text[8];
    snprintf(text, sizeof text, "%06o", sum);
    std::copy(text, text + 7, header.begin() + 148);
    return header;
  }
  static std::string End() { return std::string(1'024, '\0'); }

  TempFolder folder_;
};

TEST_F(ArchiveTest, AnUploadIsTheSameSnapshotAsTheCommit) {
  GitRepository repository(folder_ / "repository");
  repository.Write("trainyard.yaml", "x");
  repository.Write("ünicode/" + std::string(120, 'n') + "/" + std::string(120, 'm'), "deep");
  repository.Write("a-b", "1");
  repository.Write("a/run", "2");
  repository.Run("chmod 755 a/run; ln -s run a/link");
  std::string commit = repository.Commit();
  GitOptions options;
  options.cache = folder_ / "cache";
  options.allow_local = true;
  auto from_git = Git(options).Snapshot(repository.path(), commit, FileSink(folder_ / "git.tar"));
  ASSERT_TRUE(from_git.ok()) << from_git.status();
  for (const char* tar : {"--format=pax", "--format=gnu", "--format=pax --sort=name -z",
                          "--format=gnu --mtime=2001-01-01 --owner=7"}) {
    repository.Run("tar -c --exclude=.git " + std::string(tar) + " -f ../up.tar .");
    auto info = Normalise(ReadBytes(folder_ / "up.tar"));
    ASSERT_TRUE(info.ok()) << tar << info.status();
    EXPECT_EQ(info->sha256, from_git->sha256) << tar;
    EXPECT_EQ(info->files, 5);
  }
}

TEST_F(ArchiveTest, ReadsListsAndExtracts) {
  ASSERT_TRUE(Normalise(Link("z", "d/b") + File("d/b", "2") + File("a", "1") + End()).ok());
  std::string tar = folder_ / "snapshot.tar";
  std::vector<std::string> names;
  auto files = ListArchive(tar);
  ASSERT_TRUE(files.ok()) << files.status();
  for (const ArchiveFile& file : *files) names.push_back(file.path);
  EXPECT_THAT(names, ElementsAre("a", "d/b", "z"));
  EXPECT_EQ(*ReadArchiveFile(tar, "d/b", 10), "2");
  EXPECT_EQ(ReadArchiveFile(tar, "absent", 10).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadArchiveFile(tar, "z", 10).status().code(), StatusCode::kNotFound) << "a link";
  EXPECT_EQ(ReadArchiveFile(tar, "a", 0).status().code(), StatusCode::kInvalidArgument);
  ASSERT_TRUE(ExtractArchive(tar, folder_ / "out").ok());
  EXPECT_EQ(ReadBytes(folder_ / "out/z"), "2");
  EXPECT_EQ(ExtractArchive(tar, folder_ / "out").code(), StatusCode::kFailedPrecondition);
}

TEST_F(ArchiveTest, HostileNamesAndLinks) {
  for (std::string path : {"../a", "/etc/a", "a/../b", "a//b", "a/./b", ".git/config",
                           "x/.Git/hooks/a", "a\x1b[2J", "bad\xff"}) {
    EXPECT_THAT(Refusal(File(path, "x") + End()), HasSubstr("found")) << path;
    // A checked extraction refuses them too, whoever wrote the archive.
    EXPECT_FALSE(ExtractArchive(folder_ / "upload.tar", folder_ / "never").ok()) << path;
  }
  for (std::string target : {"/etc", "..", "a/..", "../b", "./.."}) {
    EXPECT_THAT(Refusal(Link("l", target) + End()), HasSubstr("\"l\": found a symbolic link to"));
    EXPECT_FALSE(ExtractArchive(folder_ / "upload.tar", folder_ / "never2").ok()) << target;
  }
  EXPECT_TRUE(Normalise(Link("d/l", "../a") + File("a", "") + End()).ok());
}

TEST_F(ArchiveTest, AFileWrittenThroughALink) {
  EXPECT_THAT(Refusal(Link("d", "e") + File("d/x", "1") + End()),
              HasSubstr("\"d/x\": found it below \"d\", which is a file or link"));
  EXPECT_THAT(Refusal(File("d", "1") + File("d.x", "") + File("d/x", "1") + End()),
              HasSubstr("\"d/x\": found it below \"d\""));
  EXPECT_THAT(Refusal(File("a", "1") + File("a", "2") + End()), HasSubstr("\"a\": found it twice"));
}

TEST_F(ArchiveTest, DevicesPipesAndHardLinks) {
  EXPECT_THAT(Refusal(Typed("pipe", '6') + End()),
              HasSubstr("\"pipe\": found a hard link, device"));
  EXPECT_THAT(Refusal(Typed("dev", '3') + End()), HasSubstr("\"dev\": found a hard link, device"));
  EXPECT_THAT(Refusal(Typed("hard", '1', "/etc/passwd") + End()),
              HasSubstr("\"hard\": found a hard"));
}

TEST_F(ArchiveTest, LimitsHold) {
  SnapshotLimits limits{.files = 2, .file_bytes = 10, .total_bytes = 15};
  EXPECT_THAT(Refusal(File("a", std::string(11, 'x')) + End(), limits), HasSubstr("\"a\": found"));
  EXPECT_THAT(
      Refusal(File("a", std::string(9, 'x')) + File("b", std::string(9, 'x')) + End(), limits),
      HasSubstr("\"b\": found"));
  EXPECT_THAT(Refusal(File("a", "") + File("b", "") + File("c", "") + End(), limits),
              HasSubstr("\"c\": found more than 2 files"));
}

TEST_F(ArchiveTest, DamageIsDataLoss) {
  std::string good = File("a", std::string(5'000, 'x')) + End();
  EXPECT_EQ(Normalise(good.substr(0, 2'000)).status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(Normalise("this is no tar at all, but long enough to look like something" +
                      std::string(1'000, '?'))
                .status()
                .code(),
            StatusCode::kDataLoss);
  // A size far beyond the file's own.
  std::string huge = TarHeader({.path = "a", .size = int64_t{1} << 32}) + "x";
  EXPECT_EQ(Normalise(huge, {.file_bytes = int64_t{1} << 40, .total_bytes = int64_t{1} << 40})
                .status()
                .code(),
            StatusCode::kDataLoss);
}

TEST(SnapshotWriter, WantsItsFilesInOrder) {
  SnapshotWriter writer({}, [](std::string_view) { return absl::OkStatus(); });
  auto nothing = [](char*, size_t) -> absl::StatusOr<size_t> { return size_t{0}; };
  EXPECT_TRUE(writer.AddFile("b", false, 0, nothing).ok());
  EXPECT_FALSE(writer.AddFile("a", false, 0, nothing).ok());
  EXPECT_FALSE(writer.AddFile("b", false, 0, nothing).ok());
  EXPECT_FALSE(writer.AddFile("b/c", false, 0, nothing).ok());
  EXPECT_EQ(writer.AddFile("c", false, 5, nothing).code(), StatusCode::kDataLoss);
}

TEST(DataRoots, PathsBelowARoot) {
  TempFolder folder;
  std::string file = folder.Write("data/a.gz", "x");
  std::string root = folder / "data";
  EXPECT_EQ(*ResolveHostPath(file, {root}), file);
  EXPECT_EQ(*ResolveHostPath(file, {"/nowhere", root + "/"}), file);
  EXPECT_EQ(*ResolveHostPath(root + "/../data/a.gz", {root}), file);
  EXPECT_EQ(ResolveHostPath(root + "/absent", {root + "/"}).status().code(), StatusCode::kNotFound);
}

TEST(DataRoots, PathsOutsideAreRefusedNamingTheRoots) {
  TempFolder folder;
  std::string root = folder / "data", secret = folder.Write("secret", "x");
  folder.Write("data/a", "x");
  folder.Write("database/a", "x");
  std::filesystem::create_symlink(secret, root + "/link");
  std::filesystem::create_directory_symlink("..", root + "/up");
  for (std::string path : {secret, root + "/../secret", root + "/link", root + "/up/secret",
                           folder / "database/a", folder / "absent", std::string("relative")}) {
    auto resolved = ResolveHostPath(path, {root});
    EXPECT_EQ(resolved.status().code(), StatusCode::kInvalidArgument) << path;
    EXPECT_THAT(std::string(resolved.status().message()), HasSubstr("expected one below " + root));
  }
  EXPECT_THAT(std::string(ResolveHostPath(secret, {}).status().message()),
              HasSubstr("a root, of which none is configured"));
  // A root that is itself a link is where it leads.
  std::filesystem::create_directory_symlink(root, folder / "alias");
  EXPECT_TRUE(ResolveHostPath(folder / "alias/a", {folder / "alias"}).ok());
}

}  // namespace
}  // namespace trainyard::coordinator
