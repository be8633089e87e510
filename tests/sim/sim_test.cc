// Thousands of seeds of a world in which everything fails, with the real core in the middle.
//
//   TRAINYARD_SIM_SEED=1234 trainyard_sim_test     replays one seed
//   TRAINYARD_SIM_SEEDS=100000                     more seeds than usual, for a long run
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/coordinator/core/fields.h"
#include "tests/sim/simulation.h"

namespace trainyard::sim {
namespace {

constexpr int kShards = 4;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::string Explain(uint64_t seed, const Report& report) {
  return absl::StrCat("seed ", seed, ": ", absl::StrJoin(report.violations, "\n  "),
                      "\nlast steps:\n", report.last_steps);
}

// The same work was done, whatever happened on the way.
void ExpectSameWork(uint64_t seed, const Report& disturbed, const Report& calm) {
  for (const auto& [key, expected] : calm.jobs) {
    const auto found = disturbed.jobs.find(key);
    ASSERT_NE(found, disturbed.jobs.end()) << "seed " << seed << ": no job " << key;
    const JobOutcome& actual = found->second;
    const size_t trials = std::min(actual.trials.size(), expected.trials.size());
    for (size_t i = 0; i < trials; ++i) {
      const TrialOutcome& a = actual.trials[i];
      const TrialOutcome& b = expected.trials[i];
      if (!(a.configuration == b.configuration) || a.start_weights != b.start_weights) break;
      if (a.adjustments != b.adjustments) break;
      for (size_t row = 0; row < std::min(a.rows.size(), b.rows.size()); ++row) {
        ASSERT_TRUE(a.rows[row] == b.rows[row])
            << "seed " << seed << " job " << key << " trial " << i + 1 << " epoch " << row + 1;
      }
    }
    if (actual.touched || expected.touched) continue;
    ASSERT_EQ(actual.state, expected.state) << "seed " << seed << " job " << key;
    ASSERT_EQ(actual.trials.size(), expected.trials.size()) << "seed " << seed << " job " << key;
    ASSERT_EQ(actual.model, expected.model) << "seed " << seed << " job " << key;
    for (size_t i = 0; i < trials; ++i) {
      ASSERT_TRUE(actual.trials[i].configuration == expected.trials[i].configuration);
      ASSERT_EQ(actual.trials[i].rows.size(), expected.trials[i].rows.size())
          << "seed " << seed << " job " << key << " trial " << i + 1;
    }
  }
}

class Seeds : public testing::TestWithParam<int> {};

TEST_P(Seeds, EverythingEndsAsIfNothingHadHappened) {
  const uint64_t one = FromEnvironment("TRAINYARD_SIM_SEED", 0);
  const uint64_t count = FromEnvironment("TRAINYARD_SIM_SEEDS", 2'000);
  Coverage coverage;
  int64_t steps = 0;
  int64_t untouched = 0;
  for (uint64_t seed = 1 + static_cast<uint64_t>(GetParam()); seed <= count; seed += kShards) {
    if (one != 0 && GetParam() != 0) break;
    const uint64_t chosen = one != 0 ? one : seed;
    const Report calm = Simulate({.seed = chosen, .faults = false});
    ASSERT_TRUE(calm.violations.empty()) << "undisturbed " << Explain(chosen, calm);
    const Report report = Simulate({.seed = chosen});
    ASSERT_TRUE(report.violations.empty()) << Explain(chosen, report);
    ExpectSameWork(chosen, report, calm);
    if (HasFatalFailure()) return;
    for (const auto& [what, times] : report.coverage) coverage[what] += times;
    for (const auto& [key, job] : report.jobs) untouched += job.touched ? 0 : 1;
    steps += report.steps;
    if (one != 0) return;
  }
  if (one != 0) return;
  std::cout << steps << " steps; jobs that had to come out the same: " << untouched << "\n";
  for (const auto& [what, times] : coverage) std::cout << "  " << what << ": " << times << "\n";
  EXPECT_GT(untouched, static_cast<int64_t>(count) / kShards / 2);
  // What the seeds never do, they say nothing about.
  for (const char* name : core::kEventNames) {
    EXPECT_GT(coverage[absl::StrCat("event: ", name)], 0) << name;
  }
  for (const char* name : core::kEffectNames) {
    EXPECT_GT(coverage[absl::StrCat("effect: ", name)], 0) << name;
  }
  for (const char* name : {"fault: event twice",
                           "fault: crash before commit",
                           "fault: crash after commit",
                           "fault: crash between effects",
                           "fault: commit failed",
                           "fault: launch failed",
                           "fault: launch refused",
                           "fault: launch on a lost host",
                           "fault: host lost",
                           "fault: GPU lost",
                           "fault: GPU not to be had",
                           "fault: message lost",
                           "fault: message twice",
                           "fault: worker killed",
                           "fault: worker hangs",
                           "fault: worker frozen",
                           "fault: session cut",
                           "fault: partition",
                           "fault: worker preempted",
                           "fault: attempt fails",
                           "fault: worker leaves",
                           "fault: coordinator killed",
                           "fault: blob torn",
                           "fault: worker out of memory",
                           "people meddle",
                           "adjusted",
                           "adjustment refused",
                           "trial ended early",
                           "trial halted",
                           "trial promoted",
                           "trial rewound",
                           "blob shared",
                           "shutdown"}) {
    EXPECT_GT(coverage[name], 0) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Shard, Seeds, testing::Range(0, kShards));

TEST(Simulation, TheSameSeedGivesTheSameTrace) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Report first = Simulate({.seed = seed, .trace = true});
    const Report second = Simulate({.seed = seed, .trace = true});
    EXPECT_EQ(first.trace_hash, second.trace_hash) << "seed " << seed;
    EXPECT_GT(first.steps, 50);
  }
}

// A test that cannot fail proves nothing: each of these mistakes has to be found.
class Mistakes : public testing::TestWithParam<Mistake> {};

TEST_P(Mistakes, AreFound) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    const Report report = Simulate({.seed = seed, .mistake = GetParam()});
    if (report.violations.empty()) continue;
    std::cout << "found with seed " << seed << ": " << report.violations.front() << "\n";
    return;
  }
  ADD_FAILURE() << "no seed noticed it";
}

INSTANTIATE_TEST_SUITE_P(All, Mistakes,
                         testing::Values(Mistake::kNoFencing, Mistake::kForgottenOutbox,
                                         Mistake::kEffectsFirst, Mistake::kLostRecord,
                                         Mistake::kNoLeases, Mistake::kDeletesShared,
                                         Mistake::kLaunchesTwice, Mistake::kForgetsChanges));

}  // namespace
}  // namespace trainyard::sim
