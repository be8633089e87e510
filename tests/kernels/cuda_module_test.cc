// Why there are no GPUs is said in one line, whatever is wrong with the CUDA module.
#include "kernels/cuda_module.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "kernels/cuda/module.h"

namespace trainyard::kernels {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const fs::path kStandIns = TRAINYARD_STAND_INS;

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
  const fs::path path = fs::path(testing::TempDir()) / "cuda_module_text.so";
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
}

TEST(CudaModule, IsLookedForBesideTheProgramFirst) {
  const std::vector<std::string> paths = CudaModulePaths();
  ASSERT_EQ(paths.size(), 3u);
  EXPECT_EQ(fs::path(paths[0]).parent_path(), fs::read_symlink("/proc/self/exe").parent_path());
  EXPECT_THAT(paths[1], HasSubstr("/lib/trainyard/"));
  EXPECT_EQ(paths[2], "/usr/lib/trainyard/libtrainyard_cuda.so");
}

#ifdef TRAINYARD_CUDA_MODULE
TEST(CudaModule, TheRealOneListsGpusOrSaysThatThereIsNoDriver) {
  const CudaProbe probe = ProbeCuda({TRAINYARD_CUDA_MODULE});
  EXPECT_THAT(probe.versions, testing::StartsWith("CUDA 1")) << probe.problem;
  EXPECT_THAT(probe.versions, HasSubstr("cuDNN 9."));
  if (!fs::exists("/proc/driver/nvidia/version")) {
    EXPECT_EQ(probe.problem, "no NVIDIA driver is here (libcuda.so.1)");
    return;
  }
  EXPECT_EQ(probe.devices.empty(), !probe.problem.empty());
  for (const CudaDevice& device : probe.devices) {
    EXPECT_THAT(device.uuid, testing::MatchesRegex("GPU-[-0-9a-f]+"));
    EXPECT_EQ(device.uuid.size(), 40u);
    EXPECT_GT(device.memory_bytes, int64_t{1} << 30);
    EXPECT_GE(device.compute_major, 7);
  }
}
#endif

}  // namespace
}  // namespace trainyard::kernels
