// Who has a GPU: one worker at a time, until its process ends; and what is known of the GPU's use.
#include "worker/agent/gpu_claim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "tests/worker/agent/fake_gateway.h"
#include "worker/agent/gpu_watch.h"

namespace trainyard::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(GpuClaim, OneHolderAtATime) {
  TestFolder folder;
  {
    const absl::StatusOr<GpuClaim> first = GpuClaim::Take(folder.path(), "GPU-1");
    ASSERT_TRUE(first.ok()) << first.status();
    const absl::StatusOr<GpuClaim> second = GpuClaim::Take(folder.path(), "GPU-1");
    EXPECT_TRUE(absl::IsUnavailable(second.status())) << second.status();
    EXPECT_THAT(second.status().ToString(), HasSubstr("GPU-1 is taken by another worker"));
    EXPECT_TRUE(GpuClaim::Take(folder.path(), "GPU-2").ok());
  }
  EXPECT_TRUE(GpuClaim::Take(folder.path(), "GPU-1").ok());
}

TEST(GpuClaim, EndsWithItsProcess) {
  TestFolder folder;
  int taken[2];
  ASSERT_EQ(pipe(taken), 0);
  const pid_t child = fork();
  if (child == 0) {
    const absl::StatusOr<GpuClaim> claim = GpuClaim::Take(folder.path(), "GPU-1");
    const char answer = claim.ok() ? 'y' : 'n';
    if (write(taken[1], &answer, 1) == 1) pause();
    _exit(1);
  }
  char answer = 0;
  ASSERT_EQ(read(taken[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_TRUE(absl::IsUnavailable(GpuClaim::Take(folder.path(), "GPU-1").status()));
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(GpuClaim::Take(folder.path(), "GPU-1").ok());
  close(taken[0]);
  close(taken[1]);
}

TEST(GpuClaim, ItsFileCanBeOpenedByWorkersOfOtherUsers) {
  TestFolder folder;
  const mode_t before = umask(077);
  const absl::StatusOr<GpuClaim> claim = GpuClaim::Take(folder.path(), "MIG-GPU-1/2/0");
  umask(before);
  ASSERT_TRUE(claim.ok()) << claim.status();
  EXPECT_EQ(fs::status(folder / "trainyard-MIG-GPU-1_2_0.lock").permissions(), fs::perms(0644));
}

TEST(GpuClaim, FollowsNoLinkAndNamesWhatIsInItsWay) {
  TestFolder folder;
  fs::create_symlink(folder / "elsewhere", folder / "trainyard-GPU-1.lock");
  const absl::Status link = GpuClaim::Take(folder.path(), "GPU-1").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(link)) << link;
  EXPECT_FALSE(fs::exists(folder / "elsewhere"));
  const absl::Status absent = GpuClaim::Take("/nowhere", "GPU-1").status();
  EXPECT_THAT(absent.ToString(), HasSubstr("/nowhere/trainyard-GPU-1.lock: No such file"));
}

TEST(GpuWatch, TellsWhatItFoundLast) {
  std::atomic<int> samples{0};
  GpuWatch watch(
      [&]() -> std::optional<v1::GpuUse> {
        if (++samples == 1) return std::nullopt;
        v1::GpuUse use;
        use.set_busy_percent(samples);
        return use;
      },
      std::chrono::milliseconds(1));
  while (!watch.latest()) std::this_thread::yield();
  EXPECT_GE(watch.latest()->busy_percent(), 2);
}

}  // namespace
}  // namespace trainyard::agent
