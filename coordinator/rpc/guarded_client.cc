#include "coordinator/rpc/guarded_client.h"

#include "coordinator/rpc/door.h"
#include "coordinator/rpc/status.h"

namespace trainyard::coordinator {

absl::StatusOr<Caller> GuardedClient::LetIn(const grpc::ServerContextBase& context,
                                            std::string_view rpc) const {
  auto caller = access_->Identify(FactsOf(context));
  if (!caller.ok()) return caller;
  if (auto status = MayCall(*caller, rpc); !status.ok()) return status;
  return caller;
}

template <typename Handler, typename... Arguments>
grpc::Status GuardedClient::Pass(std::string_view rpc, Handler handler, Context* context,
                                 Arguments... arguments) {
  const auto caller = LetIn(*context, rpc);
  if (!caller.ok()) return ToGrpc(caller.status());
  const auto open =
      access_->open_calls().Add(*caller, [context](const absl::Status&) { context->TryCancel(); });
  return (service_->*handler)(context, arguments...);
}

grpc::ServerWriteReactor<v1::Event>* GuardedClient::WatchEvents(
    grpc::CallbackServerContext* context, const v1::WatchEventsRequest* request) {
  const auto caller = LetIn(*context, "WatchEvents");
  if (!caller.ok()) {
    return new Refusal<grpc::ServerWriteReactor<v1::Event>>(ToGrpc(caller.status()));
  }
  // Lives at least until this returns: gRPC begins nothing that could end it before.
  EventStream* stream = service_->WatchEvents(context, request);
  stream->Keep(
      access_->open_calls().Add(*caller, [stream](const absl::Status& why) { stream->End(why); }));
  return stream;
}

grpc::Status GuardedClient::GetServerInfo(Context* context, const v1::GetServerInfoRequest* request,
                                          v1::ServerInfo* response) {
  return Pass("GetServerInfo", &ClientService::GetServerInfo, context, request, response);
}

grpc::Status GuardedClient::AddProject(Context* context, const v1::AddProjectRequest* request,
                                       v1::Project* response) {
  return Pass("AddProject", &ClientService::AddProject, context, request, response);
}

grpc::Status GuardedClient::ListProjects(Context* context, const v1::ListProjectsRequest* request,
                                         v1::ListProjectsResponse* response) {
  return Pass("ListProjects", &ClientService::ListProjects, context, request, response);
}

grpc::Status GuardedClient::RemoveProject(Context* context, const v1::RemoveProjectRequest* request,
                                          v1::RemoveProjectResponse* response) {
  return Pass("RemoveProject", &ClientService::RemoveProject, context, request, response);
}

grpc::Status GuardedClient::NotifyPush(Context* context, const v1::NotifyPushRequest* request,
                                       v1::NotifyPushResponse* response) {
  return Pass("NotifyPush", &ClientService::NotifyPush, context, request, response);
}

grpc::Status GuardedClient::UploadSource(Context* context, Reader<v1::UploadSourceRequest>* reader,
                                         v1::UploadSourceResponse* response) {
  return Pass("UploadSource", &ClientService::UploadSource, context, reader, response);
}

grpc::Status GuardedClient::SubmitJob(Context* context, const v1::SubmitJobRequest* request,
                                      v1::SubmitJobResponse* response) {
  return Pass("SubmitJob", &ClientService::SubmitJob, context, request, response);
}

grpc::Status GuardedClient::Detect(Context* context, const v1::DetectRequest* request,
                                   v1::Detection* response) {
  return Pass("Detect", &ClientService::Detect, context, request, response);
}

grpc::Status GuardedClient::GetJob(Context* context, const v1::GetJobRequest* request,
                                   v1::Job* response) {
  return Pass("GetJob", &ClientService::GetJob, context, request, response);
}

grpc::Status GuardedClient::ListJobs(Context* context, const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) {
  return Pass("ListJobs", &ClientService::ListJobs, context, request, response);
}

grpc::Status GuardedClient::CancelJob(Context* context, const v1::CancelJobRequest* request,
                                      v1::Job* response) {
  return Pass("CancelJob", &ClientService::CancelJob, context, request, response);
}

grpc::Status GuardedClient::FinishJob(Context* context, const v1::FinishJobRequest* request,
                                      v1::Job* response) {
  return Pass("FinishJob", &ClientService::FinishJob, context, request, response);
}

grpc::Status GuardedClient::PauseJob(Context* context, const v1::PauseJobRequest* request,
                                     v1::Job* response) {
  return Pass("PauseJob", &ClientService::PauseJob, context, request, response);
}

grpc::Status GuardedClient::ResumeJob(Context* context, const v1::ResumeJobRequest* request,
                                      v1::Job* response) {
  return Pass("ResumeJob", &ClientService::ResumeJob, context, request, response);
}

grpc::Status GuardedClient::TweakJob(Context* context, const v1::TweakJobRequest* request,
                                     v1::TweakJobResponse* response) {
  return Pass("TweakJob", &ClientService::TweakJob, context, request, response);
}

grpc::Status GuardedClient::GetJobLogs(Context* context, const v1::GetJobLogsRequest* request,
                                       Writer<v1::LogChunk>* writer) {
  return Pass("GetJobLogs", &ClientService::GetJobLogs, context, request, writer);
}

grpc::Status GuardedClient::ListModels(Context* context, const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) {
  return Pass("ListModels", &ClientService::ListModels, context, request, response);
}

grpc::Status GuardedClient::GetModel(Context* context, const v1::GetModelRequest* request,
                                     Writer<v1::GetModelResponse>* writer) {
  return Pass("GetModel", &ClientService::GetModel, context, request, writer);
}

grpc::Status GuardedClient::ListWorkers(Context* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) {
  return Pass("ListWorkers", &ClientService::ListWorkers, context, request, response);
}

grpc::Status GuardedClient::DrainWorker(Context* context, const v1::DrainWorkerRequest* request,
                                        v1::Worker* response) {
  return Pass("DrainWorker", &ClientService::DrainWorker, context, request, response);
}

grpc::Status GuardedClient::ListPools(Context* context, const v1::ListPoolsRequest* request,
                                      v1::ListPoolsResponse* response) {
  return Pass("ListPools", &ClientService::ListPools, context, request, response);
}

grpc::Status GuardedClient::CreateToken(Context* context, const v1::CreateTokenRequest* request,
                                        v1::CreateTokenResponse* response) {
  return Pass("CreateToken", &ClientService::CreateToken, context, request, response);
}

grpc::Status GuardedClient::ListTokens(Context* context, const v1::ListTokensRequest* request,
                                       v1::ListTokensResponse* response) {
  return Pass("ListTokens", &ClientService::ListTokens, context, request, response);
}

grpc::Status GuardedClient::RevokeToken(Context* context, const v1::RevokeTokenRequest* request,
                                        v1::Token* response) {
  return Pass("RevokeToken", &ClientService::RevokeToken, context, request, response);
}

}  // namespace trainyard::coordinator
