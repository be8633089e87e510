// Real training behind a real agent, over real gRPC.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/worker/agent/agent_fixture.h"
#include "tests/worker/agent/test_data.h"
#include "worker/agent/native_runner.h"

namespace trainyard::agent {

using Record = FakeGateway::Record;
using v1::AttemptEnded;

inline constexpr int64_t kStepsPerEpoch = 5;  // 72 images in batches of 16

class NativeFixture : public testing::Test {
 protected:
  NativeFixture()
      : blobs_(MakeChannel(gateway_.address())),
        cache_(folder_ / "cache"),
        runner_({.backend = {.name = "cpu", .threads = 1},
                 .work_folder = folder_.path(),
                 .decoded_folder = folder_ / "cache/decoded",
                 .decoded_bytes_max = 1 << 20},
                blobs_, cache_),
        snapshot_(gateway_.Store(SmallSnapshot())) {}

  std::unique_ptr<RunningAgent> Agent(size_t reports_max = 1'000) {
    return std::make_unique<RunningAgent>(gateway_.address(), runner_, [&](AgentOptions& options) {
      options.session.reports_max = reports_max;
    });
  }

  // Waits for the end of this attempt.
  Record WaitForEnd(int64_t attempt) { return gateway_.WaitForEnd(attempt); }

  Record RunToEnd(const v1::Start& start) {
    const auto agent = Agent();
    gateway_.SendStart(start);
    return WaitForEnd(start.attempt().attempt());
  }

  // The bytes of the last checkpoint of a run that nothing disturbs, in a world of its own, where
  // nothing is kept decoded.
  static std::string UndisturbedResult(const v1::JobSpec& spec,
                                       const std::vector<v1::Adjustment>& adjustments = {}) {
    FakeGateway gateway;
    TestFolder folder;
    BlobClient blobs(MakeChannel(gateway.address()));
    BlobCache cache(folder / "cache");
    NativeRunner runner({.backend = {.name = "cpu", .threads = 1}, .work_folder = folder.path()},
                        blobs, cache);
    RunningAgent agent(gateway.address(), runner);
    v1::Start start = SmallStart(spec, gateway.Store(SmallSnapshot()), 1);
    for (const v1::Adjustment& adjustment : adjustments) *start.add_adjustments() = adjustment;
    gateway.SendStart(start);
    const Record record =
        gateway.WaitFor("the end", [](const Record& r) { return r.ended() != nullptr; });
    return gateway.blob(record.checkpoints().back().sha256());
  }

  FakeGateway gateway_;
  TestFolder folder_;
  BlobClient blobs_;
  BlobCache cache_;
  NativeRunner runner_;
  const std::string snapshot_;
};

}  // namespace trainyard::agent
