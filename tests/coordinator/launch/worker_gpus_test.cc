// Which GPUs a worker program says there are, and what each slot of the process pool gets of them;
// stand-ins play the program.
#include "coordinator/launch/worker_gpus.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class WorkerGpusTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "trainyard-gpus-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // What a worker program of this body is heard to say.
  absl::StatusOr<std::vector<v1::Gpu>> Ask(const std::string& body, int64_t timeout_ms = 60'000) {
    const fs::path path = folder_ / "worker.sh";
    std::ofstream(path) << "#!/bin/sh\n" << body << "\n";
    chmod(path.c_str(), 0755);
    return AskForGpus(path, {"PATH=/usr/bin:/bin", "CUDA_VISIBLE_DEVICES=GPU-b"}, timeout_ms);
  }
  std::string Problem(const std::string& body, int64_t timeout_ms = 60'000) {
    const auto gpus = Ask(body, timeout_ms);
    EXPECT_FALSE(gpus.ok()) << body;
    return std::string(gpus.status().message());
  }

  fs::path folder_;
};

TEST_F(WorkerGpusTest, EachLineIsAGpu) {
  const auto gpus = Ask(R"([ "$*" = --list-gpus ] || exit 2
echo '{"name":"NVIDIA H100","uuid":"GPU-a","memory_bytes":"85520809984","compute_capability":"9.0"}'
echo
echo '{"uuid":"GPU-b","memory_bytes":8,"new":[1]}')");
  ASSERT_TRUE(gpus.ok()) << gpus.status();
  ASSERT_EQ(gpus->size(), 2u);
  EXPECT_EQ((*gpus)[0].name(), "NVIDIA H100");
  EXPECT_EQ((*gpus)[0].memory_bytes(), 85'520'809'984);
  EXPECT_EQ((*gpus)[1].uuid(), "GPU-b");
}

TEST_F(WorkerGpusTest, TheOrderIsThatOfTheUuidsWhateverTheProgramsIs) {
  const auto gpus = Ask(R"(for gpu in GPU-b GPU-c GPU-a; do
  echo "{\"uuid\":\"$gpu\",\"memory_bytes\":8}"
done)");
  ASSERT_TRUE(gpus.ok()) << gpus.status();
  std::vector<std::string> uuids;
  for (const v1::Gpu& gpu : *gpus) uuids.push_back(gpu.uuid());
  EXPECT_THAT(uuids, ElementsAre("GPU-a", "GPU-b", "GPU-c"));
}

TEST_F(WorkerGpusTest, WhatIsHiddenFromUsIsHiddenFromTheWorker) {
  const auto gpus = Ask(R"(echo "{\"uuid\":\"$CUDA_VISIBLE_DEVICES\",\"memory_bytes\":8}")");
  ASSERT_TRUE(gpus.ok()) << gpus.status();
  EXPECT_EQ(gpus->at(0).uuid(), "GPU-b");
}

TEST_F(WorkerGpusTest, AMachineWithoutGpusIsNoTrouble) {
  const auto gpus = Ask("echo 'no GPU: no driver' >&2");
  ASSERT_TRUE(gpus.ok()) << gpus.status();
  EXPECT_THAT(*gpus, IsEmpty());
}

TEST_F(WorkerGpusTest, AProgramThatFailsHangsOrTalksNonsenseIsNamedWithTheReason) {
  EXPECT_THAT(Problem("echo 'unknown flag' >&2; exit 2"),
              HasSubstr("worker.sh --list-gpus: ended with exit code 2: 'unknown flag'"));
  EXPECT_THAT(Problem("kill -9 $$"), HasSubstr("ended with signal 9"));
  EXPECT_THAT(Problem("exec sleep 600", 50), HasSubstr("no answer within 0.05 s"));
  EXPECT_THAT(Problem("printf 'GPU 0: \\033[2JH100\\n'"),
              HasSubstr("found the line 'GPU 0: \\x1b[2JH100', expected a GPU as JSON"));
  EXPECT_THAT(Problem("echo '{\"memory_bytes\":8}'"), HasSubstr("with uuid and memory_bytes"));
  EXPECT_THAT(Problem("echo '{\"uuid\":\"GPU-a\"}'"), HasSubstr("with uuid and memory_bytes"));
  EXPECT_THAT(Problem("for i in 1 2; do echo '{\"uuid\":\"GPU-a\",\"memory_bytes\":8}'; done"),
              HasSubstr("found the GPU 'GPU-a' a second time"));
  EXPECT_THAT(AskForGpus("/no/such/worker", {}, 1'000).status().message(),
              HasSubstr("/no/such/worker"));
}

v1::Gpu Gpu(const std::string& uuid, int64_t memory_bytes) {
  v1::Gpu gpu;
  gpu.set_uuid(uuid);
  gpu.set_memory_bytes(memory_bytes);
  return gpu;
}

TEST(ProcessSlotsTest, TheFirstHaveAGpuEachAndTheRestNone) {
  const core::Abilities can{.runtimes = {"native", "program-keras"}};
  core::Abilities small = can, large = can;
  small.gpu = large.gpu = true;
  small.gpu_memory_bytes = 8;
  large.gpu_memory_bytes = 80;
  const std::vector<v1::Gpu> two = {Gpu("GPU-a", 8), Gpu("GPU-b", 80)};
  EXPECT_THAT(ProcessSlots(3, two, can), ElementsAre(small, large, can));
  EXPECT_THAT(ProcessSlots(1, two, can), ElementsAre(small));
  EXPECT_THAT(ProcessSlots(2, {}, can), ElementsAre(can, can)) << "as without any of this";
}

}  // namespace
}  // namespace trainyard::coordinator
