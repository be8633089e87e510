// `trainyard-worker --explain`: what is read, what is printed, what is refused.
#include "worker/agent/explain.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/worker/agent/fake_gateway.h"
#include "tests/worker/agent/test_data.h"
#include "trainyard/v1/spec.pb.h"
#include "worker/agent/agent.h"

namespace trainyard::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ExplainTest : public testing::Test {
 protected:
  struct Result {
    int exit_code = 0;
    std::string out, err;
  };
  Result Explain(const std::string& json, const std::string& backend = "reference") {
    const std::string file = folder_ / "configuration.json";
    std::ofstream(file) << json;
    return ExplainAt(file, backend);
  }
  Result ExplainAt(const std::string& file, const std::string& backend = "reference") {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int exit_code = ExplainFile(file, {backend, 1});
    return {exit_code, testing::internal::GetCapturedStdout(),
            testing::internal::GetCapturedStderr()};
  }
  static std::string Json(const v1::Configuration& configuration) {
    std::string json;
    EXPECT_TRUE(google::protobuf::util::MessageToJsonString(configuration, &json).ok());
    return json;
  }

  TestFolder folder_;
  v1::Configuration small_ = SmallJob(1).configuration();
};

TEST_F(ExplainTest, ATrialsConfigurationIsToldOpByOp) {
  const Result result = Explain(Json(small_));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_THAT(result.out, HasSubstr("batches of 16, "));
  EXPECT_THAT(result.out, HasSubstr("layers.0 (conv)"));
  EXPECT_THAT(result.out, HasSubstr("layers.6 (linear)"));
}

TEST_F(ExplainTest, WhatIsNoConfigurationIsRefusedByFileAndPlace) {
  const auto refused = [&](const Result& result, const std::string& why) {
    EXPECT_EQ(result.exit_code, kExitUsage);
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err, HasSubstr(why));
  };
  refused(ExplainAt(folder_ / "nothing"), "nothing: no file that can be read");
  refused(Explain("{"), "configuration.json: expected a trial's configuration as JSON");
  refused(Explain("{}"), "configuration.json: found no network");
  v1::Configuration broken = small_;
  broken.mutable_network()->set_classes(100);
  refused(Explain(Json(broken)), "configuration.json: network.");
  broken = small_;
  broken.mutable_training()->set_batch_size(0);
  refused(Explain(Json(broken)), "train.batch_size: found 0, expected at least 1");
}

TEST_F(ExplainTest, ABackendThatCannotDoItSaysWhy) {
  const Result result = Explain(Json(small_), "abacus");
  EXPECT_EQ(result.exit_code, kExitError);
  EXPECT_THAT(result.err, HasSubstr("backend \"abacus\" is unknown"));
}

}  // namespace
}  // namespace trainyard::agent
