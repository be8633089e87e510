// Who is let in at the door of every call: a real server with a plain and a TLS listener, and
// callers with every kind of token, certificate and none.
#include "coordinator/rpc/door.h"

#include <grpcpp/generic/generic_stub.h>

#include "coordinator/access/private_files.h"
#include "coordinator/rpc/guarded_client.h"
#include "gmock/gmock.h"
#include "proto/access.h"
#include "tests/coordinator/rpc/gateway_fixture.h"

namespace trainyard::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class DoorTest : public GatewayTest {
 protected:
  DoorTest() { pools_["process"].hosts[""].resize(1); }

  Access* OpenAccess() override {
    AccessOptions options;
    options.folder = folder_ / "access";
    options.tls = true;
    options.require_client_certs = mutual_;
    options.launch_lives = [this](int64_t launch) {
      return loop_->Read([&](const core::State& state) {
        const auto found = state.launches.find(core::LaunchId{launch});
        return found != state.launches.end() && found->second.state != core::LaunchState::kOver;
      });
    };
    auto access = Access::Open(std::move(options));
    EXPECT_TRUE(access.ok()) << access.status();
    access_ = *std::move(access);
    ClientParts parts;
    parts.loop = loop_.get();
    parts.records = records_.get();
    parts.blobs = blobs_.get();
    parts.access = access_.get();
    client_ = std::make_unique<ClientService>(ClientOptions{}, parts);
    guarded_ = std::make_unique<GuardedClient>(access_.get(), client_.get());
    return access_.get();
  }
  absl::StatusOr<RunningServer> Serve() override {
    return StartServer({{"127.0.0.1:0", false}, {"127.0.0.1:0", true}},
                       {access_->server_pair(), access_->client_ca_pem()},
                       {gateway_.get(), guarded_.get()});
  }
  void TearDown() override {
    client_->Stop();
    gateway_->CloseSessions(absl::UnavailableError("test over"));
    server_.server->Shutdown(std::chrono::system_clock::now());
    server_.server->Wait();
    guarded_.reset();
    client_.reset();
    access_.reset();  // before the loop, which it asks
    GatewayTest::TearDown();
  }

  // ---- Who calls ----

  AccessKeys Keys(const std::string& token) {
    AccessKeys keys;
    keys.token = token;
    keys.ca_pem = *ReadSmallFile(folder_ / "access" / "admin" / "ca.pem");
    return keys;
  }
  AccessKeys NewKeys(Role role) {
    const auto created =
        access_->tokens().Create(RoleName(role) + std::to_string(++created_), role, 0);
    EXPECT_TRUE(created.ok()) << created.status();
    return Keys(created->secret);
  }
  AccessKeys LaunchKeys(int64_t launch) {
    const AccessFiles files = *access_->Issuer(true)(launch);
    const std::string& token = files.at("token");
    return Keys(token.substr(0, token.size() - 1));
  }
  std::shared_ptr<grpc::Channel> Tls(const AccessKeys& keys) {
    return MakeAccessChannel(server_.listeners.at(1).address, keys, {});
  }
  std::unique_ptr<v1::WorkerGateway::Stub> Worker(const AccessKeys& keys) {
    return v1::WorkerGateway::NewStub(Tls(keys));
  }

  // ---- What they call ----

  static grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel,
                           const std::string& service, const std::string& rpc) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    grpc::CompletionQueue queue;
    grpc::ByteBuffer response;
    grpc::Status status;
    const grpc::Slice nothing;
    auto call = stub.PrepareUnaryCall(&context, "/trainyard.v1." + service + "/" + rpc,
                                      grpc::ByteBuffer(&nothing, 1), &queue);
    call->StartCall();
    call->Finish(&response, &status, nullptr);
    void* tag;
    bool ok;
    queue.Next(&tag, &ok);
    return status;
  }
  static std::vector<std::string> Calls(const char* file_of, const char* service) {
    const auto* found = google::protobuf::DescriptorPool::generated_pool()
                            ->FindFileByName(file_of)
                            ->FindServiceByName(service);
    std::vector<std::string> names;
    for (int i = 0; i < found->method_count(); ++i) names.push_back(found->method(i)->name());
    return names;
  }
  static grpc::Status Register(v1::WorkerGateway::Stub* stub, int64_t launch,
                               const std::string& pool, int64_t* worker = nullptr,
                               const std::string& incarnation = "i") {
    v1::RegisterRequest request;
    request.set_launch(launch);
    request.set_pool(pool);
    request.set_incarnation(incarnation);
    v1::RegisterResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub->Register(&context, request, &response);
    if (worker != nullptr) *worker = response.worker();
    return status;
  }
  static grpc::Status FetchWith(v1::WorkerGateway::Stub* stub, const std::string& sha256) {
    v1::FetchBlobRequest request;
    request.set_sha256(sha256);
    grpc::ClientContext context;
    auto reader = stub->FetchBlob(&context, request);
    v1::BlobChunk chunk;
    while (reader->Read(&chunk)) continue;
    return reader->Finish();
  }
  static grpc::Status UploadWith(v1::WorkerGateway::Stub* stub, const v1::AttemptRef& attempt) {
    v1::UploadBlobRequest request;
    request.set_sha256(std::string(64, 'a'));
    *request.mutable_attempt() = attempt;
    grpc::ClientContext context;
    v1::UploadBlobResponse response;
    auto writer = stub->UploadBlob(&context, &response);
    writer->Write(request);
    writer->WritesDone();
    return writer->Finish();
  }

  bool mutual_ = false;
  std::unique_ptr<Access> access_;
  std::unique_ptr<ClientService> client_;
  std::unique_ptr<GuardedClient> guarded_;
  int created_ = 0;
};

