// The worker on GPUs: trainyard-worker beside the CUDA module of the emulated machine, on GPUs that
// environment variables make up (tests/kernels/cuda_module_emulated.cc).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/worker/agent/fake_gateway.h"
#include "tests/worker/agent/test_data.h"
#include "tests/worker/agent/worker_process.h"
#include "worker/engine/checkpoint.h"

namespace trainyard::agent {
namespace {

using Record = FakeGateway::Record;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
using v1::AttemptEnded;

std::string Uuid(int gpu) {
  return "GPU-00000000-0000-0000-0000-00000000000" + std::to_string(gpu);
}

class GpuWorkerTest : public testing::Test {
 protected:
  GpuWorkerTest() { unsetenv("CUDA_VISIBLE_DEVICES"); }  // what this machine shows is no matter

  std::vector<std::string> Arguments(const std::string& backend, const FakeGateway& gateway) {
    return {"--coordinator", gateway.address(), "--cache-dir", folder_ / "cache",
            "--work-dir",    folder_ / "work",  "--threads",   "1",
            "--gpu-claims",  folder_.path(),    "--backend",   backend};
  }
  WorkerProcess Worker(const std::string& backend, std::vector<std::string> environment = {}) {
    return WorkerProcess(Arguments(backend, gateway_), TRAINYARD_WORKER, std::move(environment));
  }
  std::vector<std::string> ProgramArguments(const std::string& backend) {
    std::vector<std::string> arguments = Arguments(backend, gateway_);
    arguments.insert(arguments.end(), {"--programs", "container"});
    return arguments;
  }
  // Of a program that fails, saying which GPUs it sees.
  std::string EndOfProgram(int64_t attempt, v1::Resources::Gpu wish = v1::Resources::NONE) {
    const std::string script =
        R"(echo "{\"error\": \"it sees '$CUDA_VISIBLE_DEVICES'\"}" >> "$TRAINYARD_METRICS_FILE")";
    v1::Start start = SmallStart(SmallJob(1), gateway_.Store(Tar({{"train.sh", script}})), attempt);
    start.mutable_spec()->mutable_resources()->set_gpu(wish);
    v1::Program& program = *start.mutable_spec()->mutable_program();
    program.set_framework("other");
    for (const char* word : {"sh", "train.sh"}) program.add_command(word);
    gateway_.SendStart(start);
    return gateway_.WaitForEnd(attempt).ended()->message();
  }
  static v1::RegisterRequest Registered(FakeGateway& gateway) {
    return gateway.WaitFor("a registration", [](const Record& r) { return !r.registered.empty(); })
        .registered.back();
  }
  // Runs the attempt on a worker of its own: from a checkpoint if one is named, to the end of this
  // epoch if one is.
  Record RunOn(const std::string& backend, const v1::JobSpec& spec, int64_t attempt,
               const std::string& from = "", int until_epoch = 0) {
    WorkerProcess worker = Worker(backend);
    Send(spec, attempt, from, until_epoch);
    const Record record = gateway_.WaitForEnd(attempt);
    EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
    EndSession(worker);
    return record;
  }
  void Send(const v1::JobSpec& spec, int64_t attempt, const std::string& from = "",
            int until_epoch = 0) {
    v1::Start start = SmallStart(spec, snapshot_, attempt);
    start.set_checkpoint_sha256(from);
    start.set_until_epoch(until_epoch);
    gateway_.SendStart(start);
  }
  // A worker that is killed, and whose session is over.
  void EndSession(WorkerProcess& worker) {
    worker.Signal(SIGKILL);
    worker.Wait();
    gateway_.WaitFor("the session's end", [](const Record& r) { return r.sessions_open == 0; });
  }
  engine::Checkpoint Parsed(const v1::CheckpointReport& report) {
    return engine::ParseCheckpoint(gateway_.blob(report.sha256()));
  }

