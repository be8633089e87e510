#include "tests/cli/scripted_server.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <sstream>

#include "cli/app.h"

namespace trainyard::cli {
namespace {

constexpr int64_t kNowMs = 1'714'564'800'000;  // 2024-05-01 12:00:00 UTC

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  if (!google::protobuf::TextFormat::ParseFromString(text, &message))
    ADD_FAILURE() << "bad text form: " << text;
  return message;
}

}  // namespace

ScriptedServer::ScriptedServer() { Start(); }

ScriptedServer::~ScriptedServer() { Stop(); }

void ScriptedServer::Start() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = false;
  }
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address_.empty() ? "127.0.0.1:0" : address_,
                           grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  ASSERT_NE(server_, nullptr) << "cannot listen at " << address_;
  address_ = "127.0.0.1:" + std::to_string(port);
}

void ScriptedServer::Stop() {
  if (server_ == nullptr) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();
}

void ScriptedServer::Tell(v1::Event event) {
  Update([&] {
    event.set_cursor(static_cast<int64_t>(events_.size()) + 1);
    if (event.time_ms() == 0) event.set_time_ms(kNowMs + event.cursor() * 1000);
    events_.push_back(event);
  });
}

void ScriptedServer::AwaitWatchers(size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return watches.size() >= count; });
}

grpc::Status ScriptedServer::Enter(const std::string& call) {
  calls.push_back(call);
  if (fail_first[call]-- > 0) return {grpc::StatusCode::UNAVAILABLE, "just starting"};
  const auto error = errors.find(call);
  return error == errors.end() ? grpc::Status::OK : error->second;
}

grpc::Status ScriptedServer::FindJob(const std::string& call, int64_t id, v1::Job* job) {
  std::lock_guard lock(mutex_);
  if (grpc::Status status = Enter(call); !status.ok()) return status;
  const auto found = jobs.find(id);
  if (found == jobs.end()) return {grpc::StatusCode::NOT_FOUND, "no job " + std::to_string(id)};
  *job = found->second;
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                                           v1::ServerInfo* info) {
  info->set_version("9.9.9");
  info->set_state_dir("/var/lib/trainyard");
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::AddProject(grpc::ServerContext*, const v1::AddProjectRequest* request,
                                        v1::Project* project) {
  std::lock_guard lock(mutex_);
  added.push_back(*request);
  if (grpc::Status status = Enter("AddProject"); !status.ok()) return status;
  project->set_id(1);
  project->set_name(request->name());
  project->set_url(request->url());
  project->set_branch(request->branch());
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::ListProjects(grpc::ServerContext*, const v1::ListProjectsRequest*,
                                          v1::ListProjectsResponse* response) {
  for (const auto& project : projects) *response->add_projects() = project;
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::RemoveProject(grpc::ServerContext*,
                                           const v1::RemoveProjectRequest* request,
                                           v1::RemoveProjectResponse*) {
  std::lock_guard lock(mutex_);
  return Enter("RemoveProject " + request->name());
}

grpc::Status ScriptedServer::UploadSource(grpc::ServerContext*,
                                          grpc::ServerReader<v1::UploadSourceRequest>* reader,
                                          v1::UploadSourceResponse* response) {
  v1::UploadSourceRequest request;
  upload.clear();
  while (reader->Read(&request)) {
    upload += request.data();
    largest_piece = std::max(largest_piece, request.data().size());
  }
  std::lock_guard lock(mutex_);
  response->set_snapshot_sha256("5eed");
  return Enter("UploadSource");
}

grpc::Status ScriptedServer::SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                                       v1::SubmitJobResponse* response) {
  std::lock_guard lock(mutex_);
  submits.push_back(*request);
  *response = submitted;
  return Enter("SubmitJob");
}

grpc::Status ScriptedServer::Detect(grpc::ServerContext*, const v1::DetectRequest* request,
                                    v1::Detection* response) {
  std::lock_guard lock(mutex_);
  detects.push_back(*request);
  *response = detected;
  return Enter("Detect");
}

grpc::Status ScriptedServer::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                                    v1::Job* job) {
  return FindJob("GetJob", request->job(), job);
}

grpc::Status ScriptedServer::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                                      v1::ListJobsResponse* response) {
  std::lock_guard lock(mutex_);
  for (auto job = jobs.rbegin(); job != jobs.rend() && response->jobs_size() < request->limit();
       ++job) {
    *response->add_jobs() = job->second;
  }
  return Enter("ListJobs");
}

grpc::Status ScriptedServer::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                                       v1::Job* job) {
  return FindJob("CancelJob", request->job(), job);
}

grpc::Status ScriptedServer::FinishJob(grpc::ServerContext*, const v1::FinishJobRequest* request,
                                       v1::Job* job) {
  return FindJob("FinishJob", request->job(), job);
}

grpc::Status ScriptedServer::PauseJob(grpc::ServerContext*, const v1::PauseJobRequest* request,
                                      v1::Job* job) {
  return FindJob("PauseJob", request->job(), job);
}

