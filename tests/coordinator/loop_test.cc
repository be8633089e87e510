// The loop commits before it acts, answers everybody once, loses nothing while the disk is full,
// and lets those who watch miss nothing.
#include "coordinator/loop.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>

#include "tests/coordinator/store/random_walk.h"
#include "tests/coordinator/store/temp_folder.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

// Far beyond anything that has to be waited for.
constexpr auto kLong = 60s;

class ManualClock : public Clock {
 public:
  int64_t MonotonicMs() override { return now_ms_; }
  int64_t WallMs() override { return 1'700'000'000'000 + now_ms_; }
  void Advance(int64_t ms) { now_ms_ += ms; }

 private:
  std::atomic<int64_t> now_ms_{1'000};
};

// Remembers what was to be done, and can be made to hold the loop up.
class Recorder : public Performer {
 public:
  void Perform(const core::Effect& effect, const core::State&) override {
    std::unique_lock lock(mutex_);
    effects_.push_back(effect);
    changed_.notify_all();
    if (hook_) hook_(effect);
    changed_.wait(lock, [&] { return !held_; });
  }
  void LoopBroken(const absl::Status& why) override {
    std::lock_guard lock(mutex_);
    broken_ = why;
    changed_.notify_all();
  }

  // The nth effect of this kind (from 0), waited for.
  template <typename Kind>
  Kind Wait(size_t n = 0) {
    std::unique_lock lock(mutex_);
    const Kind* found = nullptr;
    changed_.wait_for(lock, kLong, [&] {
      size_t seen = 0;
      for (const core::Effect& effect : effects_) {
        const Kind* kind = std::get_if<Kind>(&effect);
        if (kind != nullptr && seen++ == n) found = kind;
      }
      return found != nullptr;
    });
    EXPECT_NE(found, nullptr);
    return found != nullptr ? *found : Kind{};
  }
  template <typename Kind>
  size_t Count() {
    std::lock_guard lock(mutex_);
    return static_cast<size_t>(std::count_if(effects_.begin(), effects_.end(), [](const auto& e) {
      return std::holds_alternative<Kind>(e);
    }));
  }
  absl::Status WaitBroken() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kLong, [&] { return !broken_.ok(); });
    return broken_;
  }
  // From the next effect on, until let go.
  void Hold(bool held) {
    std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }
  void SetHook(std::function<void(const core::Effect&)> hook) {
    std::lock_guard lock(mutex_);
    hook_ = std::move(hook);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<core::Effect> effects_;
  std::function<void(const core::Effect&)> hook_;
  absl::Status broken_;
  bool held_ = false;
};

core::JobRequest Request(int number) {
  core::JobRequest request;
  request.name = "job" + std::to_string(number);
  request.spec_hash = "spec" + std::to_string(number);
  request.snapshot_sha256 = "snapshot";
  request.configuration = SmallConfiguration();
  request.target = {core::TargetMetric::kValAccuracy, 0.9};
  request.budget.trials = 1;
  return request;
}

class LoopTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }
  void TearDown() override {
    recorder_.Hold(false);
    loop_.reset();
  }

  void Open() {
    auto records = Records::Open(place() / "state");
    ASSERT_TRUE(records.ok()) << records.status();
    records_ = std::move(*records);
    options_.clock = &clock_;
    options_.check_steps = true;
    options_.retry_pause_ms = 1;
    options_.retry_pause_max_ms = 20;
    auto loop = Loop::Open(options_, records_.get(), &recorder_);
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = std::move(*loop);
    loop_->Start();
  }
  void Close() {
    loop_.reset();
    records_.reset();
  }
  virtual fs::path place() const { return temp_.path(); }

  core::ProjectId AddProject(const std::string& name) {
    const auto answer = loop_->Ask(core::ProjectAdded{{}, name, "url", "main"}, kLong);
    EXPECT_TRUE(answer.ok()) << answer.status();
    return {answer.ok() ? answer->id : 0};
  }
  core::JobId Submit(int number) {
    const auto answer = loop_->Ask(core::JobSubmitted{{}, Request(number)}, kLong);
    EXPECT_TRUE(answer.ok()) << answer.status();
    return {answer.ok() ? answer->id : 0};
  }
  core::WorkerId Register(const std::string& name) {
    const auto answer =
        loop_->Ask(core::WorkerRegistered{{}, "incarnation " + name, name, "external"}, kLong);
    EXPECT_TRUE(answer.ok()) << answer.status();
    const core::WorkerId worker{answer.ok() ? answer->id : 0};
    loop_->Post(core::WorkerConnected{worker, {}});
    return worker;
  }
  // A job that a worker has begun to train.
  core::StartAttempt BeginTraining() {
    Submit(1);
    Register("host/1");
    const auto start = recorder_.Wait<core::StartAttempt>();
    loop_->Post(core::LeaseRenewed{start.claim, 1, core::Phase::kTraining});
    Drain();
    return start;
  }
  // Everything posted before is done.
  void Drain() {
    const auto answer = loop_->Ask(core::JobCancelled{{}, {4711}}, kLong);
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kNotFound) << answer.status();
  }
  core::AttemptState StateOf(core::AttemptId id) {
    return loop_->Read([&](const core::State& state) { return state.attempts.at(id).state; });
  }

  TempFolder temp_;
  ManualClock clock_;
  Recorder recorder_;
  Loop::Options options_;
  std::unique_ptr<Records> records_;
  std::unique_ptr<Loop> loop_;
};

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

