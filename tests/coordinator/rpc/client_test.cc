// Shows what people's calls answer: events without gap or double, errors for what is not there,
// nothing for who reads too slowly but a notice.
#include "coordinator/rpc/client_service.h"
#include "gmock/gmock.h"
#include "tests/coordinator/rpc/gateway_fixture.h"

namespace trainyard::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Code = grpc::StatusCode;

// Knows no repository and takes every folder.
class NoSource final : public SourcePreparer {
 public:
  void Cancel() override {}
  absl::Status CheckUrl(const std::string& url) const override {
    return url.starts_with("/") ? absl::OkStatus() : absl::InvalidArgumentError("expected a path");
  }
  absl::StatusOr<std::string> Tip(const std::string&, const std::string&) override {
    return absl::NotFoundError("nothing there");
  }
  absl::StatusOr<core::JobRequest> FromRepository(const std::string& url, const std::string&,
                                                  const SpecWishes&) override {
    return absl::InvalidArgumentError(url + ": two problems:\none\ntwo");
  }
  absl::StatusOr<core::JobRequest> FromSnapshot(const std::string&, const std::string&,
                                                const SpecWishes&) override {
    return absl::NotFoundError("no such snapshot");
  }
  absl::StatusOr<v1::Detection> Detect(const v1::DetectRequest& request) override {
    if (request.url().empty()) return absl::NotFoundError("no such snapshot");
    v1::Detection found;
    found.set_runtime("program-keras");
    found.add_evidence()->set_file(request.url() + "@" + request.revision());
    return found;
  }
  absl::StatusOr<Accepted> AcceptUpload(const std::string& sha256) override {
    return Accepted{sha256, 1};
  }
};

// The gateway's fixture with the client service on a server of its own.
class ClientTest : public GatewayTest {
 protected:
  void SetUp() override {
    GatewayTest::SetUp();
    watcher_ = std::make_unique<ProjectWatcher>(WatcherOptions{}, loop_.get(), &source_);
    ClientOptions options;
    options.version = "1.2.3";
    options.data_roots = {"/data"};
    options.source_bytes_max = 3 << 20;
    options.stream.lag_max = 50;
    service_ = std::make_unique<ClientService>(
        options,
        ClientParts{loop_.get(), records_.get(), blobs_.get(), {}, watcher_.get(), &source_});
    auto server = StartServer("127.0.0.1:0", {service_.get()});
    ASSERT_TRUE(server.ok()) << server.status();
    client_server_ = *std::move(server);
    grpc::ChannelArguments arguments;
    // What the connection takes for somebody who does not read stays small.
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    client_ = v1::Trainyard::NewStub(grpc::CreateCustomChannel(
        client_server_.address, grpc::InsecureChannelCredentials(), arguments));
  }
  void TearDown() override {
    service_->Stop();
    client_server_.server->Shutdown(std::chrono::system_clock::now());
    client_server_.server->Wait();
    service_.reset();
    watcher_.reset();
    GatewayTest::TearDown();
  }

  std::vector<v1::Event> WatchToEnd(int64_t job, int64_t after_cursor) {
    grpc::ClientContext context;
    v1::WatchEventsRequest request;
    request.set_job(job);
    request.set_after_cursor(after_cursor);
    auto reader = client_->WatchEvents(&context, request);
    std::vector<v1::Event> events;
    v1::Event event;
    while (reader->Read(&event)) events.push_back(event);
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return events;
  }
  grpc::Status WatchStatus(int64_t job, int64_t after_cursor) {
    grpc::ClientContext context;
    v1::WatchEventsRequest request;
    request.set_job(job);
    request.set_after_cursor(after_cursor);
    auto reader = client_->WatchEvents(&context, request);
    v1::Event event;
    while (reader->Read(&event)) {
    }
    return reader->Finish();
  }
  void Cancel(int64_t job) {
    ASSERT_TRUE(loop_->Ask(core::JobCancelled{{}, core::JobId{job}}, kPatience).ok());
  }

  NoSource source_;
  std::unique_ptr<ProjectWatcher> watcher_;
  std::unique_ptr<ClientService> service_;
  RunningServer client_server_;
  std::unique_ptr<v1::Trainyard::Stub> client_;
};

