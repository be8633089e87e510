// The service Trainyard as it is served: each call is asked who it is, and only then handed on. A
// call that is not handed on here does not exist for anybody, so none can be forgotten.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string_view>

#include "coordinator/access/access.h"
#include "coordinator/rpc/client_service.h"
#include "trainyard/v1/client.grpc.pb.h"

namespace trainyard::coordinator {

class GuardedClient final
    : public v1::Trainyard::WithCallbackMethod_WatchEvents<v1::Trainyard::Service> {
 public:
  // Both outlive it.
  GuardedClient(Access* access, ClientService* service) : access_(access), service_(service) {}

 private:
  using Context = grpc::ServerContext;
  template <typename Message>
  using Reader = grpc::ServerReader<Message>;
  template <typename Message>
  using Writer = grpc::ServerWriter<Message>;

  absl::StatusOr<Caller> LetIn(const grpc::ServerContextBase& context, std::string_view rpc) const;
  // Calls the handler of the service if the caller may; what takes long is ended with its token.
  template <typename Handler, typename... Arguments>
  grpc::Status Pass(std::string_view rpc, Handler handler, Context* context,
                    Arguments... arguments);

  grpc::ServerWriteReactor<v1::Event>* WatchEvents(grpc::CallbackServerContext* context,
                                                   const v1::WatchEventsRequest* request) override;

  grpc::Status GetServerInfo(Context* context, const v1::GetServerInfoRequest* request,
                             v1::ServerInfo* response) override;
  grpc::Status AddProject(Context* context, const v1::AddProjectRequest* request,
                          v1::Project* response) override;
  grpc::Status ListProjects(Context* context, const v1::ListProjectsRequest* request,
                            v1::ListProjectsResponse* response) override;
  grpc::Status RemoveProject(Context* context, const v1::RemoveProjectRequest* request,
                             v1::RemoveProjectResponse* response) override;
  grpc::Status NotifyPush(Context* context, const v1::NotifyPushRequest* request,
                          v1::NotifyPushResponse* response) override;
  grpc::Status UploadSource(Context* context, Reader<v1::UploadSourceRequest>* reader,
                            v1::UploadSourceResponse* response) override;
  grpc::Status SubmitJob(Context* context, const v1::SubmitJobRequest* request,
                         v1::SubmitJobResponse* response) override;
  grpc::Status Detect(Context* context, const v1::DetectRequest* request,
                      v1::Detection* response) override;
  grpc::Status GetJob(Context* context, const v1::GetJobRequest* request,
                      v1::Job* response) override;
  grpc::Status ListJobs(Context* context, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override;
  grpc::Status CancelJob(Context* context, const v1::CancelJobRequest* request,
                         v1::Job* response) override;
  grpc::Status FinishJob(Context* context, const v1::FinishJobRequest* request,
                         v1::Job* response) override;
  grpc::Status PauseJob(Context* context, const v1::PauseJobRequest* request,
                        v1::Job* response) override;
  grpc::Status ResumeJob(Context* context, const v1::ResumeJobRequest* request,
                         v1::Job* response) override;
  grpc::Status TweakJob(Context* context, const v1::TweakJobRequest* request,
                        v1::TweakJobResponse* response) override;
  grpc::Status GetJobLogs(Context* context, const v1::GetJobLogsRequest* request,
                          Writer<v1::LogChunk>* writer) override;
  grpc::Status ListModels(Context* context, const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override;
  grpc::Status GetModel(Context* context, const v1::GetModelRequest* request,
                        Writer<v1::GetModelResponse>* writer) override;
  grpc::Status ListWorkers(Context* context, const v1::ListWorkersRequest* request,
                           v1::ListWorkersResponse* response) override;
  grpc::Status DrainWorker(Context* context, const v1::DrainWorkerRequest* request,
                           v1::Worker* response) override;
  grpc::Status ListPools(Context* context, const v1::ListPoolsRequest* request,
                         v1::ListPoolsResponse* response) override;
  grpc::Status CreateToken(Context* context, const v1::CreateTokenRequest* request,
                           v1::CreateTokenResponse* response) override;
  grpc::Status ListTokens(Context* context, const v1::ListTokensRequest* request,
                          v1::ListTokensResponse* response) override;
  grpc::Status RevokeToken(Context* context, const v1::RevokeTokenRequest* request,
                           v1::Token* response) override;

  Access* const access_;
  ClientService* const service_;
};

}  // namespace trainyard::coordinator
