// What becomes of a program when its device is lost, or has too little memory: on the emulated
// machine, which can be told to have such faults.
#include "kernels/cuda/emulation/faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/resources.h"
#include "tests/kernels/agreement.h"
#include "tests/kernels/cuda/networks.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

using cuda::CheckCuda;
using cuda::MakeCudaBackend;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

// While it lives, every call of the runtime fails.
class WithFault {
 public:
  explicit WithFault(cudaError_t error) { cuda::emulation::fault = error; }
  ~WithFault() {
    cuda::emulation::fault = cudaSuccess;
    cudaGetLastError();
  }
};

// While it lives, the device has so much memory beyond what is allocated.
class WithMemoryLeft {
 public:
  explicit WithMemoryLeft(int64_t bytes) {
    const auto [free, total] = cuda::DeviceMemoryNow();
    cuda::emulation::device_bytes = static_cast<size_t>(total - free + bytes);
  }
  ~WithMemoryLeft() { cuda::emulation::device_bytes = 0; }
};

std::unique_ptr<Program> Lowered(const Graph& graph) {
  return MakeCudaBackend({.libraries = false})->Lower(graph);
}

template <typename Kind>
std::string Told(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    const bool right = dynamic_cast<const Kind*>(&error) != nullptr;
    return (right ? "" : "of another kind: ") + std::string(error.what());
  }
  return "nothing";
}

TEST(Faults, AreToldByTheirKind) {
  const auto check = [](cudaError_t status) { return [=] { CheckCuda(status, "a copy"); }; };
  EXPECT_EQ(Told<OutOfMemory>(check(cudaErrorMemoryAllocation)), "a copy: out of memory");
  EXPECT_EQ(Told<KernelFailed>(check(cudaErrorIllegalAddress)),
            "a copy: an illegal memory access was encountered (cudaErrorIllegalAddress; emulated "
            "machine)");
  for (const cudaError_t lost :
       {cudaErrorDevicesUnavailable, cudaErrorNoDevice, cudaErrorDeviceUninitialized,
        cudaErrorECCUncorrectable, cudaErrorContained, cudaErrorUnknown}) {
    EXPECT_THAT(Told<DeviceLost>(check(lost)), StartsWith("a copy: "));
    EXPECT_THAT(Told<DeviceLost>(check(lost)), HasSubstr(cudaGetErrorName(lost)));
    EXPECT_THAT(Told<KernelFailed>(check(lost)), StartsWith("of another kind: "));
  }
  // A kernel's fault ends this process's use of the GPU too.
  for (const cudaError_t failed :
       {cudaErrorIllegalAddress, cudaErrorMisalignedAddress, cudaErrorAssert,
        cudaErrorIllegalInstruction, cudaErrorInvalidPc, cudaErrorLaunchFailure}) {
    EXPECT_THAT(Told<KernelFailed>(check(failed)), StartsWith("a copy: "));
    EXPECT_THAT(Told<DeviceLost>(check(failed)), StartsWith("a copy: "));
  }
  EXPECT_EQ(Told<Error>(check(cudaErrorInvalidValue)), "a copy: invalid argument");
  EXPECT_THAT(Told<DeviceLost>(check(cudaErrorInvalidValue)), HasSubstr("of another kind"));
}

TEST(Faults, OfAStepKeepTheirKindAndNameIt) {
  cuda::Plan plan(Precision::kFp32);
  cudaError_t status = cudaErrorMemoryAllocation;
  plan.AddStep("layers.1 (conv) forward", {},
               [&](const cuda::Call&) { CheckCuda(status, "a kernel's launch"); });
  plan.Finish();
  const auto enqueue = [&] { plan.Enqueue({}); };
  EXPECT_EQ(Told<OutOfMemory>(enqueue),
            "layers.1 (conv) forward: a kernel's launch: out of memory");
  status = cudaErrorECCUncorrectable;
  EXPECT_THAT(Told<DeviceLost>(enqueue), HasSubstr("layers.1 (conv) forward: a kernel's launch: "));
  status = cudaErrorInvalidValue;
  EXPECT_THAT(Told<Error>(enqueue), HasSubstr("layers.1 (conv) forward: a kernel's launch: "));
}

