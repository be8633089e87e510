// Which address workers dial: one that they can reach, and whether it is TLS.
#include "coordinator/dialing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace trainyard::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const Listener kLocal{"127.0.0.1:7700", false};
const Listener kEverywhere{"0.0.0.0:7701", true};
const Listener kOne{"10.0.0.5:7702", true};

PoolConfig OnHost(const std::string& url) {
  DockerPool docker;
  docker.hosts.push_back({.name = "h", .url = url, .cpu_slots = 1});
  return {.name = "box", .kind = docker};
}

std::string Name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

TEST(DialingTest, WorkersOfThisMachinePreferAPlainListener) {
  EXPECT_EQ(ForThisMachine({kEverywhere, kLocal}).address, "127.0.0.1:7700");
  EXPECT_FALSE(ForThisMachine({kEverywhere, kLocal}).tls);
  EXPECT_EQ(ForThisMachine({kEverywhere}).address, "127.0.0.1:7701");
  EXPECT_TRUE(ForThisMachine({kEverywhere}).tls);
  EXPECT_EQ(ForThisMachine({{"[::]:7701", true}}).address, "[::1]:7701");
  EXPECT_EQ(ForThisMachine({{"unix:/run/trainyard", false}}).address, "unix:/run/trainyard");
}

TEST(DialingTest, ContainersHereReachItByDockersNameAndOthersByThisMachines) {
  const auto here = ForPool(OnHost("unix:///var/run/docker.sock"), {kLocal, kEverywhere});
  ASSERT_TRUE(here.ok()) << here.status();
  EXPECT_EQ(here->address, "host.docker.internal:7701");
  EXPECT_TRUE(here->tls);
  EXPECT_EQ(ForPool(OnHost("tcp://127.0.0.1:2375"), {kEverywhere})->address,
            "host.docker.internal:7701");
  EXPECT_EQ(ForPool(OnHost("tcp://gpu1:2376"), {kEverywhere})->address, Name() + ":7701");
  EXPECT_EQ(ForPool({.name = "c", .kind = SlurmPool{}}, {kEverywhere})->address, Name() + ":7701");
  EXPECT_EQ(ForPool(OnHost("tcp://gpu1:2376"), {kLocal, kOne})->address, "10.0.0.5:7702")
      << "the one address that is listened at";
}

TEST(DialingTest, WhatThePoolsFileSaysIsTakenAndItsPortTellsWhetherItIsTls) {
  PoolConfig pool = OnHost("tcp://gpu1:2376");
  pool.coordinator = "127.0.0.1:7701";
  EXPECT_TRUE(ForPool(pool, {kLocal, kEverywhere})->tls);
  pool.coordinator = "127.0.0.1:7700";
  EXPECT_FALSE(ForPool(pool, {kLocal, kEverywhere})->tls);
  pool.coordinator = "train.example:443";
  EXPECT_TRUE(ForPool(pool, {kLocal, kEverywhere})->tls) << "forwarded to what is beyond";
  EXPECT_EQ(ForPool(pool, {kLocal})->address, "train.example:443");
}

TEST(DialingTest, WhereNobodyCouldReachItThatIsSaidWithWhatToDo) {
  const auto dialled = ForPool(OnHost("unix:///var/run/docker.sock"), {kLocal});
  EXPECT_EQ(dialled.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(dialled.status().message()),
              AllOf(HasSubstr("pool box"), HasSubstr("127.0.0.1:7700 only"),
                    HasSubstr("--listen 0.0.0.0:7701")));
}

}  // namespace
}  // namespace trainyard::coordinator
