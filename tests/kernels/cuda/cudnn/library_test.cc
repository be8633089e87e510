// cuDNN has a plan for the layers of the networks we train, on the GPUs we train on; plans are made
// once and kept.
#include "kernels/cuda/cudnn/library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <thread>

#include "kernels/cuda/cudnn/plan_files.h"
#include "tests/kernels/cuda/cudnn/folder.h"
#include "tests/kernels/cuda/cudnn/layers.h"
#include "tests/kernels/cuda/cudnn/planner.h"
#include "tests/kernels/cuda/support/refusal.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Setting {
  const char* device;
  Precision precision;
};

class EveryLayer : public ::testing::TestWithParam<Setting> {};

// Whether cuDNN must have a plan. Of floats none with a ReLU is taken; and on sm_80 its tf32
// engines turn NHWC tensors to NCHW and back: of the largest layers that is more workspace than we
// allow.
bool MustHave(const Setting& setting, const ConvGraph& graph) {
  if (setting.precision == Precision::kFp32) return !graph.relu;
  const bool turned = setting.precision == Precision::kTf32 && setting.device == kDevices[0];
  return !turned || graph.shape.in_size() + graph.shape.out_size() < 80'000'000;
}

TEST_P(EveryLayer, HasDeterministicPlansThatKeepToPrecisionAndWorkspace) {
  const auto [device, precision] = GetParam();
  const CudnnOptions options = PlannerOptions(device);
  Cudnn cudnn(options);
  int planned = 0;
  for (const Layer& layer : AllLayers()) {
    for (const ConvGraph& graph :
         {Forward(layer, precision), BackwardFilter(layer, precision),
          BackwardData(layer, precision, false), BackwardData(layer, precision, true)}) {
      const CudnnPlan* const plan = cudnn.PlanFor(graph);
      if (plan == nullptr) {
        EXPECT_FALSE(MustHave(GetParam(), graph)) << graph.Key();
        continue;
      }
      EXPECT_THAT(plan->engine(), StartsWith("e"));
      EXPECT_GE(plan->workspace_bytes(), 0);
      EXPECT_LE(plan->workspace_bytes(), options.workspace_limit_bytes) << graph.Key();
      EXPECT_EQ(cudnn.PlanFor(graph), plan);
      ++planned;
    }
  }
  EXPECT_GT(planned, 150);
  EXPECT_EQ(cudnn.counts().read, 0);
}

INSTANTIATE_TEST_SUITE_P(Gpus, EveryLayer,
                         ::testing::Values(Setting{kDevices[0], Precision::kFp32},
                                           Setting{kDevices[0], Precision::kTf32},
                                           Setting{kDevices[0], Precision::kBf16},
                                           Setting{kDevices[1], Precision::kFp32},
                                           Setting{kDevices[1], Precision::kTf32},
                                           Setting{kDevices[1], Precision::kBf16}),
                         [](const auto& setting) {
                           return std::string(setting.param.device) + "_" +
                                  PrecisionName(setting.param.precision);
                         });

// bf16 with a bias and a leaky activation: compiled at run time, which takes a second.
ConvGraph Fused() {
  ConvGraph graph;
  graph.shape = {32, 14, 14, 64, 14, 14, 128, 3, 3, 1, 1, 1, 1, 1};
  graph.precision = Precision::kBf16;
  graph.bias = graph.relu = true;
  graph.slope = 0.125f;
  return graph;
}

ConvGraph Plain(int channels = 64) {
  ConvGraph graph;
  graph.shape = {32, 14, 14, channels, 14, 14, 128, 3, 3, 1, 1, 1, 1, 1};
  graph.precision = Precision::kBf16;
  return graph;
}

std::string FileOf(const Folder& folder) {
  std::string file;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path + "/cudnn")) {
    EXPECT_EQ(file, "") << "one file for one plan";
    file = entry.path();
  }
  return file;
}

TEST(CudnnPlans, AreReadByTheNextProgramAndAreTheSame) {
  const Folder folder;
  for (const ConvGraph& graph : {Plain(), Fused()}) {
    Cudnn first(PlannerOptions("h100", folder.path));
    const CudnnPlan* const made = first.PlanFor(graph);
    ASSERT_NE(made, nullptr) << graph.Key();
    EXPECT_EQ(first.counts().made, 1);
    Cudnn second(PlannerOptions("h100", folder.path));
    const CudnnPlan* const read = second.PlanFor(graph);
    ASSERT_NE(read, nullptr);
    EXPECT_EQ(second.counts().made, 0);
    EXPECT_EQ(second.counts().read, 1);
    EXPECT_EQ(read->engine(), made->engine());
    EXPECT_EQ(read->workspace_bytes(), made->workspace_bytes());
  }
}

