// The service Trainyard: what people, pipelines and the dashboard call. One file per resource:
// project_calls, source_calls, job_calls, log_calls, model_calls, worker_calls, token_calls; events
// in event_stream. It asks nobody who they are: that is GuardedClient's part.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "coordinator/access/access.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/loop.h"
#include "coordinator/rpc/event_stream.h"
#include "coordinator/store/blobs.h"
#include "coordinator/store/records.h"
#include "coordinator/watch/project_watcher.h"
#include "coordinator/watch/source_preparer.h"
#include "trainyard/v1/client.grpc.pb.h"

namespace trainyard::coordinator {

struct ClientOptions {
  std::string version;
  std::string state_dir;
  std::vector<std::string> data_roots;
  std::string http_address;  // with its scheme; empty: none
  int64_t started_wall_ms = 0;
  bool allow_file_urls = false;
  std::chrono::milliseconds answer_limit{30'000};  // for the loop to commit what was asked
  int64_t source_bytes_max = int64_t{1} << 30;     // of an uploaded folder
  int watchers_max = 1'000;
  int followers_max = 64;  // calls that follow a log, each on a thread
  EventStream::Options stream;
};

// What the service works on; all outlive it.
struct ClientParts {
  Loop* loop = nullptr;
  Records* records = nullptr;
  Blobs* blobs = nullptr;
  std::map<std::string, Launcher*> launchers;  // by pool
  ProjectWatcher* watcher = nullptr;
  SourcePreparer* preparer = nullptr;
  Access* access = nullptr;
};

class ClientService final
    : public v1::Trainyard::WithCallbackMethod_WatchEvents<v1::Trainyard::Service> {
 public:
  ClientService(ClientOptions options, ClientParts parts);

  // Ends the calls that follow something; to be called when the server is shut down.
  void Stop() { stopping_ = true; }

  grpc::Status GetServerInfo(grpc::ServerContext* context, const v1::GetServerInfoRequest* request,
                             v1::ServerInfo* response) override;

  grpc::Status AddProject(grpc::ServerContext* context, const v1::AddProjectRequest* request,
                          v1::Project* response) override;
  grpc::Status ListProjects(grpc::ServerContext* context, const v1::ListProjectsRequest* request,
                            v1::ListProjectsResponse* response) override;
  grpc::Status RemoveProject(grpc::ServerContext* context, const v1::RemoveProjectRequest* request,
                             v1::RemoveProjectResponse* response) override;
  grpc::Status NotifyPush(grpc::ServerContext* context, const v1::NotifyPushRequest* request,
                          v1::NotifyPushResponse* response) override;

  grpc::Status UploadSource(grpc::ServerContext* context,
                            grpc::ServerReader<v1::UploadSourceRequest>* reader,
                            v1::UploadSourceResponse* response) override;
  grpc::Status SubmitJob(grpc::ServerContext* context, const v1::SubmitJobRequest* request,
                         v1::SubmitJobResponse* response) override;

  grpc::Status Detect(grpc::ServerContext* context, const v1::DetectRequest* request,
                      v1::Detection* response) override;

  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                      v1::Job* response) override;
  grpc::Status ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override;
  grpc::Status CancelJob(grpc::ServerContext* context, const v1::CancelJobRequest* request,
                         v1::Job* response) override;
  grpc::Status FinishJob(grpc::ServerContext* context, const v1::FinishJobRequest* request,
                         v1::Job* response) override;
  grpc::Status PauseJob(grpc::ServerContext* context, const v1::PauseJobRequest* request,
                        v1::Job* response) override;
  grpc::Status ResumeJob(grpc::ServerContext* context, const v1::ResumeJobRequest* request,
                         v1::Job* response) override;
  grpc::Status TweakJob(grpc::ServerContext* context, const v1::TweakJobRequest* request,
                        v1::TweakJobResponse* response) override;

  EventStream* WatchEvents(grpc::CallbackServerContext* context,
                           const v1::WatchEventsRequest* request) override;
  grpc::Status GetJobLogs(grpc::ServerContext* context, const v1::GetJobLogsRequest* request,
                          grpc::ServerWriter<v1::LogChunk>* writer) override;

  grpc::Status ListModels(grpc::ServerContext* context, const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                        grpc::ServerWriter<v1::GetModelResponse>* writer) override;

  grpc::Status ListWorkers(grpc::ServerContext* context, const v1::ListWorkersRequest* request,
                           v1::ListWorkersResponse* response) override;
  grpc::Status ListPools(grpc::ServerContext* context, const v1::ListPoolsRequest* request,
                         v1::ListPoolsResponse* response) override;
  grpc::Status DrainWorker(grpc::ServerContext* context, const v1::DrainWorkerRequest* request,
                           v1::Worker* response) override;

  grpc::Status CreateToken(grpc::ServerContext* context, const v1::CreateTokenRequest* request,
                           v1::CreateTokenResponse* response) override;
  grpc::Status ListTokens(grpc::ServerContext* context, const v1::ListTokensRequest* request,
                          v1::ListTokensResponse* response) override;
  grpc::Status RevokeToken(grpc::ServerContext* context, const v1::RevokeTokenRequest* request,
                           v1::Token* response) override;

 private:
  // Asks the loop about a job and answers with the job as it is then.
  template <typename What>
  grpc::Status ChangeJob(int64_t job, v1::Job* response);
  v1::Project Show(const core::Project& project) const;

  const ClientOptions options_;
  const ClientParts parts_;
  EventPump pump_;
  std::mutex tweaking_;
  std::atomic<int> watchers_{0};
  std::atomic<int> followers_{0};
  std::atomic<bool> stopping_{false};
};

}  // namespace trainyard::coordinator
