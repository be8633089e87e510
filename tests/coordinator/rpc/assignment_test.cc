// Shows that a worker may fetch what its attempt is made of, and nothing else.
#include "coordinator/rpc/assignment.h"

#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

using core::AttemptId;
using core::CheckpointId;
using core::LaunchId;
using core::TrialId;
using core::WorkerId;

// Launch 1's worker holds the first attempt of trial 2, which takes over the weights of trial 1.
core::State Growing() {
  core::State state;
  core::Job& job = state.jobs[core::JobId{1}];
  job.id = core::JobId{1};
  job.trials = {TrialId{1}, TrialId{2}};
  job.request.snapshot_sha256 = "source";
  for (const int64_t number : {1, 2}) {
    core::Checkpoint& checkpoint = state.checkpoints[CheckpointId{number}];
    checkpoint.id = CheckpointId{number};
    checkpoint.job = job.id;
    checkpoint.trial = TrialId{1};
    checkpoint.sha256 = number == 1 ? "early" : "best";
    core::Trial& trial = state.trials[TrialId{number}];
    trial.id = TrialId{number};
    trial.job = job.id;
    core::Worker& worker = state.workers[WorkerId{number}];
    worker.id = WorkerId{number};
    worker.launch = LaunchId{number};
  }
  state.trials[TrialId{2}].inherits = CheckpointId{2};
  core::Attempt& attempt = state.attempts[AttemptId{1}];
  attempt.id = AttemptId{1};
  attempt.job = job.id;
  attempt.trial = TrialId{2};
  attempt.from = CheckpointId{2};  // by core/placement, from Trial::inherits
  state.workers[WorkerId{1}].attempt = attempt.id;
  return state;
}

TEST(AssignmentTest, TheWeightsThatATrialInheritsAreItsWorkersToFetch) {
  const core::State state = Growing();
  EXPECT_TRUE(NeedsBlob(state, LaunchId{1}, "best"));
  EXPECT_TRUE(NeedsBlob(state, LaunchId{1}, "source"));
  EXPECT_FALSE(NeedsBlob(state, LaunchId{1}, "early")) << "another checkpoint of that trial";
  EXPECT_FALSE(NeedsBlob(state, LaunchId{2}, "best")) << "a worker that holds no attempt";
  EXPECT_FALSE(NeedsBlob(state, LaunchId{1}, ""));
}

TEST(AssignmentTest, OnceTheAttemptIsTakenAwayNothingIsLeftToFetch) {
  core::State state = Growing();
  state.workers[WorkerId{1}].attempt = {};
  EXPECT_FALSE(NeedsBlob(state, LaunchId{1}, "best"));
  EXPECT_FALSE(NeedsBlob(state, LaunchId{1}, "source"));
}

}  // namespace
}  // namespace trainyard::coordinator
