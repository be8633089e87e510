// The table of who may call what has every call there is.
#include "coordinator/access/policy.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "trainyard/v1/client.pb.h"

namespace trainyard::coordinator {
namespace {

using ::testing::HasSubstr;

Caller With(Role role) { return {.kind = Caller::Kind::kToken, .name = "me", .role = role}; }

TEST(Policy, EveryCallOfTheServiceIsInTheTable) {
  const auto* service = v1::SubmitJobRequest::descriptor()->file()->FindServiceByName("Trainyard");
  ASSERT_NE(service, nullptr);
  for (int i = 0; i < service->method_count(); ++i) {
    EXPECT_TRUE(LeastRole(service->method(i)->name())) << service->method(i)->name();
  }
}

TEST(Policy, AHigherRoleMayWhatALowerOneMay) {
  const auto may = [](Role role, const char* rpc) { return MayCall(With(role), rpc).ok(); };
  EXPECT_TRUE(may(v1::Token::VIEWER, "GetJob"));
  EXPECT_FALSE(may(v1::Token::VIEWER, "SubmitJob"));
  EXPECT_TRUE(may(v1::Token::SUBMITTER, "GetJob"));
  EXPECT_TRUE(may(v1::Token::SUBMITTER, "SubmitJob"));
  EXPECT_FALSE(may(v1::Token::SUBMITTER, "CreateToken"));
  EXPECT_FALSE(may(v1::Token::SUBMITTER, "DrainWorker"));
  EXPECT_TRUE(may(v1::Token::ADMIN, "GetJob"));
  EXPECT_TRUE(may(v1::Token::ADMIN, "CreateToken"));
}

TEST(Policy, WhatNobodyThoughtOfIsForAdmins) {
  EXPECT_FALSE(LeastRole("DeleteEverything"));
  EXPECT_FALSE(MayCall(With(v1::Token::SUBMITTER), "DeleteEverything").ok());
  EXPECT_TRUE(MayCall(With(v1::Token::ADMIN), "DeleteEverything").ok());
}

TEST(Policy, WorkersMayNothingThatPeopleMay) {
  for (const Caller& worker :
       {With(v1::Token::JOIN), Caller{.kind = Caller::Kind::kLaunch, .launch = 3}}) {
    const absl::Status status = MayCall(worker, "GetServerInfo");
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_THAT(std::string(status.message()), HasSubstr("expected role viewer"));
  }
}

TEST(Policy, AWorkerSpeaksForItsLaunchAndPeopleForNone) {
  EXPECT_EQ(*SpeaksFor(Caller{}), std::nullopt);
  EXPECT_EQ(*SpeaksFor(With(v1::Token::JOIN)), 0);
  EXPECT_EQ(*SpeaksFor({.kind = Caller::Kind::kLaunch, .launch = 3}), 3);
  for (const Role role : {v1::Token::VIEWER, v1::Token::SUBMITTER, v1::Token::ADMIN}) {
    EXPECT_EQ(SpeaksFor(With(role)).status().code(), absl::StatusCode::kPermissionDenied);
  }
}

}  // namespace
}  // namespace trainyard::coordinator
