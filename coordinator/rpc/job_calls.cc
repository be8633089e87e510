// Jobs: show, list, cancel, pause, resume, tweak.
#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "coordinator/rpc/client_service.h"
#include "coordinator/rpc/request_checks.h"
#include "coordinator/rpc/status.h"
#include "coordinator/rpc/tweak_plan.h"

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

grpc::Status ClientService::TweakJob(grpc::ServerContext*, const v1::TweakJobRequest* request,
                                     v1::TweakJobResponse* response) {
  if (auto status = CheckId("job", request->job()); !status.ok()) return ToGrpc(status);
  if (request->trial() < 0) {
    return ToGrpc(absl::InvalidArgumentError(
        absl::StrCat("trial: found ", request->trial(), ", expected a trial's number")));
  }
  for (const std::string& text : request->overrides()) {
    if (auto status = CheckTextSize("overrides", text); !status.ok()) return ToGrpc(status);
  }
  // One at a time: the second of two builds on what the first one made, and undoes nothing of it.
  std::lock_guard one_at_a_time(tweaking_);
  const core::JobId id{request->job()};
  core::State state = parts_.loop->Read([](const core::State& now) { return now; });
  const auto found = state.jobs.find(id);
  if (found == state.jobs.end() || found->second.ended() || found->second.trials.empty()) {
    const auto job = parts_.loop->GetJob(id);  // ended jobs are no longer in the state
    if (!job.ok()) return ToGrpc(job.status());
    const std::string how =
        absl::AsciiStrToLower(absl::StripPrefix(v1::JobState_Name(job->state()), "JOB_STATE_"));
    return ToGrpc(absl::FailedPreconditionError(
        absl::StrCat("job ", id.value, " has ended (", how, "): it takes no tweak")));
  }
  const core::Job& job = found->second;
  const bool trains = job.state == core::JobState::kQueued || job.state == core::JobState::kRunning;
  if (request->dry_run() && trains && request->trial() == 0 && request->overrides().empty()) {
    *response = Forecast(state, job);
    return grpc::Status::OK;
  }
  auto plan = PlanTweak(state, *request);
  if (!plan.ok()) return ToGrpc(plan.status());
  const auto answer =
      request->dry_run() ? Foretell(std::move(state), std::move(plan->event), parts_.loop->now_ms())
                         : parts_.loop->Ask(std::move(plan->event), options_.answer_limit);
  if (!answer.ok()) return ToGrpc(answer.status());
  *response = std::move(plan->response);
  response->set_effect(answer->message);
  return grpc::Status::OK;
}

}  // namespace trainyard::coordinator
