// Why there are no GPUs is said in one line, whatever is wrong with the CUDA module; and what is
// right with it crosses its border: programs, results, exceptions by their type.
#include "kernels/cuda_module.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/cuda/module.h"
#include "tests/kernels/agreement.h"

namespace trainyard::kernels {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

const fs::path kStandIns = TRAINYARD_STAND_INS;

// Before the emulated module is loaded, which makes up GPUs by these. Not what the machine shows.
const bool kEnvironment = [] {
  setenv("TRAINYARD_EMULATED_GPUS", "2", 1);
  setenv("TRAINYARD_EMULATED_GPU_MIB", "64", 1);
  unsetenv("CUDA_VISIBLE_DEVICES");
  return true;
}();

std::string ProblemOf(const std::string& path) {
  const CudaProbe probe = ProbeCuda({path});
  EXPECT_THAT(probe.devices, IsEmpty());
  EXPECT_THAT(probe.problem, Not(HasSubstr("\n")));
  return probe.problem;
}

TEST(CudaModule, AbsentIsSaidWithWhereItWasLookedFor) {
  const CudaProbe probe = ProbeCuda({"/nowhere/a.so", "/nowhere/b.so"});
  EXPECT_THAT(probe.devices, IsEmpty());
  EXPECT_EQ(probe.problem, "the CUDA module is not installed (no /nowhere/a.so, /nowhere/b.so)");
}

TEST(CudaModule, ATextFileIsSaidToBeNone) {
  const fs::path path = fs::path(::testing::TempDir()) / "cuda_module_text.so";
  std::ofstream(path) << std::string(4096, 'x');
  EXPECT_THAT(ProblemOf(path),
              AllOf(HasSubstr(path.string() + " cannot be loaded: "), HasSubstr("ELF")));
  std::ofstream(path, std::ios::trunc).close();
  EXPECT_THAT(ProblemOf(path), HasSubstr("cannot be loaded: "));
  fs::remove(path);
}

TEST(CudaModule, ALibraryOfSomethingElseIsSaidToBeNone) {
  EXPECT_THAT(ProblemOf(kStandIns / "cuda_without_entry.so"),
              AllOf(HasSubstr("is no CUDA module"), HasSubstr(cuda::kModuleEntry)));
}

TEST(CudaModule, AnotherVersionIsNotAsked) {
  EXPECT_THAT(ProblemOf(kStandIns / "cuda_newer.so"),
              HasSubstr("found version 4711 of its interface, expected " +
                        std::to_string(cuda::kModuleVersion)));
}

TEST(CudaModule, AnotherBuildOfTheSameVersionIsNotAsked) {
  EXPECT_THAT(ProblemOf(kStandIns / "cuda_other_build.so"),
              AllOf(HasSubstr("is of another build: found \"of yesterday\", expected \""),
                    HasSubstr(cuda::kModuleBuild)));
}

TEST(CudaModule, ALibraryThatItNeedsIsNamedWhenMissing) {
  EXPECT_THAT(ProblemOf(kStandIns / "cuda_misses_library.so"),
              HasSubstr("cannot be loaded: libcuda_missing.so: cannot open shared object file"));
}

TEST(CudaModule, TheFirstPathThatIsThereCounts) {
  const CudaProbe probe =
      ProbeCuda({"/nowhere/a.so", kStandIns / "cuda_whole.so", kStandIns / "cuda_newer.so"});
  EXPECT_EQ(probe.problem, "");
  EXPECT_EQ(probe.versions, "CUDA 13.0, cuBLASLt 13.1.0, cuDNN 9.19.0");
  ASSERT_EQ(probe.devices.size(), 1u);
  EXPECT_EQ(probe.devices[0].name, "A GPU");
  EXPECT_EQ(probe.devices[0].uuid, "GPU-00000000");
  EXPECT_EQ(probe.devices[0].memory_bytes, int64_t{80} << 30);
  EXPECT_EQ(probe.devices[0].compute_major, 9);
  EXPECT_EQ(probe.driver, "580.65.06");
  EXPECT_EQ(probe.visible_count, 2);
}

TEST(CudaModule, TellsTheUseOfAGpu) {
  const std::vector<std::string> paths = {kStandIns / "cuda_whole.so"};
  const CudaUse known = UseOfCuda("GPU-00000000", paths);
  EXPECT_EQ(known.memory_used_bytes, int64_t{3} << 30);
  EXPECT_EQ(known.busy_percent, 70);
  const CudaUse unknown = UseOfCuda("GPU-00000001", paths);
  EXPECT_EQ(unknown.memory_used_bytes, -1);
  EXPECT_EQ(unknown.busy_percent, -1);
}

// What a call throws, by its type.
std::string Thrown(const std::function<void()>& call) {
  try {
    call();
  } catch (const OutOfMemory& error) {
    return std::string("OutOfMemory: ") + error.what();
  } catch (const Unavailable& error) {
    return std::string("Unavailable: ") + error.what();
  } catch (const KernelFailed& error) {
    return std::string("KernelFailed: ") + error.what();
  } catch (const DeviceLost& error) {
    return std::string("DeviceLost: ") + error.what();
  } catch (const Error& error) {
    return std::string("Error: ") + error.what();
  }
  return "nothing";
}

TEST(CudaModule, ExceptionsAreCaughtByTypeAcrossItsBorder) {
  const auto lower = [](const std::string& kind) {
    return Thrown([&] {
      LoadCudaBackend({.cache_folder = kind, .gpu = "GPU"}, {kStandIns / "cuda_whole.so"})
          ->Lower({});
    });
  };
  EXPECT_EQ(lower("full"), "OutOfMemory: it is full");
  EXPECT_EQ(lower("lost"), "DeviceLost: it is lost");
  EXPECT_EQ(lower("kernel"), "KernelFailed: a kernel failed");
  EXPECT_EQ(lower("busy"), "Unavailable: others use it");
  EXPECT_EQ(lower(""), "Error: it cannot");
}

TEST(CudaModule, WhereThereIsNoneNoBackendIsMade) {
  EXPECT_EQ(Thrown([] { LoadCudaBackend({}, {"/nowhere/a.so"}); }),
            "Error: backend cuda: the CUDA module is not installed (no /nowhere/a.so)");
  EXPECT_EQ(Thrown([] { LoadCudaBackend({}, {kStandIns / "cuda_whole.so"}); }),
            "Error: backend cuda: no GPU was named");
}

// ---- The backend itself, on the emulated machine. ----

const std::vector<std::string> kEmulated = {TRAINYARD_EMULATED_CUDA_MODULE};

Graph SmallGraph(int batch_size) {
  testing::GraphMaker maker({1, 6, 6}, batch_size, 3);
  maker.Linear(maker.Relu(maker.Conv3x3(0, 4)), 3);
  return maker.graph();
}

TEST(EmulatedCudaModule, ListsTheGpusThatWereMadeUp) {
  const CudaProbe probe = ProbeCuda(kEmulated);
  EXPECT_EQ(probe.problem, "");
  EXPECT_EQ(probe.versions, "CUDA 13.0");
  EXPECT_EQ(probe.driver, "CUDA 13.0") << "where the driver does not tell its version";
  ASSERT_EQ(probe.devices.size(), 2u);
  EXPECT_EQ(probe.devices[1].name, "Emulated GPU 1");
  EXPECT_EQ(probe.devices[1].uuid, "GPU-00000000-0000-0000-0000-000000000001");
  EXPECT_EQ(probe.devices[1].memory_bytes, int64_t{64} << 20);
}

TEST(EmulatedCudaModule, ComputesAsReferenceDoesOnEachGpu) {
  const Graph graph = SmallGraph(4);
  const std::unique_ptr<Backend> reference = MakeBackend({"reference"});
  for (const CudaDevice& device : ProbeCuda(kEmulated).devices) {
    const std::unique_ptr<Backend> cuda = LoadCudaBackend({.gpu = device.uuid}, kEmulated);
    testing::ExpectAgreement(*cuda, *reference, graph, 4, false);
  }
}

TEST(EmulatedCudaModule, AGpuThatIsNotThereIsNamed) {
  EXPECT_THAT(Thrown([] { LoadCudaBackend({.gpu = "GPU-7"}, kEmulated); }),
              "DeviceLost: found no usable GPU GPU-7 among 2");
}

TEST(EmulatedCudaModule, WhatDoesNotFitIsOutOfMemoryWithNeedAndRoom) {
  const std::unique_ptr<Backend> cuda = LoadCudaBackend({}, kEmulated);
  EXPECT_THAT(Thrown([&] { cuda->Lower(testing::KerasCnn(4096)); }),
              AllOf(StartsWith("OutOfMemory: "), HasSubstr("need "),
                    HasSubstr("the device has 64 MiB free of 64 MiB")));
}

TEST(EmulatedCudaModule, TellsHowMuchMemoryIsUsed) {
  const std::string uuid = ProbeCuda(kEmulated).devices[0].uuid;
  EXPECT_EQ(UseOfCuda(uuid, kEmulated).memory_used_bytes, 0);
  const std::unique_ptr<Program> program = LoadCudaBackend({}, kEmulated)->Lower(SmallGraph(4));
  EXPECT_GE(UseOfCuda(uuid, kEmulated).memory_used_bytes, program->MemoryBytes());
}

TEST(CudaModule, IsLookedForBesideTheProgramFirst) {
  const std::vector<std::string> paths = CudaModulePaths();
  ASSERT_EQ(paths.size(), 3u);
  EXPECT_EQ(fs::path(paths[0]).parent_path(), fs::read_symlink("/proc/self/exe").parent_path());
  EXPECT_THAT(paths[1], HasSubstr("/lib/trainyard/"));
  EXPECT_EQ(paths[2], "/usr/lib/trainyard/libtrainyard_cuda.so");
}

#ifdef TRAINYARD_CUDA_MODULE
// A copy of the module in which the name of a library that it needs is another one.
TEST(CudaModule, TheRealOneWithoutCudnnNamesIt) {
  std::ostringstream bytes;
  bytes << std::ifstream(TRAINYARD_CUDA_MODULE, std::ios::binary).rdbuf();
  std::string module = bytes.str();
  const std::string found = "libcudnn.so.9", absent = "libnodnn.so.9";
  size_t at = module.find(found);
  ASSERT_NE(at, std::string::npos);
  for (; at != std::string::npos; at = module.find(found, at)) {
    module.replace(at, found.size(), absent);
  }
  const fs::path path = fs::path(::testing::TempDir()) / "cuda_module_without_cudnn.so";
  std::ofstream(path, std::ios::binary) << module;
  EXPECT_THAT(ProblemOf(path), HasSubstr("cannot be loaded: libnodnn.so.9: cannot open shared"));
  fs::remove(path);
}

TEST(CudaModule, TheRealOneWithoutADriverMakesNoBackend) {
  if (fs::exists("/proc/driver/nvidia/version")) GTEST_SKIP() << "a driver is here";
  EXPECT_EQ(Thrown([] { LoadCudaBackend({}, {TRAINYARD_CUDA_MODULE}); }),
            "Error: backend cuda: no NVIDIA driver is here (libcuda.so.1)");
}

TEST(CudaModule, TheRealOneListsGpusOrSaysThatThereIsNoDriver) {
  const CudaProbe probe = ProbeCuda({TRAINYARD_CUDA_MODULE});
  EXPECT_THAT(probe.versions, StartsWith("CUDA 1")) << probe.problem;
  EXPECT_THAT(probe.versions, HasSubstr("cuDNN 9."));
  if (!fs::exists("/proc/driver/nvidia/version")) {
    EXPECT_EQ(probe.problem, "no NVIDIA driver is here (libcuda.so.1)");
    return;
  }
  EXPECT_EQ(probe.devices.empty(), !probe.problem.empty());
  for (const CudaDevice& device : probe.devices) {
    EXPECT_THAT(device.uuid, ::testing::MatchesRegex("GPU-[-0-9a-f]+"));
    EXPECT_EQ(device.uuid.size(), 40u);
    EXPECT_GT(device.memory_bytes, int64_t{1} << 30);
    EXPECT_GE(device.compute_major, 7);
  }
}

TEST(CudaModule, TheRealOneComputesAsReferenceDoesOnEachGpu) {
  const std::vector<std::string> real = {TRAINYARD_CUDA_MODULE};
  const CudaProbe probe = ProbeCuda(real);
  if (probe.devices.empty()) GTEST_SKIP() << probe.problem;
  const Graph graph = SmallGraph(4);
  const std::unique_ptr<Backend> reference = MakeBackend({"reference"});
  for (const CudaDevice& device : probe.devices) {
    const std::unique_ptr<Backend> cuda = LoadCudaBackend({.gpu = device.uuid}, real);
    testing::ExpectAgreement(*cuda, *reference, graph, 4, false);
    EXPECT_GT(UseOfCuda(device.uuid, real).memory_used_bytes, 0);
  }
}
#endif

}  // namespace
}  // namespace trainyard::kernels
