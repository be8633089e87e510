// Drives the real core by seed through whatever can happen: projects, pushes, jobs, workers that
// train, report, crash and come back, people who pause and tweak. The same seed gives the same
// events.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "coordinator/core/event.h"
#include "coordinator/core/state.h"
#include "coordinator/core/step.h"

namespace trainyard::coordinator {

class RandomWalk {
 public:
  explicit RandomWalk(uint64_t seed);

  // One more event, stepped.
  core::Result Step();
  // The coordinator was restarted with this state.
  core::Result Restart(core::State state);

  const core::State& state() const { return state_; }
  core::State& state() { return state_; }

 private:
  using What = decltype(core::Event::what);
  struct Training {
    core::Claim claim;
    int epoch = 0;
  };

  int Draw(int below) { return static_cast<int>(random_() % static_cast<uint64_t>(below)); }
  double Fraction() { return static_cast<double>(random_() % 10'000) / 10'000; }
  std::string Hash() { return std::to_string(random_()); }
  What Choose();
  What FromPeople();
  What FromWorker(Training& training);
  core::JobRequest Request();
  core::Result Take(What what);
  void See(const std::vector<core::Effect>& effects);

  std::mt19937_64 random_;
  int64_t now_ms_ = 1'000;
  core::State state_;
  std::vector<What> pending_;  // what effects bring about, in any order
  std::map<core::AttemptId, Training> trainings_;
};

// What a restart is to bring back: without what is over and what is volatile.
core::State Durable(core::State state);

// A small network that every check accepts.
network::Configuration SmallConfiguration();

}  // namespace trainyard::coordinator