TEST_F(ClientTest, AWatchOfAJobEndsWithItAndIsTheSameLiveAndLater) {
  const int64_t job = Submit();
  std::vector<v1::Event> live;
  std::thread watching([&] { live = WatchToEnd(job, 0); });
  const int64_t other = Submit();
  Cancel(job);
  watching.join();
  ASSERT_GE(live.size(), 2u);
  EXPECT_EQ(live.front().kind(), "job_created");
  EXPECT_EQ(live.back().kind(), "job_ended");
  for (size_t i = 0; i < live.size(); ++i) {
    EXPECT_EQ(live[i].job(), job) << "nothing of job " << other;
    EXPECT_TRUE(i == 0 || live[i].cursor() > live[i - 1].cursor());
  }
  const auto later = WatchToEnd(job, 0);
  ASSERT_EQ(later.size(), live.size());
  for (size_t i = 0; i < live.size(); ++i) {
    EXPECT_EQ(later[i].SerializeAsString(), live[i].SerializeAsString());
  }
  EXPECT_EQ(WatchToEnd(job, live[0].cursor()).size(), live.size() - 1);
  EXPECT_EQ(WatchToEnd(job, live.back().cursor()).size(), 0u);
}

TEST_F(ClientTest, AWatchOfEverythingGoesOnAcrossJobs) {
  grpc::ClientContext context;
  auto reader = client_->WatchEvents(&context, v1::WatchEventsRequest());
  const int64_t first = Submit();
  Cancel(first);
  const int64_t second = Submit();
  Cancel(second);
  v1::Event event;
  int64_t cursor = 0;
  int ended = 0;
  while (ended < 2 && reader->Read(&event)) {
    EXPECT_EQ(event.cursor(), cursor + 1) << "no gap, nothing twice";
    cursor = event.cursor();
    ended += event.kind() == "job_ended";
  }
  EXPECT_EQ(ended, 2);
  context.TryCancel();
  reader->Finish();
}

TEST_F(ClientTest, AWatcherThatDoesNotReadGetsANoticeWithItsCursorOnceItDoes) {
  grpc::ClientContext context;
  auto reader = client_->WatchEvents(&context, v1::WatchEventsRequest());
  v1::Event event;
  Cancel(Submit());
  ASSERT_TRUE(reader->Read(&event));
  // Far more than the connection holds for somebody who does not read.
  for (int i = 0; i < 400; ++i) Cancel(Submit(std::string(1000, 'x')));
  int64_t last = 0;
  while (reader->Read(&event)) last = event.cursor();
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), Code::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("too slowly"));
  EXPECT_LT(last, loop_->last_cursor());
  // From there on nothing is missing.
  grpc::ClientContext again;
  v1::WatchEventsRequest request;
  request.set_after_cursor(last);
  auto rest = client_->WatchEvents(&again, request);
  ASSERT_TRUE(rest->Read(&event));
  EXPECT_EQ(event.cursor(), last + 1);
  again.TryCancel();
  rest->Finish();
}

TEST_F(ClientTest, WatchingWhatIsNotThereIsAnError) {
  EXPECT_EQ(WatchStatus(4711, 0).error_code(), Code::NOT_FOUND);
  EXPECT_EQ(WatchStatus(-1, 0).error_code(), Code::INVALID_ARGUMENT);
  EXPECT_EQ(WatchStatus(0, -1).error_code(), Code::INVALID_ARGUMENT);
}

TEST_F(ClientTest, ProjectsAreAddedOnceListedAndRemoved) {
  const auto add = [&](const std::string& name, const std::string& url) {
    grpc::ClientContext context;
    v1::AddProjectRequest request;
    request.set_name(name);
    request.set_url(url);
    v1::Project project;
    return client_->AddProject(&context, request, &project).error_code();
  };
  const auto names = [&] {
    grpc::ClientContext context;
    v1::ListProjectsResponse response;
    EXPECT_TRUE(client_->ListProjects(&context, {}, &response).ok());
    std::vector<std::string> found;
    for (const v1::Project& project : response.projects()) found.push_back(project.name());
    return found;
  };
  EXPECT_EQ(add("shoes", "/srv/shoes"), Code::OK);
  EXPECT_EQ(add("shoes", "/srv/boots"), Code::ALREADY_EXISTS);
  EXPECT_EQ(add("boots", "ext::sh -c touch /tmp/x"), Code::INVALID_ARGUMENT);
  for (const char* name : {"", "../x", "a b", "-x", "x/y", "\x1b[31m"}) {
    EXPECT_EQ(add(name, "/srv/x"), Code::INVALID_ARGUMENT) << name;
  }
  EXPECT_THAT(names(), ElementsAre("shoes"));
  grpc::ClientContext context, again;
  v1::RemoveProjectRequest request;
  request.set_name("shoes");
  v1::RemoveProjectResponse response;
  EXPECT_TRUE(client_->RemoveProject(&context, request, &response).ok());
  EXPECT_EQ(client_->RemoveProject(&again, request, &response).error_code(), Code::NOT_FOUND);
  EXPECT_THAT(names(), ElementsAre());
}

