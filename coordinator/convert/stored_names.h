// The names under which enums are stored. They are for good: core may reorder its enums and change
// what it shows to people, these stay.
#pragma once

#include <string>
#include <utility>

#include "coordinator/core/state.h"

namespace trainyard::coordinator {

template <typename Enum>
struct StoredNameTable;

template <>
struct StoredNameTable<core::TargetMetric> {
  static constexpr std::pair<core::TargetMetric, const char*> kNames[] = {
      {core::TargetMetric::kValAccuracy, "val_accuracy"},
      {core::TargetMetric::kValLoss, "val_loss"},
  };
};

template <>
struct StoredNameTable<core::GpuWish> {
  static constexpr std::pair<core::GpuWish, const char*> kNames[] = {
      {core::GpuWish::kAny, "any"},
      {core::GpuWish::kNone, "none"},
      {core::GpuWish::kRequired, "required"},
  };
};

template <>
struct StoredNameTable<core::FindingKind> {
  static constexpr std::pair<core::FindingKind, const char*> kNames[] = {
      {core::FindingKind::kNone, "none"},
      {core::FindingKind::kUnderfit, "underfit"},
      {core::FindingKind::kOverfit, "overfit"},
      {core::FindingKind::kDiverged, "diverged"},
      {core::FindingKind::kStillImproving, "still_improving"},
      {core::FindingKind::kPlateau, "plateau"},
      {core::FindingKind::kOutOfMemory, "out_of_memory"},
      {core::FindingKind::kManual, "manual"},
      {core::FindingKind::kRateTooHigh, "rate_too_high"},
      {core::FindingKind::kRateTooLow, "rate_too_low"},
      {core::FindingKind::kLabelNoise, "label_noise"},
      {core::FindingKind::kImbalance, "imbalance"},
      {core::FindingKind::kWithinNoise, "within_noise"},
      {core::FindingKind::kSearch, "search"},
  };
};

template <>
struct StoredNameTable<core::PushState> {
  static constexpr std::pair<core::PushState, const char*> kNames[] = {
      {core::PushState::kPreparing, "preparing"},
      {core::PushState::kTaken, "taken"},
      {core::PushState::kRefused, "refused"},
  };
};

template <>
struct StoredNameTable<core::JobState> {
  static constexpr std::pair<core::JobState, const char*> kNames[] = {
      {core::JobState::kQueued, "queued"},       {core::JobState::kRunning, "running"},
      {core::JobState::kWaiting, "waiting"},     {core::JobState::kFinishing, "finishing"},
      {core::JobState::kSucceeded, "succeeded"}, {core::JobState::kBelowTarget, "below_target"},
      {core::JobState::kFailed, "failed"},       {core::JobState::kCancelled, "cancelled"},
  };
};

template <>
struct StoredNameTable<core::TrialState> {
  static constexpr std::pair<core::TrialState, const char*> kNames[] = {
      {core::TrialState::kQueued, "queued"},       {core::TrialState::kRunning, "running"},
      {core::TrialState::kFinishing, "finishing"}, {core::TrialState::kCompleted, "completed"},
      {core::TrialState::kDiverged, "diverged"},   {core::TrialState::kFailed, "failed"},
      {core::TrialState::kCancelled, "cancelled"}, {core::TrialState::kHalted, "halted"},
  };
};

template <>
struct StoredNameTable<core::AttemptState> {
  static constexpr std::pair<core::AttemptState, const char*> kNames[] = {
      {core::AttemptState::kQueued, "queued"},       {core::AttemptState::kStarting, "starting"},
      {core::AttemptState::kRunning, "running"},     {core::AttemptState::kStopping, "stopping"},
      {core::AttemptState::kCompleted, "completed"}, {core::AttemptState::kFailed, "failed"},
      {core::AttemptState::kLost, "lost"},           {core::AttemptState::kStopped, "stopped"},
  };
};

template <>
struct StoredNameTable<core::Cause> {
  static constexpr std::pair<core::Cause, const char*> kNames[] = {
      {core::Cause::kNone, "none"},
      {core::Cause::kEpochsDone, "epochs_done"},
      {core::Cause::kTargetMet, "target_met"},
      {core::Cause::kPublished, "published"},
      {core::Cause::kDiverged, "diverged"},
      {core::Cause::kFailed, "failed"},
      {core::Cause::kFailedFinally, "failed_finally"},
      {core::Cause::kOutOfMemory, "out_of_memory"},
      {core::Cause::kCheckpointBroken, "checkpoint_broken"},
      {core::Cause::kWorkerExited, "worker_exited"},
      {core::Cause::kLeaseExpired, "lease_expired"},
      {core::Cause::kStalled, "stalled"},
      {core::Cause::kDeviceLost, "device_lost"},
      {core::Cause::kPreempted, "preempted"},
      {core::Cause::kPaused, "paused"},
      {core::Cause::kCancelled, "cancelled"},
      {core::Cause::kTweaked, "tweaked"},
      {core::Cause::kDrained, "drained"},
      {core::Cause::kShutdown, "shutdown"},
      {core::Cause::kSetAside, "set_aside"},
  };
};

template <>
struct StoredNameTable<core::WorkerState> {
  static constexpr std::pair<core::WorkerState, const char*> kNames[] = {
      {core::WorkerState::kIdle, "idle"},
      {core::WorkerState::kBusy, "busy"},
      {core::WorkerState::kDismissed, "dismissed"},
      {core::WorkerState::kGone, "gone"},
  };
};

template <>
struct StoredNameTable<core::LaunchState> {
  static constexpr std::pair<core::LaunchState, const char*> kNames[] = {
      {core::LaunchState::kRequested, "requested"},
      {core::LaunchState::kLaunched, "launched"},
      {core::LaunchState::kStopping, "stopping"},
      {core::LaunchState::kOver, "over"},
  };
};

template <>
struct StoredNameTable<core::CheckpointState> {
  static constexpr std::pair<core::CheckpointState, const char*> kNames[] = {
      {core::CheckpointState::kSound, "sound"},
      {core::CheckpointState::kBroken, "broken"},
      {core::CheckpointState::kDropping, "dropping"},
      {core::CheckpointState::kDropped, "dropped"},
  };
};

// "" for a value that has no name: such a row is refused when it is read.
template <typename Enum>
const char* StoredName(Enum value) {
  for (const auto& [known, name] : StoredNameTable<Enum>::kNames) {
    if (known == value) return name;
  }
  return "";
}

template <typename Enum>
bool ParseStoredName(const std::string& name, Enum* value) {
  for (const auto& [known, known_name] : StoredNameTable<Enum>::kNames) {
    if (name != known_name) continue;
    *value = known;
    return true;
  }
  return false;
}

// "queued, running, ...": what could have stood there.
template <typename Enum>
std::string StoredNames() {
  std::string names;
  for (const auto& [value, name] : StoredNameTable<Enum>::kNames) {
    if (!names.empty()) names += ", ";
    names += name;
  }
  return names;
}

}  // namespace trainyard::coordinator
