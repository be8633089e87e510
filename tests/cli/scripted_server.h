// A Trainyard service that answers what a test has put into it, on loopback, and can be stopped and
// started again at the same address.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cli/style.h"
#include "trainyard/v1/client.grpc.pb.h"

namespace trainyard::cli {

class ScriptedServer : public v1::Trainyard::Service {
 public:
  ScriptedServer();
  ~ScriptedServer() override;

  const std::string& address() const { return address_; }
  void Stop();
  void Start();

  // --- what it answers; set before the call, or under Update
  std::map<int64_t, v1::Job> jobs;
  std::vector<v1::Project> projects;
  std::vector<v1::Worker> workers;
  std::vector<v1::WorkerPool> pools;
  std::vector<v1::Model> models;
  std::vector<v1::Token> tokens;
  std::map<std::string, std::string> model_files;  // by format
  std::vector<std::string> logs;
  v1::SubmitJobResponse submitted;
  v1::TweakJobResponse tweaked;
  v1::Detection detected;
  std::map<std::string, grpc::Status> errors;  // by call
  std::map<std::string, int> fail_first;       // that many calls get UNAVAILABLE first
  size_t cut_watch_after = SIZE_MAX;           // events; then UNAVAILABLE, once
  bool slow_watchers = false;  // each stream ends with RESOURCE_EXHAUSTED after one event

  // Changes what it answers while it runs, and wakes watchers.
  template <typename Change>
  void Update(Change change) {
    std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }
  // Adds to the events that watchers get; cursors are given here.
  void Tell(v1::Event event);
  // Waits until `count` streams of events have been opened, ever.
  void AwaitWatchers(size_t count);

  // --- what it was asked
  std::vector<v1::SubmitJobRequest> submits;
  std::vector<v1::WatchEventsRequest> watches;
  std::vector<v1::TweakJobRequest> tweaks;
  std::vector<v1::DetectRequest> detects;
  std::vector<v1::AddProjectRequest> added;
  std::vector<v1::CreateTokenRequest> created;
  std::vector<std::string> calls;  // names of the others
  std::vector<std::string> shown;  // authorization headers of calls about tokens
  std::string upload;              // the archive that came
  size_t largest_piece = 0;

 private:
  grpc::Status Enter(const std::string& call);
  grpc::Status FindJob(const std::string& call, int64_t id, v1::Job* job);

  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                             v1::ServerInfo*) override;
  grpc::Status AddProject(grpc::ServerContext*, const v1::AddProjectRequest*,
                          v1::Project*) override;
  grpc::Status ListProjects(grpc::ServerContext*, const v1::ListProjectsRequest*,
                            v1::ListProjectsResponse*) override;
  grpc::Status RemoveProject(grpc::ServerContext*, const v1::RemoveProjectRequest*,
                             v1::RemoveProjectResponse*) override;
  grpc::Status UploadSource(grpc::ServerContext*, grpc::ServerReader<v1::UploadSourceRequest>*,
                            v1::UploadSourceResponse*) override;
  grpc::Status SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest*,
                         v1::SubmitJobResponse*) override;
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest*, v1::Job*) override;
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*,
                        v1::ListJobsResponse*) override;
  grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest*, v1::Job*) override;
  grpc::Status FinishJob(grpc::ServerContext*, const v1::FinishJobRequest*, v1::Job*) override;
  grpc::Status PauseJob(grpc::ServerContext*, const v1::PauseJobRequest*, v1::Job*) override;
  grpc::Status ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest*, v1::Job*) override;
  grpc::Status Detect(grpc::ServerContext*, const v1::DetectRequest*, v1::Detection*) override;
  grpc::Status TweakJob(grpc::ServerContext*, const v1::TweakJobRequest*,
                        v1::TweakJobResponse*) override;
  grpc::Status WatchEvents(grpc::ServerContext*, const v1::WatchEventsRequest*,
                           grpc::ServerWriter<v1::Event>*) override;
  grpc::Status GetJobLogs(grpc::ServerContext*, const v1::GetJobLogsRequest*,
                          grpc::ServerWriter<v1::LogChunk>*) override;
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse*) override;
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest*,
                        grpc::ServerWriter<v1::GetModelResponse>*) override;
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                           v1::ListWorkersResponse*) override;
  grpc::Status ListPools(grpc::ServerContext*, const v1::ListPoolsRequest*,
                         v1::ListPoolsResponse*) override;
  grpc::Status DrainWorker(grpc::ServerContext*, const v1::DrainWorkerRequest*,
                           v1::Worker*) override;

  grpc::Status CreateToken(grpc::ServerContext*, const v1::CreateTokenRequest*,
                           v1::CreateTokenResponse*) override;
  grpc::Status ListTokens(grpc::ServerContext*, const v1::ListTokensRequest*,
                          v1::ListTokensResponse*) override;
  grpc::Status RevokeToken(grpc::ServerContext*, const v1::RevokeTokenRequest*,
                           v1::Token*) override;
  void NoteShown(const grpc::ServerContext& context);

  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;  // guards all that handlers touch
  std::condition_variable changed_;
  std::vector<v1::Event> events_;
  bool stopping_ = false;
};

// A running job with one finished trial and one that is being trained; and how it ends.
v1::Job SampleJob();
v1::Job FinishedJob(v1::JobState state);
// The events of that job, up to and with its end.
std::vector<v1::Event> SampleEvents(v1::JobState end);
v1::Event MakeEvent(const std::string& kind, const std::string& message, int trial = 0);

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};
// Runs the program in process against `server`, its output going to no terminal.
Outcome RunCli(const ScriptedServer& server, std::vector<std::string> arguments);
Outcome RunCli(const std::string& address, std::vector<std::string> arguments, const Style& style);

}  // namespace trainyard::cli