  TestFolder folder_;
  FakeGateway gateway_;
  const std::string snapshot_ = gateway_.Store(SmallSnapshot());
};

TEST_F(GpuWorkerTest, RegistersItsGpuAndTellsItsUse) {
  WorkerProcess worker = Worker("auto", {"TRAINYARD_EMULATED_GPU_MIB=640"});
  const v1::RegisterRequest identity = Registered(gateway_);
  EXPECT_EQ(identity.device(), "cuda, Emulated GPU 0");
  EXPECT_TRUE(identity.gpu());
  EXPECT_EQ(identity.gpu_memory_bytes(), int64_t{640} << 20);
  EXPECT_EQ(identity.gpu_device().name(), "Emulated GPU 0");
  EXPECT_EQ(identity.gpu_device().uuid(), Uuid(0));
  EXPECT_EQ(identity.gpu_device().memory_bytes(), int64_t{640} << 20);
  EXPECT_EQ(identity.gpu_device().driver(), "CUDA 13.0");
  EXPECT_EQ(identity.gpu_device().compute_capability(), "9.0");
  const Record record = gateway_.WaitFor("its use", [](const Record& r) {
    return !r.renewals.empty() && r.renewals.back().has_gpu_use();
  });
  EXPECT_EQ(record.renewals.back().gpu_use().memory_used_bytes(), 0);
  EXPECT_EQ(record.renewals.back().gpu_use().busy_percent(), -1) << "NVML knows no such GPU";
}

TEST_F(GpuWorkerTest, KilledInMidTrainingTheNextOneEndsWithTheSameBytes) {
  const v1::JobSpec spec = SmallJob(6);
  const std::string expected = RunOn("cuda", spec, 1).checkpoints().back().sha256();
  const size_t known = gateway_.record().checkpoints().size();
  {
    WorkerProcess worker = Worker("cuda");
    Send(spec, 2);
    gateway_.WaitFor("a checkpoint",
                     [&](const Record& r) { return r.checkpoints().size() > known; });
    EndSession(worker);
  }
  // Of an early epoch, unless this machine stalled for all six.
  const v1::CheckpointReport left = gateway_.record().checkpoints()[known];
  EXPECT_THAT(Parsed(left).fingerprint, StartsWith("emulated "));
  const Record record = RunOn("cuda", spec, 3, left.sha256());
  EXPECT_EQ(record.checkpoints().back().sha256(), expected);
  EXPECT_TRUE(record.epochs().back().exact());
}

TEST_F(GpuWorkerTest, ACheckpointGoesOnOnTheCpuAndBackAndIsNotExactFromThenOn) {
  const v1::JobSpec spec = SmallJob(3);
  const v1::CheckpointReport on_gpu = RunOn("cuda", spec, 1, "", 1).checkpoints().back();
  EXPECT_TRUE(Parsed(on_gpu).exact);
  const Record cpu = RunOn("cpu", spec, 2, on_gpu.sha256(), 2);
  const v1::CheckpointReport on_cpu = cpu.checkpoints().back();
  EXPECT_THAT(Parsed(on_cpu).fingerprint, StartsWith("cpu "));
  EXPECT_FALSE(Parsed(on_cpu).exact);
  EXPECT_FALSE(cpu.epochs().back().exact());
  const Record back = RunOn("cuda", spec, 3, on_cpu.sha256());
  EXPECT_THAT(Parsed(back.checkpoints().back()).fingerprint, StartsWith("emulated "));
  EXPECT_FALSE(Parsed(back.checkpoints().back()).exact);
  EXPECT_FALSE(back.epochs().back().exact());
}

TEST_F(GpuWorkerTest, LostInMidTrainingItSaysSoAndLeavesAndTheJobGoesOnElsewhere) {
  const std::string lost = folder_ / "lost";
  v1::JobSpec spec = SmallJob(100'000);
  WorkerProcess worker = Worker("cuda", {"TRAINYARD_EMULATED_GPU_LOST=" + lost});
  Send(spec, 1);
  gateway_.WaitFor("a checkpoint", [](const Record& r) { return !r.checkpoints().empty(); });
  std::ofstream(lost).close();
  EXPECT_EQ(worker.Wait(), 9);
  const Record record = gateway_.record();
  ASSERT_NE(record.ended(), nullptr);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::DEVICE_LOST);
  EXPECT_THAT(record.ended()->message(),
              AllOf(StartsWith("at step "), HasSubstr("cudaErrorECCUncorrectable")));
  EXPECT_THAT(record.goodbyes, testing::ElementsAre("its process can use its GPU no more"));

  gateway_.WaitFor("the session's end", [](const Record& r) { return r.sessions_open == 0; });
  const v1::CheckpointReport last = record.checkpoints().back();
  WorkerProcess other = Worker("cpu");
  Send(spec, 2, last.sha256());
  gateway_.WaitFor("a later checkpoint",
                   [&](const Record& r) { return r.checkpoints().back().step() > last.step(); });
}

TEST_F(GpuWorkerTest, AFailedKernelIsAFailureOfTheJobAndEndsTheWorkerToo) {
  const std::string fault = folder_ / "fault";
  WorkerProcess worker = Worker("cuda", {"TRAINYARD_EMULATED_GPU_FAULT=" + fault});
  Send(SmallJob(100'000), 1);
  gateway_.WaitFor("a checkpoint", [](const Record& r) { return !r.checkpoints().empty(); });
  std::ofstream(fault).close();
  EXPECT_EQ(worker.Wait(), 9);
  const Record record = gateway_.record();
  ASSERT_NE(record.ended(), nullptr);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::FAILED);
  EXPECT_THAT(record.ended()->message(),
              AllOf(StartsWith("at step "), HasSubstr("cudaErrorIllegalAddress")));
  EXPECT_THAT(record.goodbyes, testing::ElementsAre("its process can use its GPU no more"));
}

TEST_F(GpuWorkerTest, WhatDoesNotFitBesideOthersMayBeTriedAgain) {
  WorkerProcess worker =
      Worker("cuda", {"TRAINYARD_EMULATED_GPU_MIB=64", "TRAINYARD_EMULATED_GPU_USED_MIB=63"});
  v1::JobSpec large = SmallJob(1);
  large.mutable_configuration()->mutable_network()->mutable_layers(0)->mutable_conv()->set_filters(
      512);
  Send(large, 1);
  const Record record = gateway_.WaitForEnd(1);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::FAILED);
  EXPECT_THAT(record.ended()->message(),
              AllOf(HasSubstr(" MiB, and the device has 1 MiB free of 64 MiB"),
                    HasSubstr("others use the device now")));
}

TEST_F(GpuWorkerTest, WhatDoesNotFitIsOutOfMemoryNamingNeedAndRoom) {
  WorkerProcess worker = Worker("cuda", {"TRAINYARD_EMULATED_GPU_MIB=3"});
  v1::JobSpec large = SmallJob(1);
  large.mutable_configuration()->mutable_network()->mutable_layers(0)->mutable_conv()->set_filters(
      512);
  Send(large, 1);
  const Record record = gateway_.WaitForEnd(1);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::OUT_OF_MEMORY);
  EXPECT_THAT(record.ended()->message(),
              AllOf(HasSubstr(" MiB, and the device has 3 MiB free of 3 MiB"), HasSubstr("need ")));
  // The worker goes on, also with what keeps off its GPU.
  v1::JobSpec on_cpu = SmallJob(1);
  on_cpu.mutable_resources()->set_gpu(v1::Resources::NONE);
  Send(on_cpu, 2);
  const Record after = gateway_.WaitForEnd(2);
  EXPECT_EQ(after.ended()->outcome(), AttemptEnded::COMPLETED) << after.ended()->message();
  EXPECT_THAT(Parsed(after.checkpoints().back()).fingerprint, StartsWith("cpu "));
}

TEST_F(GpuWorkerTest, EachTakesOneThatNoOtherHas) {
  const std::vector<std::string> two = {"TRAINYARD_EMULATED_GPUS=2"};
  FakeGateway gateways[3];
  const auto start = [&](int i, const std::string& backend) {
    return WorkerProcess(Arguments(backend, gateways[i]), TRAINYARD_WORKER, two);
  };
  WorkerProcess first = start(0, "cuda");
  EXPECT_EQ(Registered(gateways[0]).gpu_device().uuid(), Uuid(0));
  WorkerProcess second = start(1, "auto");
  EXPECT_EQ(Registered(gateways[1]).gpu_device().uuid(), Uuid(1));

  EXPECT_EQ(start(2, "cuda").Wait(), 2);
  WorkerProcess third = start(2, "auto");
  const v1::RegisterRequest identity = Registered(gateways[2]);
  EXPECT_EQ(identity.device(), "cpu, 1 thread");
  EXPECT_FALSE(identity.gpu());
  EXPECT_FALSE(identity.has_gpu_device());

  // A claim ends with its process, however that ends.
  first.Signal(SIGKILL);
  first.Wait();
  WorkerProcess fourth = Worker("cuda", two);
  EXPECT_EQ(Registered(gateway_).gpu_device().uuid(), Uuid(0));
}

TEST_F(GpuWorkerTest, TakesOnlyWhatIsVisible) {
  WorkerProcess worker =
      Worker("cuda", {"TRAINYARD_EMULATED_GPUS=3", "CUDA_VISIBLE_DEVICES=" + Uuid(2) + ",1"});
  EXPECT_EQ(Registered(gateway_).gpu_device().uuid(), Uuid(2));
}

TEST_F(GpuWorkerTest, ProgramsOfUsersSeeItsGpuAlone) {
  WorkerProcess worker(ProgramArguments("cuda"), TRAINYARD_WORKER,
                       {"TRAINYARD_EMULATED_GPUS=2", "CUDA_VISIBLE_DEVICES=1,0"});
  EXPECT_THAT(EndOfProgram(1), HasSubstr("it sees '" + Uuid(1) + "'"));
}

TEST_F(GpuWorkerTest, ProgramsSeeNoGpuWhereAllAreTakenAndAreRefusedIfTheyNeedOne) {
  FakeGateway other;
  WorkerProcess first(Arguments("cuda", other));
  EXPECT_EQ(Registered(other).gpu_device().uuid(), Uuid(0));
  WorkerProcess worker(ProgramArguments("auto"), TRAINYARD_WORKER, {"CUDA_VISIBLE_DEVICES=0"});
  EXPECT_THAT(EndOfProgram(1), HasSubstr("it sees ''"));
  EXPECT_EQ(EndOfProgram(2, v1::Resources::REQUIRED),
            "the job needs a GPU, and this worker trains on the CPU: the GPU Emulated GPU 0 is "
            "taken by another worker");
}

TEST_F(GpuWorkerTest, APartOfAGpuIsClaimedAndShownByTheNameThatShowsIt) {
  const std::string part = "MIG-00000000-0000-0000-0000-000000000001";
  const std::vector<std::string> environment = {"TRAINYARD_EMULATED_GPUS=2",
                                                "CUDA_VISIBLE_DEVICES=" + part};
  WorkerProcess worker(ProgramArguments("cuda"), TRAINYARD_WORKER, environment);
  EXPECT_EQ(Registered(gateway_).gpu_device().uuid(), part);
  EXPECT_THAT(EndOfProgram(1), HasSubstr("it sees '" + part + "'"));
  EXPECT_EQ(Worker("cuda", environment).Wait(), 2) << "it is taken";
}

TEST_F(GpuWorkerTest, WithoutADriverItTrainsOnTheCpuOrRefuses) {
  EXPECT_EQ(Worker("cuda", {"TRAINYARD_EMULATED_GPUS=0"}).Wait(), 2);
  EXPECT_EQ(Worker("cuda", {"TRAINYARD_EMULATED_GPU_MAJOR=7"}).Wait(), 2);
  WorkerProcess worker = Worker("auto", {"TRAINYARD_EMULATED_GPUS=0"});
  EXPECT_EQ(Registered(gateway_).device(), "cpu, 1 thread");
  v1::JobSpec needs_gpu = SmallJob(1);
  needs_gpu.mutable_resources()->set_gpu(v1::Resources::REQUIRED);
  Send(needs_gpu, 1);
  const Record record = gateway_.WaitForEnd(1);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::FAILED);
  EXPECT_THAT(record.ended()->message(),
              AllOf(StartsWith("the job needs a GPU, and this worker trains on the CPU: "),
                    HasSubstr("no NVIDIA driver is here")));
}

