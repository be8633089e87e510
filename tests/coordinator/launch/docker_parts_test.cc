// Shows that a worker's container is what the security rules ask for, to the letter; and that
// whatever an engine may answer is either understood or refused in words.
#include <signal.h>

#include <nlohmann/json.hpp>

#include "coordinator/launch/docker_answers.h"
#include "coordinator/launch/docker_causes.h"
#include "coordinator/launch/docker_template.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

DockerHost GpuHost() {
  return {.name = "gpu1",
          .url = "tcp://gpu1:2376",
          .gpus = {"GPU-aaaa", "GPU-bbbb"},
          .cpu_slots = 1,
          .cores = 2.5,
          .memory_bytes = int64_t{4} << 30};
}

json Request(const DockerHost& host, int slot, std::vector<std::string> mounts = {}) {
  return json::parse(ContainerRequest({.coordinator_id = "4f1c22aa90b1d3e5",
                                       .pool = "gpu",
                                       .coordinator = "train:7700",
                                       .image = "trainyard/worker-cuda",
                                       .host = host,
                                       .order = {.launch = 17, .slot = slot},
                                       .mounts = std::move(mounts),
                                       .access = true}));
}

TEST(DockerTemplateTest, AWorkersContainerIsThisAndNothingElse) {
  EXPECT_EQ(Request(GpuHost(), 1, {"/data/sets"}), json::parse(R"({
    "Image": "trainyard/worker-cuda",
    "User": "10001:10001",
    "Cmd": ["--pool", "gpu", "--threads", "2"],
    "Env": ["TRAINYARD_LAUNCH=17", "TRAINYARD_COORDINATOR=train:7700",
            "TRAINYARD_ACCESS=/run/trainyard/access"],
    "Labels": {"trainyard.coordinator": "4f1c22aa90b1d3e5", "trainyard.pool": "gpu",
               "trainyard.launch": "17"},
    "StopSignal": "SIGTERM",
    "Healthcheck": {"Test": ["NONE"]},
    "HostConfig": {
      "CapDrop": ["ALL"],
      "SecurityOpt": ["no-new-privileges"],
      "Privileged": false,
      "ReadonlyRootfs": true,
      "Init": true,
      "PidsLimit": 4096,
      "NetworkMode": "bridge",
      "IpcMode": "private",
      "ExtraHosts": ["host.docker.internal:host-gateway"],
      "Mounts": [
        {"Type": "volume", "Target": "/run/trainyard"},
        {"Type": "volume", "Source": "trainyard-cache", "Target": "/var/cache/trainyard"},
        {"Type": "volume", "Target": "/var/lib/trainyard"},
        {"Type": "bind", "Source": "/data/sets", "Target": "/data/sets", "ReadOnly": true}],
      "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=1g,mode=1777"},
      "ShmSize": 1073741824,
      "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
      "RestartPolicy": {"Name": "no"},
      "LogConfig": {"Type": "json-file", "Config": {"max-size": "32m", "max-file": "4"}},
      "Memory": 4294967296,
      "MemorySwap": 4294967296,
      "NanoCpus": 2500000000,
      "DeviceRequests": [{"Driver": "", "DeviceIDs": ["GPU-bbbb"],
                          "Capabilities": [["gpu", "compute", "utility"]]}]
    }})"));
}

TEST(DockerTemplateTest, NoFormOfItOpensAWayOut) {
  for (int slot = 0; slot < 3; ++slot) {
    const json request = Request(GpuHost(), slot);
    const json& host = request["HostConfig"];
    for (const char* key : {"Binds", "CapAdd", "Devices", "PidMode", "UTSMode", "UsernsMode",
                            "CgroupParent", "VolumesFrom", "PortBindings", "Sysctls", "Runtime"}) {
      EXPECT_FALSE(host.contains(key)) << key;
    }
    EXPECT_FALSE(host["Privileged"].get<bool>());
    for (const char* key : {"NetworkMode", "IpcMode"}) EXPECT_NE(host[key], "host") << key;
    EXPECT_THAT(request.dump(), Not(HasSubstr("docker.sock")));
    EXPECT_EQ(host.contains("DeviceRequests"), slot < 2) << "only GPU slots have a device";
    const bool none =
        request["Env"].dump().find("NVIDIA_VISIBLE_DEVICES=void") != std::string::npos;
    EXPECT_EQ(none, slot >= 2) << "whatever the engine's default runtime gives";
    EXPECT_FALSE(request.contains("Entrypoint")) << "which is the image's";
  }
}

