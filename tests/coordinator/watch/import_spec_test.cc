// An import runs our own program on a file of the source, and nothing else.
#include "coordinator/watch/import_spec.h"

#include <filesystem>
#include <fstream>

#include "coordinator/source/snapshot.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ImportSpecTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "trainyard-import-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    std::ofstream tar(folder_ / "snapshot.tar", std::ios::binary);
    SnapshotWriter writer({}, [&tar](std::string_view bytes) {
      tar << bytes;
      return absl::OkStatus();
    });
    const auto nothing = [](char*, size_t) -> absl::StatusOr<size_t> { return 0; };
    for (const char* file : {"-odd.py", "models/best.keras"}) {
      ASSERT_TRUE(writer.AddFile(file, false, 0, nothing).ok());
    }
    ASSERT_TRUE(writer.Finish().ok());
  }
  void TearDown() override { fs::remove_all(folder_); }

  absl::StatusOr<JobSpec> Make(const std::string& path, std::vector<std::string> overrides = {}) {
    return MakeImportSpec(folder_ / "snapshot.tar", path, overrides);
  }

  fs::path folder_;
};

TEST_F(ImportSpecTest, IsAProgramForTheKerasImageThatIsTriedOnce) {
  const auto spec = Make("models/best.keras", {"budget.time=10m"});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->name, "import best.keras");
  EXPECT_EQ(spec->program.framework(), "keras");
  EXPECT_THAT(spec->program.command(),
              ElementsAre("python3", "-m", "trainyard_program.to_native", "models/best.keras"));
  EXPECT_FALSE(spec->program.network());
  EXPECT_FALSE(spec->tune.enabled());
  EXPECT_EQ(spec->target.metric(), v1::Target::VAL_LOSS);
  EXPECT_EQ(spec->target.bound(), 1e-4);
  EXPECT_EQ(spec->budget.time_ms(), 600'000);
  EXPECT_EQ(Make("-odd.py")->program.command(3), "./-odd.py");
}

TEST_F(ImportSpecTest, RefusesWhatIsNoModelOfTheSource) {
  for (const char* path : {"absent.keras", "../best.keras", "/etc/passwd.py", "models/.keras"}) {
    const auto spec = Make(path);
    EXPECT_TRUE(absl::IsInvalidArgument(spec.status())) << path;
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr("no such file")) << path;
  }
  EXPECT_THAT(std::string(Make("models/best.pt").status().message()),
              AllOf(HasSubstr("models/best.pt"), HasSubstr(".keras, .h5")));
  EXPECT_THAT(std::string(Make("-odd.py", {"program.network=true"}).status().message()),
              HasSubstr("found 'program'"));
}

}  // namespace
}  // namespace trainyard::coordinator