// A worker with no CUDA module, or one that is broken in some way, and what it says of that.
struct BrokenModule {
  const char* name;
  const char* target;  // the module is a link to it; else
  const char* text;    // a file with this text; else it is not there
  const char* reason;
};

class BrokenModuleTest : public GpuWorkerTest, public testing::WithParamInterface<BrokenModule> {};

INSTANTIATE_TEST_SUITE_P(
    Modules, BrokenModuleTest,
    testing::Values(
        BrokenModule{"Absent", nullptr, nullptr, "the CUDA module is not installed"},
        BrokenModule{"ATextFile", nullptr, "no module\n",
                     "libtrainyard_cuda.so cannot be loaded: "},
        BrokenModule{"MissesALibrary", TRAINYARD_MODULE_THAT_MISSES_A_LIBRARY, nullptr,
                     "cannot be loaded: libcuda_missing.so: cannot open shared object file"},
        BrokenModule{"NoDriver", TRAINYARD_MODULE_WITHOUT_DRIVER, nullptr, TRAINYARD_NO_DRIVER}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_P(BrokenModuleTest, TheWorkerSaysSoInOneLineAndTrainsOnTheCpu) {
  const BrokenModule& broken = GetParam();
  std::filesystem::copy_file(TRAINYARD_WORKER, folder_ / "trainyard-worker");
  const std::string module = folder_ / "libtrainyard_cuda.so", log = folder_ / "log";
  if (broken.target != nullptr) std::filesystem::create_symlink(broken.target, module);
  if (broken.text != nullptr) std::ofstream(module) << broken.text;
  WorkerProcess worker(Arguments("auto", gateway_), folder_ / "trainyard-worker",
                       {"CUDA_VISIBLE_DEVICES=", "TRAINYARD_EMULATED_GPUS=0"}, log);
  Send(SmallJob(1), 1);
  const Record record = gateway_.WaitForEnd(1);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  EXPECT_THAT(Parsed(record.checkpoints().back()).fingerprint, StartsWith("cpu "));
  EndSession(worker);
  std::vector<std::string> said;
  std::ifstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("trains on the CPU: ") != std::string::npos) said.push_back(line);
  }
  EXPECT_THAT(said, testing::ElementsAre(HasSubstr(broken.reason)));
}

}  // namespace
}  // namespace trainyard::agent