json ProgramRequest(const ProgramContainers& programs) {
  const DockerHost host = GpuHost();
  return json::parse(
      ContainerRequest({.coordinator_id = "4f1c22aa90b1d3e5",
                        .pool = "gpu",
                        .coordinator = "train:7700",
                        .image = "trainyard/program-keras",
                        .host = host,
                        .order = {.launch = 17, .slot = 1, .runtime = "program-keras"},
                        .programs = programs,
                        .host_address = "10.0.9.1",
                        .access = true}))["HostConfig"];
}

TEST(DockerTemplateTest, AProgramsContainerSharesNothingThatItMayWrite) {
  json expected = Request(GpuHost(), 1)["HostConfig"];
  expected["ExtraHosts"] = {"host.docker.internal:10.0.9.1"};
  expected["Mounts"][1].erase("Source");  // a cache of its own
  EXPECT_EQ(ProgramRequest({}), expected);
  for (const json& mount : ProgramRequest({})["Mounts"]) EXPECT_FALSE(mount.contains("Source"));
}

TEST(DockerTemplateTest, AProgramsContainerHasTheLimitsOfThePoolsFile) {
  const json host =
      ProgramRequest({.network = "inner", .processes = 512, .work_size_bytes = int64_t{1} << 30});
  EXPECT_EQ(host["NetworkMode"], "inner");
  EXPECT_EQ(host["PidsLimit"], 512);
  EXPECT_EQ(host["Mounts"], json::parse(R"([{"Type": "volume", "Target": "/run/trainyard"}])"));
  const std::string limited = "rw,exec,nosuid,nodev,size=1073741824,mode=0700,uid=10001,gid=10001";
  EXPECT_EQ(host["Tmpfs"], (json{{"/tmp", "rw,noexec,nosuid,nodev,size=1g,mode=1777"},
                                 {"/var/cache/trainyard", limited},
                                 {"/var/lib/trainyard", limited}}));
}

TEST(DockerTemplateTest, ASlotWithoutLimitsHasNone) {
  const DockerHost host{.name = "small", .url = "unix:///d.sock", .cpu_slots = 1};
  const json request = Request(host, 0);
  for (const char* key : {"Memory", "MemorySwap", "NanoCpus", "DeviceRequests"}) {
    EXPECT_FALSE(request["HostConfig"].contains(key)) << key;
  }
  EXPECT_EQ(request["Cmd"], json({"--pool", "gpu"}));
  DockerHost half = host;
  half.cores = 0.5;
  EXPECT_EQ(Request(half, 0)["Cmd"], json({"--pool", "gpu", "--threads", "1"}));
}

TEST(DockerTemplateTest, AccessFilesAreReadableByTheContainersUserOnly) {
  const auto tar = AccessArchive({{"key.pem", "secret"}, {"token", "hush\n"}});
  ASSERT_TRUE(tar.ok()) << tar.status();
  const auto field = [&](size_t block, size_t at) {  // up to its end
    return std::string(tar->c_str() + 512 * block + at);
  };
  EXPECT_EQ(field(0, 0), "access/");
  EXPECT_THAT(field(0, 100), HasSubstr("500 "));
  EXPECT_EQ(field(1, 0), "access/key.pem");
  EXPECT_THAT(field(1, 100), HasSubstr("400 "));
  EXPECT_EQ(std::stol(field(1, 108), nullptr, 8), 10001);
  EXPECT_EQ(std::stol(field(1, 116), nullptr, 8), 10001);
  EXPECT_EQ(field(1, 257).substr(0, 5), "ustar");
  EXPECT_EQ(field(2, 0), "secret");
  EXPECT_EQ(field(3, 0), "access/token");
  for (const char* name : {"", "../token", "a/b", "/etc/passwd"}) {
    EXPECT_FALSE(AccessArchive({{name, "x"}}).ok()) << name;
  }
}

