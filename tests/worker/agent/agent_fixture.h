// A worker's agent against a fake gateway, with a runner that the test plays itself or with the
// real one.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "tests/worker/agent/fake_gateway.h"
#include "worker/agent/agent.h"
#include "worker/agent/blob_client.h"

namespace trainyard::agent {

// Runs an attempt by doing what the test says, step by step, on the attempt's thread.
class PlayedRunner : public AttemptRunner {
 public:
  using Step = std::function<std::optional<v1::AttemptEnded>(Uplink&, AttemptControl&)>;

  std::optional<v1::AttemptEnded> Run(const v1::Start& start, Uplink& uplink,
                                      AttemptControl& control) override {
    std::unique_lock lock(mutex_);
    running_ = start.attempt();
    ++runs_;
    changed_.notify_all();
    for (;;) {
      // Abandoned: as a trainer at its next step boundary.
      changed_.wait_for(lock, std::chrono::milliseconds(5),
                        [&] { return !steps_.empty() || control.wish() >= Wish::kAbandon; });
      if (control.wish() >= Wish::kAbandon) break;
      if (steps_.empty()) continue;
      Step step = std::move(steps_.front());
      steps_.pop_front();
      lock.unlock();
      std::optional<v1::AttemptEnded> ended = step(uplink, control);
      lock.lock();
      ++done_;
      changed_.notify_all();
      if (ended) {
        *ended->mutable_attempt() = start.attempt();
        running_.reset();
        return ended;
      }
    }
    running_.reset();
    ++abandoned_;
    changed_.notify_all();
    return std::nullopt;
  }

  // Waits until the step is done.
  void Play(Step step) {
    std::unique_lock lock(mutex_);
    const int before = done_;
    steps_.push_back(std::move(step));
    changed_.notify_all();
    changed_.wait(lock, [&] { return done_ > before; });
  }

  void End(v1::AttemptEnded::Outcome outcome) {
    Play([outcome](Uplink&, AttemptControl&) {
      v1::AttemptEnded ended;
      ended.set_outcome(outcome);
      return std::optional(ended);
    });
  }

  // Waits until so many attempts were begun, or dropped.
  void WaitForRuns(int runs) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return runs_ >= runs; });
  }
  void WaitForAbandoned(int abandoned) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return abandoned_ >= abandoned; });
  }
  int runs() {
    std::lock_guard lock(mutex_);
    return runs_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Step> steps_;
  std::optional<v1::AttemptRef> running_;
  int done_ = 0, runs_ = 0, abandoned_ = 0;
};

// An agent whose Run() is on a thread of the test's.
class RunningAgent {
 public:
  RunningAgent(const std::string& address, AttemptRunner& runner,
               const std::function<void(AgentOptions&)>& change = {}) {
    AgentOptions options;
    options.session.identity.set_name("host/1");
    options.session.identity.set_incarnation("incarnation");
    options.grace = std::chrono::seconds(30);
    if (change) change(options);
    agent_ = std::make_unique<Agent>(MakeChannel(address), runner, options);
    thread_ = std::thread([this] { exit_code_ = agent_->Run(); });
  }

  ~RunningAgent() {
    if (thread_.joinable()) Leave();
  }

  int Leave(int exit_code = kExitSigterm) {
    agent_->Leave("the test is over", exit_code);
    return Wait();
  }

  int Wait() {
    thread_.join();
    return exit_code_;
  }

 private:
  std::unique_ptr<Agent> agent_;
  int exit_code_ = -1;
  std::thread thread_;
};

inline v1::AttemptRef Ref(int64_t attempt) {
  v1::AttemptRef ref;
  ref.set_job(1);
  ref.set_trial(1);
  ref.set_attempt(attempt);
  ref.set_fencing(100 + attempt);
  return ref;
}

inline v1::Start StartOf(int64_t attempt) {
  v1::Start start;
  *start.mutable_attempt() = Ref(attempt);
  start.set_trial_number(1);
  start.set_attempt_number(static_cast<int32_t>(attempt));
  return start;
}

inline v1::WorkerMessage EpochOf(int64_t attempt, int epoch) {
  v1::WorkerMessage message;
  *message.mutable_epoch()->mutable_attempt() = Ref(attempt);
  message.mutable_epoch()->mutable_epoch()->set_epoch(epoch);
  return message;
}

}  // namespace trainyard::agent