grpc::Status ScriptedServer::ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request,
                                       v1::Job* job) {
  return FindJob("ResumeJob", request->job(), job);
}

grpc::Status ScriptedServer::TweakJob(grpc::ServerContext*, const v1::TweakJobRequest* request,
                                      v1::TweakJobResponse* response) {
  std::lock_guard lock(mutex_);
  tweaks.push_back(*request);
  *response = tweaked;
  return Enter("TweakJob");
}

grpc::Status ScriptedServer::WatchEvents(grpc::ServerContext*,
                                         const v1::WatchEventsRequest* request,
                                         grpc::ServerWriter<v1::Event>* writer) {
  std::unique_lock lock(mutex_);
  watches.push_back(*request);
  changed_.notify_all();
  if (grpc::Status status = Enter("WatchEvents"); !status.ok()) return status;
  size_t sent = 0;
  for (size_t at = static_cast<size_t>(request->after_cursor());; ++at) {
    changed_.wait(lock, [&] { return stopping_ || at < events_.size(); });
    if (stopping_) return {grpc::StatusCode::UNAVAILABLE, "shutting down"};
    const v1::Event event = events_[at];
    lock.unlock();
    writer->Write(event);
    lock.lock();
    if (request->job() != 0 && event.kind() == "job_ended") return grpc::Status::OK;
    ++sent;
    if (slow_watchers) return {grpc::StatusCode::RESOURCE_EXHAUSTED, "reads too slowly"};
    if (sent >= cut_watch_after) {
      cut_watch_after = SIZE_MAX;
      return {grpc::StatusCode::UNAVAILABLE, "cut"};
    }
  }
}

grpc::Status ScriptedServer::GetJobLogs(grpc::ServerContext*, const v1::GetJobLogsRequest*,
                                        grpc::ServerWriter<v1::LogChunk>* writer) {
  for (const std::string& text : logs) {
    v1::LogChunk chunk;
    chunk.set_text(text);
    writer->Write(chunk);
  }
  std::lock_guard lock(mutex_);
  return Enter("GetJobLogs");
}

grpc::Status ScriptedServer::ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                                        v1::ListModelsResponse* response) {
  for (const auto& model : models) *response->add_models() = model;
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                                      grpc::ServerWriter<v1::GetModelResponse>* writer) {
  std::lock_guard lock(mutex_);
  const std::string& data = model_files[request->format()];
  v1::GetModelResponse response;
  *response.mutable_model() = models.at(0);
  writer->Write(response);
  response.Clear();
  for (size_t at = 0; at < data.size(); at += 7) {
    response.set_data(data.substr(at, 7));
    writer->Write(response);
  }
  return Enter("GetModel");
}

