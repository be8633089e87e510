// The loop commits before it acts, answers everybody once, bounds what waits, and judges by when
// things came.
#include "coordinator/loop.h"

#include <set>
#include <thread>

#include "tests/coordinator/loop_fixture.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

// ---- Commit, then act ----

TEST_F(LoopTest, AnAnswerComesAfterItsCommit) {
  for (int i = 0; i < 20; ++i) {
    const core::ProjectId id = AddProject("project" + std::to_string(i));
    EXPECT_EQ(records_->Load()->state.projects.count(id), 1u);
  }
}

TEST_F(LoopTest, AnEffectComesAfterItsCommit) {
  std::atomic<int> seen{0};
  recorder_.SetHook([&](const core::Effect& effect) {
    const auto* prepare = std::get_if<core::PrepareSource>(&effect);
    if (prepare == nullptr) return;
    EXPECT_EQ(records_->Load()->state.pushes.count(prepare->push), 1u);
    ++seen;
  });
  const core::ProjectId project = AddProject("a");
  for (int i = 0; i < 10; ++i) {
    loop_->Post(core::PushSeen{project, "commit" + std::to_string(i)});
    recorder_.Wait<core::PrepareSource>(static_cast<size_t>(i));
  }
  Drain();
  EXPECT_EQ(seen, 10);
}

TEST_F(LoopTest, AnEffectThatWasNotConfirmedComesAgainAfterARestartAndAConfirmedOneDoesNot) {
  const core::ProjectId project = AddProject("a");
  loop_->Post(core::PushSeen{project, "c1"});
  const auto first = recorder_.Wait<core::PrepareSource>();
  Close();
  Open();
  EXPECT_EQ(recorder_.Wait<core::PrepareSource>(1), first);
  loop_->Post(core::SourceRefused{first.push, "no spec"});
  Drain();
  Close();
  Open();
  Drain();
  EXPECT_EQ(recorder_.Count<core::PrepareSource>(), 2u);
}

TEST_F(LoopTest, WhatWasAcknowledgedIsThereAfterARestart) {
  const core::StartAttempt start = BeginTraining();
  core::EpochReported report{start.claim, 9, 1, 10};
  report.metrics.val_accuracy = 0.5;
  ASSERT_TRUE(loop_->TryPost(report).ok());
  EXPECT_EQ(recorder_.Wait<core::Acknowledge>().sequence, 9);
  const auto before = loop_->GetJob(start.job);
  ASSERT_TRUE(before.ok());
  Close();
  Open();
  Drain();
  const auto after = loop_->GetJob(start.job);
  ASSERT_TRUE(after.ok());
  ASSERT_EQ(after->trials(0).epochs_size(), 1);
  EXPECT_EQ(after->trials(0).epochs(0).val_accuracy(), 0.5);
  EXPECT_EQ(after->trials(0).attempts_size(), before->trials(0).attempts_size());
}

TEST_F(LoopTest, HeartbeatsWriteNothing) {
  const core::StartAttempt start = BeginTraining();
  const fs::path log = place() / "state/records.db-wal";
  const auto size = fs::file_size(log);
  const auto written = fs::last_write_time(log);
  for (int step = 2; step < 200; ++step) {
    clock_.Advance(100);
    ASSERT_TRUE(loop_->TryPost(core::LeaseRenewed{start.claim, step, core::Phase::kTraining}).ok());
    if (step % 10 == 0) Drain();
  }
  Drain();
  EXPECT_EQ(fs::file_size(log), size);
  EXPECT_EQ(fs::last_write_time(log), written);
  EXPECT_EQ(StateOf(start.claim.attempt), core::AttemptState::kRunning);
}

// ---- Asking ----

TEST_F(LoopTest, ARefusalComesBackAsItsStatus) {
  AddProject("a");
  const auto again = loop_->Ask(core::ProjectAdded{{}, "a", "url", "main"}, kLong);
  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists) << again.status();
  EXPECT_FALSE(again.status().message().empty());
}

TEST_F(LoopTest, ManyWhoAskAtOnceEachGetTheirOwnAnswer) {
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::set<int64_t> ids;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const std::string name = std::to_string(t) + "/" + std::to_string(i);
        const core::ProjectId id = AddProject(name);
        const std::string found =
            loop_->Read([&](const core::State& state) { return state.projects.at(id).name; });
        EXPECT_EQ(found, name);
        std::lock_guard lock(mutex);
        EXPECT_TRUE(ids.insert(id.value).second);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ids.size(), 160u);
}

TEST_F(LoopTest, WhoAsksTooImpatientlyIsToldSoAndTheEventStillTakesEffect) {
  recorder_.Hold(true);
  const core::ProjectId project = AddProject("a");
  loop_->Post(core::PushSeen{project, "c"});
  recorder_.Wait<core::PrepareSource>();  // the loop stands in Perform now
  const auto answer = loop_->Ask(core::ProjectAdded{{}, "b", "url", "main"}, 1ms);
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kDeadlineExceeded);
  recorder_.Hold(false);
  Drain();
  EXPECT_EQ(loop_->Read([](const core::State& state) { return state.projects.size(); }), 2u);
}

