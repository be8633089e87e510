// A full disk, a commit that cannot succeed, a poisoned record: nothing is lost, and it is said.
#include <SQLiteCpp/SQLiteCpp.h>

#include <fstream>

#include "coordinator/loop.h"
#include "tests/coordinator/loop_fixture.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

// ---- Trouble ----

class FullDiskTest : public LoopTest {
 protected:
  void SetUp() override {
    if (!disk_.Limit(8 << 20)) GTEST_SKIP() << "may not mount a small disk here";
    Open();
  }
  void TearDown() override {
    recorder_.Hold(false);
    Close();
  }
  fs::path place() const override { return disk_.path(); }
  void Fill() {
    std::ofstream out(disk_.path() / "filler", std::ios::binary);
    const std::string block(4096, 'f');
    while (out.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }

  TempFolder disk_;
};

TEST_F(FullDiskTest, NothingIsDoneNothingIsLostReadingGoesOnAndItContinuesByItself) {
  const core::StartAttempt start = BeginTraining();
  const core::ProjectId project = AddProject("a");
  Fill();
  // The log of writes may have room left; it does not last.
  absl::Status status;
  int pushes = 0;
  while (status.ok() && pushes < 20'000) {
    status = loop_->Ask(core::ProjectAdded{{}, "p" + std::to_string(++pushes), "url", "main"}, 2s)
                 .status();
  }
  ASSERT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("records.db"));
  EXPECT_THAT(loop_->trouble(), HasSubstr("records.db"));

  loop_->Post(core::PushSeen{project, "c"});
  EXPECT_EQ(recorder_.Count<core::PrepareSource>(), 0u);
  const auto job = loop_->GetJob(start.job);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->reason(), HasSubstr("records.db"));
  EXPECT_TRUE(loop_->ListJobs(10).ok());
  EXPECT_TRUE(loop_->WatchEvents({}, 0, {})->Take(10).ok());
  // Meanwhile the worker lives on, far beyond its lease.
  for (int step = 2; step < 20; ++step) {
    clock_.Advance(options_.settings.lease_ms / 2);
    ASSERT_TRUE(loop_->TryPost(core::LeaseRenewed{start.claim, step, core::Phase::kTraining}).ok());
  }

  fs::remove(disk_.path() / "filler");
  recorder_.Wait<core::PrepareSource>();
  Drain();
  EXPECT_EQ(loop_->trouble(), "");
  EXPECT_EQ(StateOf(start.claim.attempt), core::AttemptState::kRunning);
  loop_->Read([&](const core::State& state) {
    EXPECT_EQ(state.projects.size(), static_cast<size_t>(pushes) + 1);
  });
  Close();
  Open();
  loop_->Read([&](const core::State& state) {
    EXPECT_EQ(state.projects.size(), static_cast<size_t>(pushes) + 1);
  });
}

TEST_F(FullDiskTest, StoppingDoesNotWaitForRoom) {
  AddProject("a");
  Fill();
  absl::Status status;
  for (int i = 0; status.ok() && i < 20'000; ++i) {
    status =
        loop_->Ask(core::ProjectAdded{{}, "p" + std::to_string(i), "url", "main"}, 2s).status();
  }
  ASSERT_FALSE(status.ok());
  loop_->Stop();
}

TEST_F(LoopTest, ACommitThatCanNeverSucceedEndsTheLoopAndSaysWhy) {
  AddProject("a");
  Close();
  SQLite::Database((place() / "state/records.db").string(), SQLite::OPEN_READWRITE)
      .exec("CREATE TRIGGER no BEFORE INSERT ON projects BEGIN SELECT RAISE(ABORT, 'nope'); END");
  Open();
  const auto answer = loop_->Ask(core::ProjectAdded{{}, "b", "url", "main"}, kLong);
  EXPECT_THAT(std::string(answer.status().message()), HasSubstr("nope"));
  EXPECT_THAT(std::string(recorder_.WaitBroken().message()), HasSubstr("nope"));
  Close();
  // What was not committed never happened.
  auto records = Records::Open(place() / "state");
  EXPECT_EQ((*records)->Load()->state.projects.size(), 1u);
}

TEST_F(LoopTest, APoisonedRecordFailsItsJobForPeopleToSeeAndTheOthersGoOn) {
  const core::JobId bad = Submit(1);
  const core::JobId good = Submit(2);
  Close();
  SQLite::Database((place() / "state/records.db").string(), SQLite::OPEN_READWRITE)
      .exec("UPDATE trials SET body = x'ff' WHERE job = " + std::to_string(bad.value));
  Open();
  ASSERT_EQ(loop_->set_aside().size(), 1u);
  Drain();
  const auto failed = loop_->GetJob(bad);
  ASSERT_TRUE(failed.ok()) << failed.status();
  EXPECT_EQ(failed->state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(failed->reason(), HasSubstr("trials row "));
  EXPECT_EQ(loop_->GetJob(good)->state(), v1::JOB_STATE_QUEUED);
  std::string last;
  const auto events = loop_->WatchEvents(bad, 0, {})->Take(100);
  EXPECT_EQ(events->back().kind(), "job_ended");
  // Seen once, over for good.
  Close();
  Open();
  EXPECT_TRUE(loop_->set_aside().empty());
}

}  // namespace
}  // namespace trainyard::coordinator