TEST_F(DoorTest, EveryCallOfBothServicesAsksForATokenOverTls) {
  const auto nobody = Tls(Keys(""));
  const auto stranger = Tls(Keys("ty_" + std::string(43, 'x')));
  for (const auto& [file, service] : {std::pair("trainyard/v1/client.proto", "Trainyard"),
                                      {"trainyard/v1/worker.proto", "WorkerGateway"}}) {
    for (const std::string& rpc : Calls(file, service)) {
      for (const auto& channel : {nobody, stranger}) {
        const grpc::Status status = Call(channel, service, rpc);
        EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED)
            << rpc << ": " << status.error_message();
      }
    }
  }
}

TEST_F(DoorTest, EveryCallKnowsItsOwnLeastRole) {
  const auto worker = Tls(NewKeys(v1::Token::JOIN));
  const std::map<Role, std::shared_ptr<grpc::Channel>> below = {
      {v1::Token::SUBMITTER, Tls(NewKeys(v1::Token::VIEWER))},
      {v1::Token::ADMIN, Tls(NewKeys(v1::Token::SUBMITTER))}};
  for (const std::string& rpc : Calls("trainyard/v1/client.proto", "Trainyard")) {
    const Role least = *LeastRole(rpc);
    const auto expect_refused = [&](const std::shared_ptr<grpc::Channel>& channel) {
      const grpc::Status status = Call(channel, "Trainyard", rpc);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << rpc;
      EXPECT_THAT(status.error_message(), StartsWith(rpc + ": token '"));
      EXPECT_THAT(status.error_message(), HasSubstr("expected role " + RoleName(least)));
    };
    expect_refused(worker);
    if (below.contains(least)) expect_refused(below.at(least));
  }
  EXPECT_TRUE(Call(Tls(NewKeys(v1::Token::VIEWER)), "Trainyard", "ListJobs").ok());
  EXPECT_TRUE(Call(Tls(NewKeys(v1::Token::ADMIN)), "Trainyard", "ListTokens").ok());
}

TEST_F(DoorTest, NoTokenOfPeopleOpensTheGateway) {
  const auto admin = Tls(NewKeys(v1::Token::ADMIN));
  for (const std::string& rpc : Calls("trainyard/v1/worker.proto", "WorkerGateway")) {
    const grpc::Status status = Call(admin, "WorkerGateway", rpc);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << rpc;
  }
}

TEST_F(DoorTest, HealthAnswersEverybodyAndPlainCallsAreNotAsked) {
  grpc::GenericStub stub(Tls(Keys("")));
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  grpc::ByteBuffer response;
  grpc::Status status;
  const grpc::Slice nothing;
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check",
                                    grpc::ByteBuffer(&nothing, 1), &queue);
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag;
  bool ok;
  queue.Next(&tag, &ok);
  EXPECT_TRUE(status.ok()) << status.error_message();
  const auto plain = grpc::CreateChannel(server_.address, grpc::InsecureChannelCredentials());
  EXPECT_TRUE(Call(plain, "Trainyard", "ListTokens").ok());
}

TEST_F(DoorTest, ALaunchedWorkerIsTheOneThatWasLaunchedAndNoOther) {
  ASSERT_GT(Submit(), 0);  // launch 1 of the pool
  const auto launched = Worker(LaunchKeys(1));
  const auto joined = Worker(NewKeys(v1::Token::JOIN));
  constexpr auto kDenied = grpc::StatusCode::PERMISSION_DENIED;
  EXPECT_EQ(Register(launched.get(), 0, "external").error_code(), kDenied);
  EXPECT_EQ(Register(launched.get(), 2, "process").error_code(), kDenied);
  EXPECT_EQ(Register(launched.get(), 1, "external").error_code(), kDenied);
  EXPECT_EQ(Register(joined.get(), 1, "process").error_code(), kDenied);
  const grpc::Status unknown = Register(Worker(LaunchKeys(2)).get(), 2, "process");
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(unknown.error_message(), HasSubstr("launch 2 is over"));

  int64_t mine = 0, other = 0;
  ASSERT_TRUE(Register(launched.get(), 1, "process", &mine, "a").ok());
  ASSERT_TRUE(Register(joined.get(), 0, "external", &other, "b").ok());
  EXPECT_EQ(FakeWorker(launched.get(), other, "b").End().error_code(), kDenied);
  EXPECT_EQ(FakeWorker(joined.get(), mine, "a").End().error_code(), kDenied);
}