TEST(DockerAnswersTest, TheNewestVersionThatBothKnowIsSpoken) {
  const auto read = [](const std::string& body, long status = 200) {
    return ReadVersion({status, body});
  };
  EXPECT_EQ(*read(R"({"ApiVersion":"1.41","MinAPIVersion":"1.12"})"), "/v1.41");
  EXPECT_EQ(*read(R"({"ApiVersion":"1.44"})"), "/v1.44");
  EXPECT_EQ(*read(R"({"ApiVersion":"1.52","MinAPIVersion":"1.44"})"), "/v1.47");
  EXPECT_THAT(std::string(read(R"({"ApiVersion":"1.40","Version":"19.03"})").status().message()),
              AllOf(HasSubstr("19.03"), HasSubstr("1.40"), HasSubstr("expected 1.41")));
  EXPECT_THAT(
      std::string(read(R"({"ApiVersion":"1.99","MinAPIVersion":"1.60"})").status().message()),
      AllOf(HasSubstr("1.60"), HasSubstr("1.47")));
  for (const char* body :
       {"", "{", "null", "[]", "17", "{}", R"({"ApiVersion":141})", R"({"ApiVersion":"new"})",
        R"({"ApiVersion":"."})", R"({"ApiVersion":"99999999999999.1"})", "\xff\xfe"}) {
    EXPECT_EQ(read(body).status().code(), absl::StatusCode::kUnavailable) << body;
  }
  EXPECT_FALSE(read(R"({"ApiVersion":"1.41"})", 403).ok());
}

TEST(DockerAnswersTest, WhatIsNoContainerIsRefused) {
  const auto container = ReadContainer(
      R"({"Id":"ab","State":{"Status":"exited","ExitCode":137,"OOMKilled":true,"Error":"why"},
          "Config":{"Labels":{"trainyard.coordinator":"c","trainyard.pool":"p",
                              "trainyard.launch":"12"}}})");
  ASSERT_TRUE(container.ok()) << container.status();
  EXPECT_TRUE(container->ended() && container->oom_killed);
  EXPECT_EQ(container->exit_code, 137);
  EXPECT_EQ(container->launch, 12);
  EXPECT_EQ(container->pool, "p");
  for (const char* body : {"", "[]", "{}", R"({"Id":"ab"})", R"({"Id":7,"State":{"Status":"x"}})",
                           R"({"Id":"ab","State":"running"})", "{\"Id\":\"\xff\"}"}) {
    EXPECT_FALSE(ReadContainer(body).ok()) << body;
    EXPECT_FALSE(ReadCreated(R"({"Id":[]})").ok());
  }
  // Odd labels are nobody's.
  const auto odd = ReadContainer(
      R"({"Id":"ab","State":{"Status":"running"},"Config":{"Labels":{"trainyard.launch":"1e9"}}})");
  ASSERT_TRUE(odd.ok());
  EXPECT_EQ(odd->launch, 0);
  EXPECT_EQ(ReadContainers(R"([{"Id":"ab","State":"created","Labels":null}])")->size(), 1u);
  for (const char* body : {"", "{}", "[1]", R"([{"State":"created"}])"}) {
    EXPECT_FALSE(ReadContainers(body).ok()) << body;
  }
}

TEST(DockerAnswersTest, TheHostsAddressOnANetwork) {
  const auto read = [](const std::string& ipam) {
    return ReadGateway(R"({"Name": "inner", "IPAM": )" + ipam + "}");
  };
  EXPECT_EQ(*read(R"({"Config": [{"Subnet": "10.0.9.0/24", "Gateway": "10.0.9.1"}]})"), "10.0.9.1");
  EXPECT_EQ(*read(R"({"Config": [{"Gateway": "10.0.9.1/24"}]})"), "10.0.9.1");
  EXPECT_EQ(*read(R"({"Config": [{}, {"Gateway": "fd00::1"}]})"), "fd00::1");
  for (const char* none : {"null", "{}", R"({"Config": null})", R"({"Config": [7]})", "[]"}) {
    EXPECT_EQ(*read(none), "") << none;
  }
  for (const char* body : {"", "{", "[]", "{}", R"({"Name": 7})", "\xff"}) {
    EXPECT_FALSE(ReadGateway(body).ok()) << body;
  }
}