TEST(Faults, ALostDeviceIsToldByWhateverComesNextAndEndsNothingElse) {
  const Graph graph = EveryOpNet(2);
  const Images images(graph, 6, 5);
  const std::vector<float> rates(graph.ops.size(), 0.25f);
  const StepScalars scalars = LivelyScalars(rates, false);
  const std::vector<int32_t> batch = FirstIndices(2);
  std::vector<float> gradients(graph.parameter_count);
  ProgramState state = RandomState(graph, 3);
  const std::unique_ptr<Program> witness = Lowered(graph);
  const std::vector<std::function<void(Program&)>> calls = {
      [&](Program& p) { p.TrainStep(images.set, batch, scalars); },
      [&](Program& p) { p.Evaluate(images.set, batch, {}); },
      [&](Program& p) { p.WriteState(state); },
      [&](Program& p) { p.ReadState(state); },
      [&](Program& p) { p.ReadGradients(gradients); },
      [&](Program&) { Lowered(graph); },
  };
  for (const auto& call : calls) {
    for (const bool used : {false, true}) {
      std::unique_ptr<Program> program = Lowered(graph);
      if (used) program->TrainStep(images.set, batch, scalars);
      const WithFault fault(cudaErrorECCUncorrectable);
      EXPECT_THAT(Told<DeviceLost>([&] { call(*program); }),
                  HasSubstr(": uncorrectable ECC error encountered (cudaErrorECCUncorrectable; "
                            "emulated machine)"));
      program.reset();  // neither throws nor waits
    }
  }
  EXPECT_TRUE(SameBytes(Trajectory(*witness, graph, 2), Trajectory(*Lowered(graph), graph, 2)));
}

TEST(Faults, ALostDeviceEndsProgramsWhoseImagesAreOnTheirWay) {
  const Graph graph = ResidualNet(2, 4);
  const Images images(graph, 600, 5);
  const std::vector<int32_t> all = FirstIndices(600);
  auto program = MakeCudaBackend({.libraries = false, .data_bytes_max = 1 << 16})->Lower(graph);
  program->Expect(images.set, all);
  program->Evaluate(images.set, std::span(all).first(2), {});
  const WithFault fault(cudaErrorLaunchFailure);
  EXPECT_THAT(
      Told<DeviceLost>([&] { program->Evaluate(images.set, std::span(all).subspan(2, 2), {}); }),
      HasSubstr("unspecified launch failure"));
  program.reset();
}

TEST(Faults, WhatDoesNotFitIsRefusedBeforehand) {
  const Graph graph = ResidualNet(8, 16);
  const int64_t needed = Lowered(graph)->MemoryBytes();
  {
    const WithMemoryLeft memory(needed / 2);
    EXPECT_THAT(Told<OutOfMemory>([&] { Lowered(graph); }),
                MatchesRegex("emulated: this network and batch size need [0-9]+ MiB, and the "
                             "device has [0-9]+ MiB free of [0-9]+ MiB; a smaller batch needs "
                             "less"));
  }
  // The network alone is not enough: its images want a place.
  const WithMemoryLeft memory(needed);
  EXPECT_THAT(Told<OutOfMemory>([&] { Lowered(graph); }), HasSubstr(" MiB free of "));
}

TEST(Faults, WhatDoesNotFitBesideOthersMayFitElsewhere) {
  const Graph graph = ResidualNet(8, 16);
  const int64_t needed = Lowered(graph)->MemoryBytes();
  std::optional<cuda::DeviceMemory> others(std::in_place, "others", needed);
  const WithMemoryLeft memory(needed / 2);
  EXPECT_THAT(Told<Unavailable>([&] { Lowered(graph); }),
              MatchesRegex("emulated: this network and batch size need [0-9]+ MiB, and the device "
                           "has [0-9]+ MiB free of [0-9]+ MiB; a smaller batch needs less; others "
                           "use the device now"));
  others.reset();
  EXPECT_EQ(Lowered(graph)->MemoryBytes(), needed);
}

TEST(Faults, ADataSetThatDoesNotFitStreams) {
  const Graph graph = ResidualNet(4, 4);
  const Images images(graph, 20000, 5), few(graph, 4, 6);
  const std::vector<int32_t> batch = {19999, 7, 3, 12345};
  const auto work = [&] {
    const std::unique_ptr<Program> program = Lowered(graph);
    program->WriteState(RandomState(graph, 3));
    const double loss = program->Evaluate(images.set, batch, {}).loss_sum +
                        program->Evaluate(few.set, FirstIndices(4), {}).loss_sum;
    return std::pair(loss, program->MemoryBytes());
  };
  const auto [expected, bytes] = work();
  const WithMemoryLeft memory(bytes - static_cast<int64_t>(images.pixels.size()) / 2);
  const auto [loss, bytes_streaming] = work();
  EXPECT_EQ(loss, expected);
  EXPECT_LT(bytes_streaming, bytes - static_cast<int64_t>(images.pixels.size()) / 2);
}

TEST(Faults, MemoryThatIsNotToBeHadIsNamed) {
  const WithMemoryLeft memory(int64_t{8} << 20);
  EXPECT_EQ(Told<OutOfMemory>([] { cuda::DeviceMemory("a test", int64_t{9} << 20); }),
            "a test: 9 MiB of device memory: out of memory");
  cuda::DeviceMemory fits("a test", int64_t{7} << 20);
}

}  // namespace
}  // namespace trainyard::kernels::testing
