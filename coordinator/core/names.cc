// What enums are called, for people and in the API.
#include "coordinator/core/state.h"

namespace trainyard::core {

const char* Name(JobState state) {
  constexpr const char* kNames[] = {"queued",    "running",      "waiting", "finishing",
                                    "succeeded", "below target", "failed",  "cancelled"};
  return kNames[static_cast<int>(state)];
}

const char* Name(TrialState state) {
  constexpr const char* kNames[] = {"queued",    "running",  "halted", "finishing",
                                    "completed", "diverged", "failed", "cancelled"};
  return kNames[static_cast<int>(state)];
}

const char* Name(AttemptState state) {
  constexpr const char* kNames[] = {"queued",    "starting", "running", "stopping",
                                    "completed", "failed",   "lost",    "stopped"};
  return kNames[static_cast<int>(state)];
}

const char* Name(WorkerState state) {
  constexpr const char* kNames[] = {"idle", "busy", "dismissed", "gone"};
  return kNames[static_cast<int>(state)];
}

const char* Name(LaunchState state) {
  constexpr const char* kNames[] = {"requested", "launched", "stopping", "over"};
  return kNames[static_cast<int>(state)];
}

const char* Name(CheckpointState state) {
  constexpr const char* kNames[] = {"sound", "broken", "dropping", "dropped"};
  return kNames[static_cast<int>(state)];
}

const char* Name(Cause cause) {
  constexpr const char* kNames[] = {"",
                                    "all epochs done",
                                    "target met",
                                    "published",
                                    "diverged",
                                    "failed",
                                    "failed for good",
                                    "out of memory",
                                    "checkpoint broken",
                                    "worker exited",
                                    "lease expired",
                                    "stalled",
                                    "its GPU was lost",
                                    "preempted",
                                    "paused",
                                    "cancelled",
                                    "tweaked",
                                    "drained",
                                    "shutdown",
                                    "set aside"};
  return kNames[static_cast<int>(cause)];
}

const char* Name(HistoryKind kind) {
  constexpr const char* kNames[] = {
      "push_seen", "push_refused", "job_created",  "trial_started",     "attempt_started",
      "epoch",     "checkpoint",   "attempt_lost", "attempt_restarted", "trial_ended",
      "diagnosis", "tweak",        "target_met",   "finishing",         "model_published",
      "job_ended", "waiting",      "note",         "adjustment"};
  return kNames[static_cast<int>(kind)];
}

const char* FindingName(FindingKind kind) {
  constexpr const char* kNames[] = {"",
                                    "underfit",
                                    "overfit",
                                    "diverged",
                                    "still improving",
                                    "plateau",
                                    "out of memory",
                                    "manual",
                                    "learning rate too high",
                                    "learning rate too low",
                                    "label noise",
                                    "class imbalance",
                                    "within the noise of the validation set",
                                    "search"};
  return kNames[static_cast<int>(kind)];
}

}  // namespace trainyard::core
