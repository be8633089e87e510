// Shows what the server does before any of our calls is reached: ports, health, reflection,
// messages that are none.
#include "coordinator/rpc/server.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "trainyard/v1/client.grpc.pb.h"

namespace trainyard::coordinator {
namespace {

using ::testing::HasSubstr;

class Answering final : public v1::Trainyard::Service {
 public:
  grpc::Status RemoveProject(grpc::ServerContext*, const v1::RemoveProjectRequest*,
                             v1::RemoveProjectResponse*) override {
    return grpc::Status::OK;
  }
  grpc::Status AddProject(grpc::ServerContext*, const v1::AddProjectRequest*,
                          v1::Project*) override {
    return {grpc::StatusCode::INTERNAL, "something of ours"};
  }
};

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto running = StartServer("127.0.0.1:0", {&service_});
    ASSERT_TRUE(running.ok()) << running.status();
    running_ = *std::move(running);
    channel_ = grpc::CreateChannel(running_.address, grpc::InsecureChannelCredentials());
  }

  // Any bytes as a request to any method.
  grpc::Status Call(const std::string& method, const std::string& bytes) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::Status status;
    auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
    call->StartCall();
    call->Finish(&response, &status, nullptr);
    void* tag;
    bool ok;
    queue.Next(&tag, &ok);
    return status;
  }

  Answering service_;
  RunningServer running_;
  std::shared_ptr<grpc::Channel> channel_;
};

constexpr char kRemove[] = "/trainyard.v1.Trainyard/RemoveProject";

TEST_F(ServerTest, AMessageThatIsNoneIsTheCallersMistake) {
  EXPECT_TRUE(Call(kRemove, "").ok());
  const std::string not_utf8 = "\x0a\x02\xff\xfe";
  const std::string torn =
      "\x0a\x20"
      "abc";
  std::string nested;  // of a field that nobody knows, as groups within groups
  for (int i = 0; i < 5000; ++i) nested += '\x13';
  for (const std::string& bytes : {not_utf8, torn, nested}) {
    const grpc::Status status = Call(kRemove, bytes);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr("no valid message"));
  }
}

TEST_F(ServerTest, AnErrorOfOurOwnKeepsItsCode) {
  const grpc::Status status = Call("/trainyard.v1.Trainyard/AddProject", "");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message(), "something of ours");
}

TEST_F(ServerTest, AMessageOverTheLimitIsRefused) {
  const grpc::Status status = Call(kRemove, std::string(5 << 20, 'x'));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
}

TEST_F(ServerTest, HealthAndReflectionAnswer) {
  const std::string empty;
  EXPECT_TRUE(Call("/grpc.health.v1.Health/Check", empty).ok());
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(nullptr);
  void* tag;
  bool ok;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  const std::string list_services = "\x3a\x00";  // a request with list_services = ""
  const grpc::Slice slice(std::string("\x3a\x00", 2));
  call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  ASSERT_TRUE(ok);
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(answer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& part : slices) {
    bytes.append(reinterpret_cast<const char*>(part.begin()), part.size());
  }
  EXPECT_THAT(bytes, HasSubstr("trainyard.v1.Trainyard"));
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  queue.Next(&tag, &ok);
}

TEST_F(ServerTest, APortInUseIsAnErrorThatNamesIt) {
  Answering other;
  const auto second = StartServer(running_.address, {&other});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(running_.address));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use"));
}

TEST(StartServer, AnAddressThatIsNoneIsRefused) {
  Answering service;
  for (const char* wrong : {"", "7700", ":7700", "localhost", "localhost:", "localhost:x",
                            "localhost:99999", "localhost:-1"}) {
    const auto running = StartServer(wrong, {&service});
    EXPECT_EQ(running.status().code(), absl::StatusCode::kInvalidArgument) << "'" << wrong << "'";
  }
}

}  // namespace
}  // namespace trainyard::coordinator
