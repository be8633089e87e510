// Typed ids: a JobId is no TrialId, and no bare number is either.
//
// Every id but RequestId is a counter in State that only grows, across restarts too, so that a
// replay gives the same ids. Zero names nothing.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace trainyard::core {

template <typename Tag>
struct Id {
  int64_t value = 0;

  explicit operator bool() const { return value != 0; }
  auto operator<=>(const Id&) const = default;
};

using ProjectId = Id<struct ProjectTag>;
using PushId = Id<struct PushTag>;
using JobId = Id<struct JobTag>;
using TrialId = Id<struct TrialTag>;
using AttemptId = Id<struct AttemptTag>;
using WorkerId = Id<struct WorkerTag>;
using LaunchId = Id<struct LaunchTag>;
using CheckpointId = Id<struct CheckpointTag>;
using NoticeId = Id<struct NoticeTag>;

// Who waits for an answer. Chosen by the shell, unique while its process lives; zero: nobody waits.
using RequestId = Id<struct RequestTag>;

// Drawn when an attempt is given to a worker; only grows. What carries another number than the
// attempt holds now comes from somebody to whom it no longer belongs, and changes nothing.
using Fencing = Id<struct FencingTag>;

// Names a claim on an attempt; every report of a worker carries one.
struct Claim {
  WorkerId worker;
  AttemptId attempt;
  Fencing fencing;
  auto operator<=>(const Claim&) const = default;
};

// A place that workers come from: a pool's host, or the machine of one that somebody else started.
struct HostName {
  std::string pool;
  std::string host;  // empty: the pool has only one
  auto operator<=>(const HostName&) const = default;
};

// A share of a host that one worker has to itself, numbered from 0: a GPU, or some cores.
struct SlotName {
  HostName host;
  int slot = 0;
  auto operator<=>(const SlotName&) const = default;
};

// A row of metrics. A resend has the same key and changes nothing.
struct EpochKey {
  TrialId trial;
  int epoch = 0;  // from 1
  AttemptId attempt;
  auto operator<=>(const EpochKey&) const = default;
};

}  // namespace trainyard::core