TEST_F(LoopTest, StoppingAnswersThoseWhoWaitAndRefusesThoseWhoCome) {
  recorder_.Hold(true);
  const core::ProjectId project = AddProject("a");
  loop_->Post(core::PushSeen{project, "c"});
  recorder_.Wait<core::PrepareSource>();
  std::atomic<int> calls{0};
  absl::Status got;
  loop_->AskAsync(core::ProjectAdded{{}, "b", "url", "main"}, [&](const auto& answer) {
    got = answer.status();
    ++calls;
  });
  std::thread stopper([&] { loop_->Stop(); });
  recorder_.Hold(false);
  stopper.join();
  EXPECT_EQ(calls, 1);
  // It may have been handled before the stop was seen.
  EXPECT_TRUE(got.ok() || absl::IsUnavailable(got)) << got;
  EXPECT_TRUE(absl::IsUnavailable(loop_->TryPost(core::TimePassed{})));
  EXPECT_TRUE(
      absl::IsUnavailable(loop_->Ask(core::ProjectAdded{{}, "c", "url", "main"}, kLong).status()));
}

// ---- Bounds ----

TEST_F(LoopTest, ThereIsABoundToWhatWaitsButRenewalsAndWhatTheCoordinatorSawAreNeverRefused) {
  const core::StartAttempt start = BeginTraining();
  const core::ProjectId project = AddProject("a");
  recorder_.Hold(true);
  loop_->Post(core::PushSeen{project, "c"});
  recorder_.Wait<core::PrepareSource>();
  size_t accepted = 0;
  absl::Status status;
  while (accepted < 100'000 && (status = loop_->TryPost(core::WorkerLeft{{99}, "x"})).ok()) {
    ++accepted;
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(accepted, options_.queue_max);
  for (int step = 2; step < 10'000; ++step) {
    ASSERT_TRUE(loop_->TryPost(core::LeaseRenewed{start.claim, step, core::Phase::kTraining}).ok());
  }
  loop_->Post(core::SourceRefused{recorder_.Wait<core::PrepareSource>().push, "no"});
  EXPECT_EQ(loop_->Ask(core::JobCancelled{{}, {1}}, kLong).status().code(),
            absl::StatusCode::kResourceExhausted);
  recorder_.Hold(false);
  absl::Status drained = absl::ResourceExhaustedError("");
  while (absl::IsResourceExhausted(drained)) {
    drained = loop_->Ask(core::JobCancelled{{}, {4711}}, kLong).status();
  }
  EXPECT_EQ(drained.code(), absl::StatusCode::kNotFound);
  loop_->Read([&](const core::State& state) {
    EXPECT_EQ(state.attempts.at(start.claim.attempt).live.step, 9'999);
    EXPECT_TRUE(state.pushes.empty());
  });
}

// ---- Time ----

TEST_F(LoopTest, TimePassesWithoutAnyOtherEvent) {
  const core::StartAttempt start = BeginTraining();
  const auto watch = loop_->WatchEvents({}, loop_->last_cursor(), {});
  clock_.Advance(options_.settings.lease_ms + 1'000);
  std::string kinds;
  while (kinds.find("attempt_lost") == std::string::npos && watch->Wait(kLong)) {
    const auto events = watch->Take(100);
    ASSERT_TRUE(events.ok());
    for (const v1::Event& event : *events) kinds += event.kind() + " ";
  }
  EXPECT_THAT(kinds, HasSubstr("attempt_lost"));
}

TEST_F(LoopTest, ARenewalCountsFromWhenItCameHoweverLongItWaited) {
  const core::StartAttempt start = BeginTraining();
  const core::ProjectId project = AddProject("a");
  recorder_.Hold(true);
  loop_->Post(core::PushSeen{project, "c"});
  recorder_.Wait<core::PrepareSource>();
  const int64_t lease_ms = options_.settings.lease_ms;
  for (int step = 2; step < 20; ++step) {  // many leases long nothing is handled
    clock_.Advance(lease_ms / 2);
    ASSERT_TRUE(loop_->TryPost(core::LeaseRenewed{start.claim, step, core::Phase::kTraining}).ok());
  }
  recorder_.Hold(false);
  Drain();
  clock_.Advance(options_.tick_ms);
  Drain();
  EXPECT_EQ(StateOf(start.claim.attempt), core::AttemptState::kRunning);
}

// ---- Jobs ----

TEST_F(LoopTest, JobsAreListedNewestFirstWhetherTheyRunOrEndedLongAgo) {
  for (int i = 1; i <= 5; ++i) Submit(i);
  ASSERT_TRUE(loop_->Ask(core::JobCancelled{{}, {2}}, kLong).ok());
  Drain();
  EXPECT_EQ(loop_->Read([](const core::State& state) { return state.jobs.count({2}); }), 0u);
  const auto jobs = loop_->ListJobs(4);
  ASSERT_TRUE(jobs.ok());
  ASSERT_EQ(jobs->size(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ((*jobs)[i].id(), 5 - i);
  EXPECT_EQ((*jobs)[3].state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ((*jobs)[2].state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(loop_->GetJob({2})->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(loop_->GetJob({9}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(loop_->ListModels()->empty());
}

}  // namespace
}  // namespace trainyard::coordinator