// ---- Watching ----

TEST_F(LoopTest, WatchersSeeEveryEventOnceInOrderWhereverTheyBeginAndHoweverTheyRead) {
  Close();
  options_.recent_max = 8;  // so that most is read from the records
  Open();
  constexpr int kProjects = 60;
  std::vector<core::ProjectId> projects;
  for (int i = 0; i < kProjects; ++i) projects.push_back(AddProject(std::to_string(i)));
  std::vector<std::thread> watchers;
  std::vector<std::vector<int64_t>> seen(6);
  for (size_t w = 0; w < seen.size(); ++w) {
    watchers.emplace_back([&, w] {
      const auto watch = loop_->WatchEvents({}, 0, {});
      while (seen[w].size() < kProjects) {
        if (!watch->Wait(kLong)) break;
        const auto events = watch->Take(1 + static_cast<int>(w) * 3);
        ASSERT_TRUE(events.ok()) << events.status();
        for (const v1::Event& event : *events) seen[w].push_back(event.cursor());
      }
    });
  }
  std::vector<std::thread> posters;
  for (size_t p = 0; p < 3; ++p) {
    posters.emplace_back([&, p] {
      for (size_t i = p; i < kProjects; i += 3) loop_->Post(core::PushSeen{projects[i], "c"});
    });
  }
  for (std::thread& thread : posters) thread.join();
  for (std::thread& thread : watchers) thread.join();
  std::vector<int64_t> expected;
  for (int64_t cursor = 1; cursor <= kProjects; ++cursor) expected.push_back(cursor);
  for (const auto& cursors : seen) EXPECT_EQ(cursors, expected);

  // From the middle, also after a restart.
  Close();
  Open();
  const auto late = loop_->WatchEvents({}, 55, {})->Take(100);
  ASSERT_EQ(late->size(), 5u);
  EXPECT_EQ(late->front().cursor(), 56);
}

TEST_F(LoopTest, AWatchOfOneJobSeesThatJobOnly) {
  Close();
  options_.recent_max = 3;
  Open();
  for (int i = 1; i <= 6; ++i) Submit(i);
  for (const int64_t after : {0, 5, 9}) {
    const auto watch = loop_->WatchEvents({6}, after, {});
    std::vector<v1::Event> events;
    while (watch->Wait(0ms)) {
      const auto page = watch->Take(2);
      ASSERT_TRUE(page.ok());
      events.insert(events.end(), page->begin(), page->end());
    }
    ASSERT_FALSE(events.empty());
    for (const v1::Event& event : events) EXPECT_EQ(event.job(), 6);
    EXPECT_EQ(events.front().kind(), "job_created");
    EXPECT_EQ(watch->cursor(), loop_->last_cursor());
  }
}

TEST_F(LoopTest, NewsIsAnnouncedAndNeverToAWatchThatIsGone) {
  std::mutex mutex;
  std::condition_variable changed;
  int calls = 0;
  auto watch = loop_->WatchEvents({}, 0, [&] {
    std::lock_guard lock(mutex);
    ++calls;
    changed.notify_all();
  });
  const core::ProjectId project = AddProject("a");
  loop_->Post(core::PushSeen{project, "c1"});
  {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, kLong, [&] { return calls > 0; }));
  }
  watch.reset();
  const int before = calls;
  loop_->Post(core::PushSeen{project, "c2"});
  Drain();
  EXPECT_EQ(calls, before);
}

TEST_F(LoopTest, ACursorOfOtherRecordsIsRefused) {
  EXPECT_EQ(loop_->WatchEvents({}, 17, {})->Take(1).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(LoopTest, AWatchEndsWithTheLoopAfterEverythingWasTaken) {
  const core::ProjectId project = AddProject("a");
  loop_->Post(core::PushSeen{project, "c"});
  Drain();
  std::atomic<int> news{0};
  const auto watch = loop_->WatchEvents({}, 0, [&] { ++news; });
  loop_->Stop();
  EXPECT_EQ(news, 1);
  ASSERT_EQ(watch->Take(10)->size(), 1u);
  EXPECT_TRUE(absl::IsUnavailable(watch->Take(10).status()));
  EXPECT_FALSE(watch->Wait(kLong));
}

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