TEST(CudnnPlans, AreMadeAnewForWhateverIsOther) {
  const Folder folder;
  auto counts = [&](const CudnnOptions& options, const ConvGraph& graph) {
    Cudnn cudnn(options);
    EXPECT_NE(cudnn.PlanFor(graph), nullptr);
    return cudnn.counts();
  };
  const CudnnOptions options = PlannerOptions("h100", folder.path);
  EXPECT_EQ(counts(options, Plain()).made, 1);
  EXPECT_EQ(counts(options, Plain()).read, 1);
  EXPECT_EQ(counts(options, Plain(72)).made, 1) << "another shape";
  EXPECT_EQ(counts(PlannerOptions("a100", folder.path), Plain()).made, 1) << "another device";
  CudnnOptions smaller = options;
  smaller.workspace_limit_bytes = 1 << 20;
  EXPECT_EQ(counts(smaller, Plain()).made, 1) << "another limit";
  CudnnOptions newer = options;
  newer.device += " driver=13010";
  EXPECT_EQ(counts(newer, Plain()).made, 1) << "another driver";
}

TEST(CudnnPlans, ThatAreTornOrNoneAreMadeAnewAndReplaced) {
  const Folder folder;
  const CudnnOptions options = PlannerOptions("h100", folder.path);
  const std::string engine = Cudnn(options).PlanFor(Plain())->engine();
  const std::string file = FileOf(folder);
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  Cudnn after_a_crash(options);
  EXPECT_EQ(after_a_crash.PlanFor(Plain())->engine(), engine);
  EXPECT_EQ(after_a_crash.counts().made, 1);
  EXPECT_EQ(FileOf(folder), file);

  // Whole, but what cuDNN does not take.
  std::ifstream in(file, std::ios::binary);
  std::string version, hash, key;
  std::getline(in, version);
  std::getline(in, hash);
  std::getline(in, key);
  const PlanFiles files(folder.path + "/cudnn");
  ASSERT_TRUE(files.Read(key));
  files.Write(key, {"e999", "{\"no\":\"plan\"}"});
  Cudnn after_a_change(options);
  EXPECT_EQ(after_a_change.PlanFor(Plain())->engine(), engine);
  EXPECT_EQ(after_a_change.counts().made, 1);
  EXPECT_EQ(files.Read(key)->engine, engine);
  EXPECT_THAT(key, AllOf(HasSubstr("cudnn 9."), HasSubstr("; h100; "), HasSubstr(Plain().Key())));
}

TEST(CudnnPlans, AreSharedByProgramsThatStartTogether) {
  const Folder folder;
  std::vector<std::string> engines(4);
  std::vector<std::thread> programs;
  for (std::string& engine : engines) {
    programs.emplace_back([&] {
      Cudnn cudnn(PlannerOptions("h100", folder.path));
      engine = cudnn.PlanFor(Plain())->engine();
    });
  }
  for (std::thread& program : programs) program.join();
  EXPECT_THAT(engines, ::testing::Each(engines[0]));
  Cudnn later(PlannerOptions("h100", folder.path));
  EXPECT_EQ(later.PlanFor(Plain())->engine(), engines[0]);
  EXPECT_EQ(later.counts().read, 1);
}

TEST(CudnnPlans, AreMadeWhereNothingCanBeKept) {
  const Folder folder;
  std::ofstream(folder.path + "/file") << "no folder";
  for (const std::string& cache : {std::string(), folder.path + "/file"}) {
    Cudnn cudnn(PlannerOptions("h100", cache));
    EXPECT_NE(cudnn.PlanFor(Plain()), nullptr);
    EXPECT_EQ(cudnn.counts().made, 1);
  }
}

TEST(CudnnPlans, OfNoAdmittedEngineAreNullEachTime) {
  CudnnOptions options = PlannerOptions("h100");
  options.workspace_limit_bytes = -1;
  Cudnn cudnn(options);
  EXPECT_EQ(cudnn.PlanFor(Plain()), nullptr);
  EXPECT_EQ(cudnn.PlanFor(Plain()), nullptr);
  EXPECT_EQ(cudnn.counts().refused, 1);
}

TEST(CudnnPlans, OfWrongShapesAreRefusedWithTheGraphAndCudnnsReason) {
  ConvGraph graph = Plain();
  graph.shape.out_h = 9;
  Cudnn cudnn(PlannerOptions("h100"));
  EXPECT_THAT(Refusal([&] { cudnn.PlanFor(graph); }),
              StartsWith("cudnn forward 32x14x14x64 -> 9x14x128, kernel 3x3, stride 1x1, padding "
                         "1 1, groups 1, bf16: the convolution: CUDNN_STATUS_BAD_PARAM: "));
}

TEST(CudnnPlans, ForADescribedDeviceAreNotExecuted) {
  Cudnn cudnn(PlannerOptions("h100"));
  CudnnPlan* const plan = cudnn.PlanFor(Plain());
  EXPECT_EQ(Refusal([&] { plan->Execute({}, nullptr); }),
            "planned for a device that is only described");
}

TEST(CudnnVersion, IsThatOfTheLibrary) {
  EXPECT_THAT(Cudnn(PlannerOptions("h100")).Describe(),
              ::testing::MatchesRegex("cudnn 9\\.[0-9]+\\.[0-9]+"));
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
