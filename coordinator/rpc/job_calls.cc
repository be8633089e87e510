// Jobs: show, list, cancel, pause, resume, tweak.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/convert/api.h"
#include "coordinator/core/step.h"
#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuning.h"
#include "coordinator/rpc/client_service.h"
#include "coordinator/rpc/request_checks.h"
#include "coordinator/rpc/status.h"
#include "coordinator/watch/tweak_overrides.h"
#include "proto/spec_convert.h"

namespace trainyard::coordinator {
namespace {

constexpr int kListDefault = 50;
constexpr int kListMax = 1'000;

}  // namespace

grpc::Status ClientService::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                                   v1::Job* response) {
  if (auto status = CheckId("job", request->job()); !status.ok()) return ToGrpc(status);
  auto job = parts_.loop->GetJob(core::JobId{request->job()});
  if (job.ok()) *response = *std::move(job);
  return ToGrpc(job.status());
}

grpc::Status ClientService::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) {
  if (request->limit() < 0) {
    return ToGrpc(absl::InvalidArgumentError(
        absl::StrCat("limit: found ", request->limit(), ", expected 0 or more")));
  }
  const int limit = request->limit() == 0 ? kListDefault : std::min(request->limit(), kListMax);
  auto jobs = parts_.loop->ListJobs(limit);
  if (!jobs.ok()) return ToGrpc(jobs.status());
  for (v1::Job& job : *jobs) *response->add_jobs() = std::move(job);
  return grpc::Status::OK;
}

template <typename What>
grpc::Status ClientService::ChangeJob(int64_t job, v1::Job* response) {
  if (auto status = CheckId("job", job); !status.ok()) return ToGrpc(status);
  const auto answer = parts_.loop->Ask(What{{}, core::JobId{job}}, options_.answer_limit);
  if (!answer.ok()) return ToGrpc(answer.status());
  auto changed = parts_.loop->GetJob(core::JobId{job});
  if (changed.ok()) *response = *std::move(changed);
  return ToGrpc(changed.status());
}

grpc::Status ClientService::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                                      v1::Job* response) {
  return ChangeJob<core::JobCancelled>(request->job(), response);
}

grpc::Status ClientService::FinishJob(grpc::ServerContext*, const v1::FinishJobRequest* request,
                                      v1::Job* response) {
  return ChangeJob<core::JobConcluded>(request->job(), response);
}

grpc::Status ClientService::PauseJob(grpc::ServerContext*, const v1::PauseJobRequest* request,
                                     v1::Job* response) {
  return ChangeJob<core::JobPaused>(request->job(), response);
}

grpc::Status ClientService::ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request,
                                      v1::Job* response) {
  return ChangeJob<core::JobResumed>(request->job(), response);
}

absl::StatusOr<v1::TweakJobResponse> ClientService::PrepareTweak(const v1::TweakJobRequest& request,
                                                                 core::TweakRequested* event) {
  // The base, the spec around it and the proposal, all of the same moment.
  struct Base {
    v1::JobSpec spec;
    network::Configuration configuration;
    std::optional<core::Proposal> proposal;
  };
  const core::JobId id{request.job()};
  const auto base = parts_.loop->Read([&](const core::State& state) -> std::optional<Base> {
    const auto found = state.jobs.find(id);
    if (found == state.jobs.end() || found->second.trials.empty()) return std::nullopt;
    Base base;
    base.spec.ParseFromString(found->second.request.spec_blob);
    base.configuration = core::BaseForTweak(state, found->second);
    base.proposal = found->second.proposal;
    return base;
  });
  if (!base) {
    const auto job = parts_.loop->GetJob(id);  // ended jobs are no longer in the state
    if (!job.ok()) return job.status();
    return absl::FailedPreconditionError(absl::StrCat(
        "job ", id.value, " is ", v1::JobState_Name(job->state()), ": it takes no tweak"));
  }
  v1::TweakJobResponse response;
  if (request.overrides().empty()) {
    if (!base->proposal) {
      return absl::FailedPreconditionError(
          absl::StrCat("job ", id.value,
                       " has no proposal to accept: name what is to change, as --set key=value"));
    }
    *response.mutable_tweak() = ToProto(base->proposal->tweak);
    *response.mutable_configuration() = trainyard::ToProto(base->proposal->configuration);
    return response;
  }
  auto tweaked = ApplyToConfiguration(base->spec, base->configuration,
                                      {request.overrides().begin(), request.overrides().end()});
  if (!tweaked.ok()) return tweaked.status();
  event->configuration = *tweaked;
  core::Tweak tweak;
  tweak.finding.kind = core::FindingKind::kManual;
  tweak.reason = "asked for by a person";
  tweak.changes = core::Difference(base->configuration, *tweaked);
  *response.mutable_tweak() = ToProto(tweak);
  *response.mutable_configuration() = trainyard::ToProto(*tweaked);
  return response;
}

grpc::Status ClientService::TweakJob(grpc::ServerContext*, const v1::TweakJobRequest* request,
                                     v1::TweakJobResponse* response) {
  if (auto status = CheckId("job", request->job()); !status.ok()) return ToGrpc(status);
  for (const std::string& text : request->overrides()) {
    if (auto status = CheckTextSize("overrides", text); !status.ok()) return ToGrpc(status);
  }
  core::TweakRequested event{{}, core::JobId{request->job()}, std::nullopt};
  auto prepared = PrepareTweak(*request, &event);
  if (!prepared.ok()) return ToGrpc(prepared.status());
  *response = *std::move(prepared);
  if (request->dry_run()) return grpc::Status::OK;
  return ToGrpc(parts_.loop->Ask(std::move(event), options_.answer_limit).status());
}

}  // namespace trainyard::coordinator