TEST_F(ClientTest, ARefusedSubmitBringsAllProblemsAsText) {
  grpc::ClientContext context;
  v1::SubmitJobRequest request;
  request.set_url("/srv/shoes");
  v1::SubmitJobResponse response;
  const grpc::Status status = client_->SubmitJob(&context, request, &response);
  EXPECT_EQ(status.error_code(), Code::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "/srv/shoes: two problems:\none\ntwo");
}

TEST_F(ClientTest, ASubmitThatMakesNoSenseIsRefused) {
  const auto submit = [&](const v1::SubmitJobRequest& request) {
    grpc::ClientContext context;
    v1::SubmitJobResponse response;
    return client_->SubmitJob(&context, request, &response).error_code();
  };
  v1::SubmitJobRequest request;
  EXPECT_EQ(submit(request), Code::INVALID_ARGUMENT) << "neither snapshot nor URL";
  request.set_url("/srv/shoes");
  request.set_snapshot_sha256(std::string(64, 'a'));
  EXPECT_EQ(submit(request), Code::INVALID_ARGUMENT) << "both";
  request.clear_url();
  EXPECT_EQ(submit(request), Code::NOT_FOUND);
  request.set_commit("HEAD");
  EXPECT_EQ(submit(request), Code::INVALID_ARGUMENT) << "a commit has 40 digits";
  request.clear_commit();
  request.set_snapshot_sha256("../../etc/passwd");
  EXPECT_EQ(submit(request), Code::INVALID_ARGUMENT);
  request.set_snapshot_sha256(std::string(64, 'a'));
  request.set_target(std::string(5000, '9'));
  EXPECT_EQ(submit(request), Code::INVALID_ARGUMENT);
}

TEST_F(ClientTest, DetectionIsAskedAboutOneSource) {
  v1::Detection found;
  const auto detect = [&](const v1::DetectRequest& request) {
    grpc::ClientContext context;
    return client_->Detect(&context, request, &found).error_code();
  };
  v1::DetectRequest request;
  EXPECT_EQ(detect(request), Code::INVALID_ARGUMENT) << "neither snapshot nor URL";
  request.set_url("/srv/shoes");
  request.set_revision("main");
  EXPECT_EQ(detect(request), Code::OK);
  EXPECT_EQ(found.runtime(), "program-keras");
  EXPECT_EQ(found.evidence(0).file(), "/srv/shoes@main");
  request.set_snapshot_sha256(std::string(64, 'a'));
  EXPECT_EQ(detect(request), Code::INVALID_ARGUMENT) << "both";
  request.clear_url();
  EXPECT_EQ(detect(request), Code::NOT_FOUND);
  request.set_snapshot_sha256("../../etc/passwd");
  EXPECT_EQ(detect(request), Code::INVALID_ARGUMENT);
  request.set_snapshot_sha256("");
  request.set_url(std::string(5000, 'u'));
  EXPECT_EQ(detect(request), Code::INVALID_ARGUMENT);
}

TEST_F(ClientTest, AnUploadOverTheLimitIsRefused) {
  grpc::ClientContext context;
  v1::UploadSourceResponse response;
  auto writer = client_->UploadSource(&context, &response);
  v1::UploadSourceRequest request;
  request.set_data(std::string(1 << 20, 'x'));
  for (int i = 0; i < 4; ++i) writer->Write(request);
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), Code::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("3 MiB"));
}

