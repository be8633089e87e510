// What tests of the loop share: time by hand, a performer that remembers, a loop over a folder of
// its own.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "coordinator/loop.h"
#include "tests/coordinator/store/random_walk.h"
#include "tests/coordinator/store/temp_folder.h"

namespace trainyard::coordinator {

// Far beyond anything that has to be waited for.
inline constexpr std::chrono::seconds kLong{60};

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

inline core::JobRequest Request(int number) {
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
    recorder_.Wait<core::RemoveStrays>(opened_++);  // the recovery is over
  }
  void Close() {
    loop_.reset();
    records_.reset();
  }
  virtual std::filesystem::path place() const { return temp_.path(); }

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
  size_t opened_ = 0;
  Loop::Options options_;
  std::unique_ptr<Records> records_;
  std::unique_ptr<Loop> loop_;
};

}  // namespace trainyard::coordinator
