// Shows that a spec's data paths lead into the repository or a data root and nowhere else.
#include "coordinator/watch/data_locator.h"

#include <filesystem>
#include <fstream>

#include "coordinator/source/snapshot.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class DataLocatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "trainyard-locator-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    for (const char* sub : {"root", "root-beside", "elsewhere", "scratch"}) {
      fs::create_directory(folder_ / sub);
    }
    std::ofstream(folder_ / "root/data") << "x";
    fs::create_symlink(folder_ / "elsewhere", folder_ / "root/way-out");
    MakeSnapshot();
  }
  void TearDown() override { fs::remove_all(folder_); }

  void MakeSnapshot() {
    std::ofstream tar(folder_ / "snapshot.tar", std::ios::binary);
    SnapshotWriter writer({}, [&tar](std::string_view bytes) {
      tar << bytes;
      return absl::OkStatus();
    });
    bool sent = false;
    ASSERT_TRUE(writer
                    .AddFile("images.gz", false, 5,
                             [&sent](char* bytes, size_t) -> absl::StatusOr<size_t> {
                               if (std::exchange(sent, true)) return 0;
                               std::string("bytes").copy(bytes, 5);
                               return 5;
                             })
                    .ok());
    ASSERT_TRUE(writer.Finish().ok());
  }

  DataLocator Make(std::vector<std::string> roots) {
    return DataLocator(folder_ / "snapshot.tar", folder_ / "scratch/s", std::move(roots),
                       [this](const v1::DataFile&) { return fetched_; });
  }
  static v1::DataFile Inside(const std::string& path) {
    v1::DataFile file;
    file.set_path(path);
    return file;
  }
  static v1::DataFile OnHost(const fs::path& path) {
    v1::DataFile file;
    file.set_host_path(path);
    return file;
  }

  fs::path folder_;
  absl::StatusOr<std::string> fetched_ = absl::UnavailableError("not now");
};

TEST_F(DataLocatorTest, AFileOfTheRepositoryIsUnpacked) {
  DataLocator locator = Make({});
  const auto path = locator.Locate(Inside("images.gz"));
  ASSERT_TRUE(path.ok()) << path.status();
  std::ifstream file(*path);
  std::string text;
  file >> text;
  EXPECT_EQ(text, "bytes");
  EXPECT_TRUE(locator.Locate(Inside("not-there.gz")).ok()) << "its reader says that it is missing";
  EXPECT_TRUE(absl::IsInvalidArgument(locator.Locate(Inside("../../root/data")).status()));
}

TEST_F(DataLocatorTest, HostPathsHaveToLieUnderADataRoot) {
  DataLocator locator = Make({(folder_ / "root").string()});
  EXPECT_TRUE(locator.Locate(OnHost(folder_ / "root/data")).ok());
  for (const fs::path& path :
       {fs::path("/etc/passwd"), folder_ / "root-beside/data", folder_ / "root/../elsewhere/x",
        folder_ / "root/way-out/x", folder_}) {
    const auto found = locator.Locate(OnHost(path));
    EXPECT_TRUE(absl::IsInvalidArgument(found.status())) << path;
    EXPECT_THAT(std::string(found.status().message()), HasSubstr((folder_ / "root").string()));
  }
  EXPECT_TRUE(locator.passing_error().ok());
}

TEST_F(DataLocatorTest, WithoutDataRootsNoHostPathIsAllowed) {
  const auto found = Make({}).Locate(OnHost(folder_ / "root/data"));
  EXPECT_TRUE(absl::IsInvalidArgument(found.status()));
  EXPECT_THAT(std::string(found.status().message()), HasSubstr("no data roots"));
}

TEST_F(DataLocatorTest, AnErrorThatMayPassIsRemembered) {
  v1::DataFile file;
  file.set_url("https://example.org/x");
  DataLocator locator = Make({});
  EXPECT_FALSE(locator.Locate(file).ok());
  EXPECT_TRUE(absl::IsUnavailable(locator.passing_error()));
}

TEST(IsInside, ComparesWholeNames) {
  EXPECT_TRUE(IsInside("/a/b", "/a"));
  EXPECT_TRUE(IsInside("/a/b", "/a/"));
  EXPECT_TRUE(IsInside("/a", "/a"));
  EXPECT_TRUE(IsInside("/a", "/"));
  EXPECT_FALSE(IsInside("/ab", "/a"));
  EXPECT_FALSE(IsInside("/", "/a"));
}

}  // namespace
}  // namespace trainyard::coordinator