TEST_F(ClientTest, JobsAreShownListedAndChanged) {
  const int64_t job = Submit();
  v1::GetJobRequest get;
  v1::Job shown;
  {
    grpc::ClientContext context;
    get.set_job(job);
    ASSERT_TRUE(client_->GetJob(&context, get, &shown).ok());
    EXPECT_EQ(shown.name(), "test");
  }
  {
    grpc::ClientContext context;
    get.set_job(4711);
    EXPECT_EQ(client_->GetJob(&context, get, &shown).error_code(), Code::NOT_FOUND);
  }
  {
    grpc::ClientContext context;
    v1::PauseJobRequest pause;
    pause.set_job(job);
    ASSERT_TRUE(client_->PauseJob(&context, pause, &shown).ok());
    EXPECT_EQ(shown.state(), v1::JOB_STATE_PAUSED);
  }
  {
    grpc::ClientContext context;
    v1::FinishJobRequest finish;
    finish.set_job(job);
    const grpc::Status status = client_->FinishJob(&context, finish, &shown);
    EXPECT_EQ(status.error_code(), Code::FAILED_PRECONDITION);
    EXPECT_THAT(status.error_message(), testing::HasSubstr("no checkpoint was stored yet"));
  }
  {
    grpc::ClientContext context;
    v1::CancelJobRequest cancel;
    cancel.set_job(job);
    ASSERT_TRUE(client_->CancelJob(&context, cancel, &shown).ok());
    EXPECT_EQ(shown.state(), v1::JOB_STATE_CANCELLED);
  }
  {
    grpc::ClientContext context;
    v1::TweakJobRequest tweak;
    tweak.set_job(job);
    v1::TweakJobResponse response;
    EXPECT_EQ(client_->TweakJob(&context, tweak, &response).error_code(),
              Code::FAILED_PRECONDITION);
  }
  grpc::ClientContext context, negative;
  v1::ListJobsResponse list;
  ASSERT_TRUE(client_->ListJobs(&context, {}, &list).ok());
  EXPECT_EQ(list.jobs_size(), 1);
  v1::ListJobsRequest wrong;
  wrong.set_limit(-1);
  EXPECT_EQ(client_->ListJobs(&negative, wrong, &list).error_code(), Code::INVALID_ARGUMENT);
}

TEST_F(ClientTest, ATweakThatCannotBeMeantIsRefusedAndADryRunChangesNothing) {
  const int64_t job = Submit();
  v1::TweakJobResponse response;
  const auto tweak = [&](int64_t id, int trial, bool dry_run, const std::string& override_text) {
    grpc::ClientContext context;
    v1::TweakJobRequest request;
    request.set_job(id);
    request.set_trial(trial);
    request.set_dry_run(dry_run);
    if (!override_text.empty()) request.add_overrides(override_text);
    return client_->TweakJob(&context, request, &response).error_code();
  };
  EXPECT_EQ(tweak(4711, 0, false, "train.lr=0.1"), Code::NOT_FOUND);
  EXPECT_EQ(tweak(0, 0, false, "train.lr=0.1"), Code::INVALID_ARGUMENT);
  EXPECT_EQ(tweak(job, -1, false, "train.lr=0.1"), Code::INVALID_ARGUMENT);
  EXPECT_EQ(tweak(job, 1, false, ""), Code::INVALID_ARGUMENT) << "nothing is to change";
  EXPECT_EQ(tweak(job, 0, false, ""), Code::FAILED_PRECONDITION) << "there is no proposal";
  EXPECT_EQ(tweak(job, 0, false, std::string(5000, 'x')), Code::INVALID_ARGUMENT);
  const int64_t before = loop_->last_cursor();
  EXPECT_EQ(tweak(job, 0, true, ""), Code::OK);
  EXPECT_THAT(response.effect(), HasSubstr("tuning is off"));
  EXPECT_EQ(loop_->last_cursor(), before);
  Cancel(job);
  EXPECT_EQ(tweak(job, 0, true, ""), Code::FAILED_PRECONDITION);
}

TEST_F(ClientTest, AModelThatIsNotPublishedCannotBeGot) {
  const auto get = [&](int64_t job, const std::string& format) {
    grpc::ClientContext context;
    v1::GetModelRequest request;
    request.set_job(job);
    request.set_format(format);
    auto reader = client_->GetModel(&context, request);
    v1::GetModelResponse response;
    EXPECT_FALSE(reader->Read(&response));
    return reader->Finish().error_code();
  };
  const int64_t job = Submit();
  EXPECT_EQ(get(job, "onnx"), Code::FAILED_PRECONDITION);
  EXPECT_EQ(get(job, "exe"), Code::INVALID_ARGUMENT);
  EXPECT_EQ(get(4711, "onnx"), Code::NOT_FOUND);
}

TEST_F(ClientTest, TheServerSaysWhatItIs) {
  grpc::ClientContext context;
  v1::ServerInfo info;
  ASSERT_TRUE(client_->GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.version(), "1.2.3");
  EXPECT_THAT(info.data_roots(), ElementsAre("/data"));
}

}  // namespace
}  // namespace trainyard::coordinator
