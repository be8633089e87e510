// Core's structs as the API's messages, and what workers and people send as core's events. Total:
// what is not known is left empty. Text that is not UTF-8 is made so, since a message could not
// carry it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "coordinator/core/effect.h"
#include "coordinator/core/event.h"
#include "coordinator/core/request.h"
#include "coordinator/core/state.h"
#include "trainyard/v1/client.pb.h"
#include "trainyard/v1/resources.pb.h"
#include "trainyard/v1/spec.pb.h"
#include "trainyard/v1/worker.pb.h"

namespace trainyard::coordinator {

// ---- To the API. The state holds what the record refers to, as far as it is still known. ----

enum class JobDetail {
  kSummary,  // without spec, epochs and attempts
  kFull,
};
v1::Job ToProto(const core::State& state, const core::Job& job, JobDetail detail);
v1::Trial ToProto(const core::State& state, const core::Trial& trial, JobDetail detail);
v1::Attempt ToProto(const core::State& state, const core::Attempt& attempt);
v1::Epoch ToProto(const core::State& state, const core::Epoch& epoch);
v1::Worker ToProto(const core::State& state, const core::Worker& worker);
v1::WorkerPool ToProto(const core::State& state, const std::string& name,
                       const core::PoolSettings& pool, int64_t now_ms);
v1::Project ToProto(const core::Project& project);
v1::Tweak ToProto(const core::Tweak& tweak);
v1::Adjustment ToProto(const core::Adjustment& adjustment, int number);  // from 1
// The published model of a job that has one.
v1::Model ToModel(const core::State& state, const core::Job& job);
// Right after the step that made the row.
v1::Event ToProto(const core::State& state, const core::HistoryRow& row);

v1::JobState ToProto(const core::Job& job);  // JOB_STATE_PAUSED too
v1::TrialState ToProto(core::TrialState state);
v1::AttemptState ToProto(core::AttemptState state);

// ---- To workers. ----

v1::AttemptRef ToRef(const core::State& state, const core::Claim& claim);
// The assignment. The job's spec is parsed from its request.
v1::Start ToProto(const core::State& state, const core::StartAttempt& effect);

// ---- From workers. `worker` is the one whose session it is. ----

core::Claim FromProto(core::WorkerId worker, const v1::AttemptRef& ref);
core::LeaseRenewed FromProto(core::WorkerId worker, const v1::Renewal& message);
core::EpochReported FromProto(core::WorkerId worker, int64_t sequence,
                              const v1::EpochReport& message);
core::AdjustmentAnswered FromProto(core::WorkerId worker, int64_t sequence,
                                   const v1::AdjustReport& message);
core::CheckpointStored FromProto(core::WorkerId worker, int64_t sequence,
                                 const v1::CheckpointReport& message);
core::AttemptEnded FromProto(core::WorkerId worker, int64_t sequence,
                             const v1::AttemptEnded& message);
core::ProgramReported FromProto(core::WorkerId worker, int64_t sequence,
                                const v1::ProgramReport& message);
core::ModelFinished FromProto(core::WorkerId worker, int64_t sequence,
                              const v1::FinishReport& message);

// ---- From people and source. ----

core::Needs FromProto(const v1::Resources& message);

// Everything of a request that follows from its spec: name, configuration, target, limits,
// spec_blob and spec_hash. Project, commit, snapshot and the caller's wishes are left for the
// caller.
core::JobRequest ToRequest(const v1::JobSpec& spec);

// Bytes that are no UTF-8 become U+FFFD.
std::string Utf8(std::string_view text);

}  // namespace trainyard::coordinator