TEST_F(DoorTest, AWorkerFetchesAndUploadsForWhatItHoldsAlone) {
  ASSERT_GT(Submit(), 0);
  const auto launched = Worker(LaunchKeys(1));
  const auto joined = Worker(NewKeys(v1::Token::JOIN));
  int64_t mine = 0, other = 0;
  ASSERT_TRUE(Register(launched.get(), 1, "process", &mine, "a").ok());
  const std::string source(64, '0');  // of the job; no such blob was stored
  EXPECT_EQ(FetchWith(launched.get(), source).error_code(), grpc::StatusCode::PERMISSION_DENIED)
      << "it holds nothing yet";
  FakeWorker worker(launched.get(), mine, "a");
  const auto start = worker.Next(v1::CoordinatorMessage::kStart);
  ASSERT_TRUE(start);
  ASSERT_TRUE(Register(joined.get(), 0, "external", &other, "b").ok());
  EXPECT_EQ(FetchWith(joined.get(), source).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(FetchWith(launched.get(), std::string(64, '1')).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  const v1::AttemptRef& attempt = start->start().attempt();
  EXPECT_EQ(UploadWith(joined.get(), attempt).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(UploadWith(launched.get(), attempt).error_code(), grpc::StatusCode::DATA_LOSS)
      << "let in, and found to be other bytes";
  EXPECT_EQ(FetchWith(launched.get(), source).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(DoorTest, OpenSessionsAndWatchersAreEndedWithTheirToken) {
  const auto join = access_->tokens().Create("rack", v1::Token::JOIN, 0);
  const auto view = access_->tokens().Create("look", v1::Token::VIEWER, 0);
  const auto stub = Worker(Keys(join->secret));
  int64_t id = 0;
  ASSERT_TRUE(Register(stub.get(), 0, "external", &id, "a").ok());
  FakeWorker worker(stub.get(), id, "a");
  const auto client = v1::Trainyard::NewStub(Tls(Keys(view->secret)));
  grpc::ClientContext context;
  auto events = client->WatchEvents(&context, v1::WatchEventsRequest());
  ASSERT_GT(Submit(), 0);
  v1::Event event;
  ASSERT_TRUE(events->Read(&event));
  ASSERT_TRUE(access_->tokens().Revoke("rack").ok());
  ASSERT_TRUE(access_->tokens().Revoke("look").ok());
  const grpc::Status session = worker.End();
  EXPECT_EQ(session.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(session.error_message(), HasSubstr("'rack' was revoked"));
  while (events->Read(&event)) continue;
  const grpc::Status watch = events->Finish();
  EXPECT_EQ(watch.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(watch.error_message(), HasSubstr("'look' was revoked"));
}

TEST_F(DoorTest, WhoTrustsAnotherAuthorityOrSpeaksNoTlsIsToldWhy) {
  const auto other = CertificateAuthority::Open(folder_ / "other");
  AccessKeys keys = Keys("");
  keys.ca_pem = other->pem();
  const auto why = [&](const std::string& address, const AccessKeys& shown) {
    const auto channel = MakeAccessChannel(address, shown, {});
    EXPECT_FALSE(
        channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(1)));
    return WhyUnreachable(channel, shown);
  };
  const std::string tls = server_.listeners.at(1).address;
  EXPECT_THAT(why(tls, keys), HasSubstr("not one that ca.pem vouches for"));
  EXPECT_THAT(why(server_.address, Keys("")), HasSubstr("plain address"));
  EXPECT_THAT(why(tls, AccessKeys{}), HasSubstr("access folder with ca.pem"));
}

class MutualDoorTest : public DoorTest {
 protected:
  MutualDoorTest() { mutual_ = true; }
};

TEST_F(MutualDoorTest, WorkersShowACertificateOfOursAndPeopleNone) {
  ASSERT_GT(Submit(), 0);
  const AccessFiles files = *access_->Issuer(true)(1);
  AccessKeys keys = LaunchKeys(1);
  EXPECT_EQ(Register(Worker(keys).get(), 1, "process").error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  const auto foreign = CertificateAuthority::Open(folder_ / "other")->IssueClient("launch 1", 10);
  keys.cert_pem = foreign->cert_pem;
  keys.key_pem = foreign->key_pem;
  EXPECT_EQ(Register(Worker(keys).get(), 1, "process").error_code(), grpc::StatusCode::UNAVAILABLE)
      << "there is not even a connection";
  keys.cert_pem = files.at("cert.pem");
  keys.key_pem = files.at("key.pem");
  EXPECT_TRUE(Register(Worker(keys).get(), 1, "process").ok());
  EXPECT_TRUE(Call(Tls(NewKeys(v1::Token::VIEWER)), "Trainyard", "ListJobs").ok());
}

}  // namespace
}  // namespace trainyard::coordinator