TEST(DockerAnswersTest, EventsThatConcernNoLaunchAreLeftOut) {
  const auto event = ReadEvent(
      R"({"Action":"die","Actor":{"ID":"ab",
          "Attributes":{"exitCode":"3","trainyard.launch":"5"}}})");
  ASSERT_TRUE(event);
  EXPECT_EQ(event->action, "die");
  EXPECT_EQ(event->container, "ab");
  EXPECT_EQ(event->launch, 5);
  EXPECT_EQ(event->exit_code, 3);
  EXPECT_FALSE(ReadEvent(std::string(100'000, '[')));
  for (const char* line :
       {"", "{", "[]", "null", R"({"Action":"die"})", R"({"Action":"die","Actor":[]})",
        R"({"Action":"die","Actor":{"ID":"ab","Attributes":{"trainyard.launch":"-5"}}})",
        R"({"Action":7,"Actor":{"ID":"ab","Attributes":{"trainyard.launch":"5"}}})"}) {
    EXPECT_FALSE(ReadEvent(line)) << line;
  }
}

TEST(DockerCausesTest, EachRefusalHasItsKindAndItsWords) {
  const auto explain = [](long status, const std::string& message) {
    return ExplainRefusal({status, json({{"message", message}}).dump()}, "worker:1");
  };
  const auto full = explain(500, "mkdir /var/lib/docker/x: no space left on device");
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("disk is full"));
  EXPECT_EQ(explain(500, "fork: cannot allocate memory").code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(explain(404, "No such image: worker:1").code(), absl::StatusCode::kFailedPrecondition);
  const auto command = explain(
      400, "failed to create shim: exec: \"worker\": executable file not found in $PATH: unknown");
  EXPECT_EQ(command.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(command.message()), HasSubstr("command of image worker:1"));
  EXPECT_EQ(explain(500, "nvidia-container-cli: device error: GPU-x: unknown device").code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(explain(400, "Range of CPUs is from 0.01 to 2.00").code(),
            absl::StatusCode::kFailedPrecondition);
  const auto other = ExplainRefusal({500, "<html>\n" + std::string(100'000, 'x')}, "worker:1");
  EXPECT_EQ(other.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(other.message()), HasSubstr("HTTP status 500: <html> xxx"));
  EXPECT_LT(other.message().size(), 1000u);
}

TEST(DockerCausesTest, EachEndIsToldFromTheOthers) {
  const int64_t limit = 512 << 20;
  const auto cause = [](int code, bool oom, const ExitFacts& facts) {
    return DescribeExit(1, code, oom, facts).cause;
  };
  EXPECT_EQ(cause(0, false, {}), "exit code 0");
  EXPECT_EQ(cause(1, false, {}), "exit code 1");
  EXPECT_EQ(cause(255, false, {}), "exit code 255");
  EXPECT_EQ(cause(139, false, {}), "killed by SIGSEGV");
  EXPECT_EQ(cause(137, false, {}), "killed by SIGKILL");
  EXPECT_EQ(cause(137, false, {.kill_seen = true}), "killed by SIGKILL, through Docker");
  EXPECT_EQ(cause(137, false, {.kill_seen = true, .killed_by_us = "we did"}), "we did");
  EXPECT_EQ(cause(0, false, {.killed_by_us = "we did"}), "exit code 0") << "it was faster";
  EXPECT_EQ(cause(137, false, {.memory_bytes = limit, .kill_seen = true}),
            "killed by SIGKILL, through Docker");
  EXPECT_EQ(cause(137, false, {.memory_bytes = limit}),
            "killed by SIGKILL; the engine does not say why: by a process outside of the "
            "container, or for want of memory at the container's limit of 512 MiB");
  EXPECT_EQ(cause(139, false, {.memory_bytes = limit}), "killed by SIGSEGV");
  EXPECT_EQ(cause(137, true, {.memory_bytes = limit}),
            "out of memory: the worker was killed at the container's limit of 512 MiB");
  EXPECT_EQ(cause(137, true, {}), "out of memory: the worker was killed");
  EXPECT_EQ(cause(1, false, {.memory_bytes = limit, .oom_seen = true}),
            "out of memory: a process of the worker was killed at the container's limit of 512 "
            "MiB; exit code 1");
  EXPECT_FALSE(DescribeExit(1, 0, true, {}).out_of_memory);
  EXPECT_EQ(DescribeExit(1, 143, false, {}).signal, SIGTERM);
  EXPECT_EQ(DescribeExit(1, 143, false, {}).exit_code, -1);
  EXPECT_TRUE(DescribeLoss(1, "gone").unknown);
}

TEST(DockerHttpTest, QueriesAreEncoded) {
  EXPECT_EQ(PercentEncode("a-B_9.~/"), "a-B_9.~/");
  EXPECT_EQ(PercentEncode(std::string(1, '\0')), "%00");
  EXPECT_EQ(PercentEncode("{\"x\":[1 &%\xff]}"), "%7B%22x%22%3A%5B1%20%26%25%FF%5D%7D");
}

}  // namespace
}  // namespace trainyard::coordinator