grpc::Status ScriptedServer::ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                                         v1::ListWorkersResponse* response) {
  for (const auto& worker : workers) *response->add_workers() = worker;
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::ListPools(grpc::ServerContext*, const v1::ListPoolsRequest*,
                                       v1::ListPoolsResponse* response) {
  std::lock_guard lock(mutex_);
  for (const auto& pool : pools) *response->add_pools() = pool;
  return Enter("ListPools");
}

grpc::Status ScriptedServer::DrainWorker(grpc::ServerContext*,
                                         const v1::DrainWorkerRequest* request,
                                         v1::Worker* worker) {
  std::lock_guard lock(mutex_);
  for (const auto& known : workers) {
    if (known.id() == request->worker()) *worker = known;
  }
  worker->set_state(v1::Worker::DRAINING);
  return Enter("DrainWorker");
}

void ScriptedServer::NoteShown(const grpc::ServerContext& context) {
  const auto [first, last] = context.client_metadata().equal_range("authorization");
  for (auto header = first; header != last; ++header) {
    shown.emplace_back(header->second.data(), header->second.size());
  }
}

grpc::Status ScriptedServer::CreateToken(grpc::ServerContext* context,
                                         const v1::CreateTokenRequest* request,
                                         v1::CreateTokenResponse* response) {
  std::lock_guard lock(mutex_);
  NoteShown(*context);
  created.push_back(*request);
  response->mutable_token()->set_name(request->name());
  response->mutable_token()->set_role(request->role());
  if (request->lifetime_ms() > 0) {
    response->mutable_token()->set_expires_ms(kNowMs + request->lifetime_ms());
  }
  response->set_secret("ty_scripted");
  return Enter("CreateToken");
}

grpc::Status ScriptedServer::ListTokens(grpc::ServerContext* context, const v1::ListTokensRequest*,
                                        v1::ListTokensResponse* response) {
  std::lock_guard lock(mutex_);
  NoteShown(*context);
  for (const auto& token : tokens) *response->add_tokens() = token;
  return Enter("ListTokens");
}

grpc::Status ScriptedServer::RevokeToken(grpc::ServerContext* context,
                                         const v1::RevokeTokenRequest* request, v1::Token* token) {
  std::lock_guard lock(mutex_);
  NoteShown(*context);
  token->set_name(request->name());
  token->set_revoked(true);
  return Enter("RevokeToken " + request->name());
}

v1::Job SampleJob() {
  auto job = Parse<v1::Job>(R"(
    id: 7 name: "fashion" project: "shop" source: "https://host/team/cnn.git"
    commit: "0123456789abcdef0123456789abcdef01234567" state: JOB_STATE_RUNNING
    spec { target { metric: VAL_ACCURACY bound: 0.91 } budget { trials: 8 time_ms: 7200000 } }
    trials {
      id: 1 number: 1 state: TRIAL_STATE_COMPLETED description: "conv 8, dense 10" parameters: 5410
      configuration { training { epochs: 2 } } restarts: 1 training_ms: 41000
      best_metric: 0.8712 best_epoch: 2
      epochs { trial: 1 epoch: 1 val_accuracy: 0.85 }
      epochs { trial: 1 epoch: 2 val_accuracy: 0.8712 }
    }
    trials {
      id: 2 number: 2 state: TRIAL_STATE_RUNNING description: "conv 16, dense 10" parameters: 10810
      configuration { training { epochs: 4 } } training_ms: 92000 best_metric: 0.9123 best_epoch: 1
      epochs { trial: 2 epoch: 1 val_accuracy: 0.9123 }
      tweak {
        finding: "underfit"
        reason: "train accuracy 0.8790 and validation accuracy 0.8712 are both low"
        expectation: "more capacity"
        changes { path: "network.layers[0].conv.filters" from: "8" to: "16" }
      }
    }
    best_metric: 0.9123 best_trial: 2 best_epoch: 1)");
  job.set_created_ms(kNowMs - 300'000);
  return job;
}

v1::Job FinishedJob(v1::JobState state) {
  v1::Job job = SampleJob();
  job.set_state(state);
  job.set_ended_ms(kNowMs - 60'000);
  job.mutable_trials(1)->set_state(v1::TRIAL_STATE_COMPLETED);
  job.set_reason("said by the coordinator");
  if (state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_BELOW_TARGET) {
    *job.mutable_model() = Parse<v1::Model>(R"(
      job: 7 name: "fashion" trial: 2 epoch: 1 val_accuracy: 0.9123
      test_accuracy: 0.9088 test_count: 10000
      onnx_sha256: "aa11" safetensors_sha256: "bb22" onnx_bytes: 123456 safetensors_bytes: 120000
      parameters: 10810 description: "conv 16, dense 10" confusion: [ 90, 10, 3, 97 ]
      class_names: "shirt" class_names: "coat")");
    job.mutable_model()->set_target_met(state == v1::JOB_STATE_SUCCEEDED);
  }
  return job;
}

v1::Event MakeEvent(const std::string& kind, const std::string& message, int trial) {
  v1::Event event;
  event.set_job(7);
  event.set_kind(kind);
  event.set_message(message);
  event.set_trial(trial);
  return event;
}

std::vector<v1::Event> SampleEvents(v1::JobState end) {
  const auto epoch = [](int trial, int number, double accuracy) {
    v1::Event event = MakeEvent("epoch", "not shown", trial);
    *event.mutable_epoch() = Parse<v1::Epoch>(
        "train_loss: 0.5 train_accuracy: 0.8 val_loss: 0.4 learning_rate: 0.05 images_per_second: "
        "12345.6 seconds: 4.25 "
        "exact: true");
    event.mutable_epoch()->set_trial(trial);
    event.mutable_epoch()->set_epoch(number);
    event.mutable_epoch()->set_val_accuracy(accuracy);
    return event;
  };
  v1::Event tweak = MakeEvent("tweak", "both accuracies are low, so the network gets more room", 2);
  *tweak.mutable_tweak() = SampleJob().trials(1).tweak();
  v1::Event ended = MakeEvent("job_ended", "said by the coordinator");
  ended.set_job_state(end);
  return {MakeEvent("job_created", "job 7: fashion"),
          MakeEvent("trial_started", "trial 1: conv 8, dense 10", 1),
          MakeEvent("attempt_started", "attempt 1 on host/1", 1),
          epoch(1, 1, 0.85),
          MakeEvent("attempt_lost", "killed by signal 9", 1),
          MakeEvent("attempt_restarted", "attempt 2 from step 469", 1),
          epoch(1, 2, 0.8712),
          tweak,
          epoch(2, 1, 0.9123),
          MakeEvent("target_met", "val_accuracy 0.9123 >= 0.91", 2),
          ended};
}

Outcome RunCli(const ScriptedServer& server, std::vector<std::string> arguments) {
  return RunCli(server.address(), std::move(arguments), Style{});
}

Outcome RunCli(const std::string& address, std::vector<std::string> arguments, const Style& style) {
  arguments.insert(arguments.begin(), "trainyard");
  if (!address.empty()) arguments.push_back("--coordinator=" + address);
  std::vector<const char*> argv;
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  std::ostringstream out, err;
  const Environment environment{out, err, style, Style{}, [] { return kNowMs; }};
  Outcome outcome;
  outcome.code = Run(static_cast<int>(argv.size()), argv.data(), environment);
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

}  // namespace trainyard::cli
