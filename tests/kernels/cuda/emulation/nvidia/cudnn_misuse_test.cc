// What the emulated machine's cuDNN does with programs that use it wrongly, and what it offers so
// that such programs are found.
#include <gmock/gmock.h>

#include <set>

#include "tests/kernels/cuda/emulation/nvidia/cudnn_runs.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class CudnnUse : public ::testing::Test {
 protected:
  CudnnUse() { x_.Fill(random_), w_.Fill(random_); }

  Made ForwardGraph() {
    const Made forward = Forward(MakeConvolution(), x_.Describe(), w_.Describe(), y_.Describe());
    return Graph({&forward});
  }
  std::map<int64_t, void*> Tensors() {
    return {{1, x_.memory().data()}, {2, w_.memory().data()}, {3, y_.memory().data()}};
  }
  cudnnStatus_t Execute(const TestPlan& plan, const std::map<int64_t, void*>& tensors,
                        void* workspace) {
    const Made pack = Pack(tensors, workspace);
    return cudnnBackendExecute(cudnn_.handle(), plan.plan.handle(), pack.handle());
  }

  std::mt19937 random_{1};
  Array x_{1, {2, 4, 6, 6}}, w_{2, {8, 4, 3, 3}}, y_{3, {2, 8, 6, 6}};
  CudnnOnMachine cudnn_;
};

std::vector<std::vector<cudnnBackendNumericalNote_t>> Notes(const Made& graph,
                                                            cudnnBackendHeurMode_t mode) {
  std::vector<std::vector<cudnnBackendNumericalNote_t>> notes;
  for (const TestPlan& plan : Plans(graph, mode)) notes.push_back(plan.notes);
  return notes;
}

TEST_F(CudnnUse, EnginesThatMostProgramsMustNotTakeComeFirst) {
  using Note = std::vector<cudnnBackendNumericalNote_t>;
  const Note none, other_bits{CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC},
      tensor_core{CUDNN_NUMERICAL_NOTE_TENSOR_CORE};
  const Made alone = ForwardGraph();
  EXPECT_THAT(Notes(alone, CUDNN_HEUR_MODE_A), ElementsAre(other_bits, tensor_core, none));
  EXPECT_THAT(Notes(alone, CUDNN_HEUR_MODE_FALLBACK), ElementsAre(other_bits, none));
  const Made sum = MakeTensor(4, y_.dims, kFloat, kVirtual), y = y_.Describe();
  const Made forward = Forward(MakeConvolution(), x_.Describe(), w_.Describe(), sum);
  const Made relu = Pointwise(Mode(CUDNN_POINTWISE_RELU_FWD), sum, nullptr, &y);
  const Made fused = Graph({&forward, &relu});
  EXPECT_THAT(Notes(fused, CUDNN_HEUR_MODE_A), ElementsAre(other_bits, tensor_core));
  EXPECT_THAT(Notes(fused, CUDNN_HEUR_MODE_FALLBACK), ElementsAre(tensor_core, none));
}

TEST_F(CudnnUse, TheNondeterministicEngineGivesOtherBitsEachTime) {
  std::vector<TestPlan> plans = Plans(ForwardGraph());
  const auto different = [&](const TestPlan& plan) {
    std::set<std::vector<unsigned char>> results;
    for (int i = 0; i < 4; ++i) {
      cudnn_.Run(plan, {&x_, &w_, &y_});
      results.insert(y_.memory().Copy());
    }
    return results.size();
  };
  EXPECT_GT(different(plans[0]), 1);
  EXPECT_EQ(different(plans[1]), 1);
  EXPECT_EQ(different(plans[2]), 1);
}

bool HasEngine(const std::vector<const Made*>& operations) {
  const Made graph = Graph(operations);
  return !Plans(graph).empty() || !Plans(graph, CUDNN_HEUR_MODE_FALLBACK).empty();
}

TEST_F(CudnnUse, ThereIsNoEngineWhereCudnnHasNone) {
  const Made x = MakeTensor(1, x_.dims, kBf16), w = MakeTensor(2, w_.dims, kBf16);
  const Made y = MakeTensor(3, y_.dims, kBf16), dw = MakeTensor(4, w_.dims, kFloat);
  const Made window = MakeConvolution();
  const Made to_float = BackwardFilter(window, x, dw, y);
  EXPECT_FALSE(HasEngine({&to_float}));
  const Made product = MakeTensor(5, w_.dims, kFloat, kVirtual);
  const Made to_virtual = BackwardFilter(window, x, product, y);
  const Made convert = Pointwise(Mode(CUDNN_POINTWISE_IDENTITY), product, nullptr, &dw);
  EXPECT_TRUE(HasEngine({&to_virtual, &convert}));
  const Made mixed = Forward(window, x, w_.Describe(), y);
  EXPECT_FALSE(HasEngine({&mixed}));
  const Made first = Forward(window, x, w, y), after = MakeTensor(6, y_.dims, kBf16);
  const Made second = Forward(window, y, MakeTensor(7, {8, 8, 3, 3}, kBf16), after);
  EXPECT_FALSE(HasEngine({&first, &second}));
  const Made scaled = Forward(window, x, w, y, {.alpha = 2});
  EXPECT_TRUE(HasEngine({&scaled}));
  const Made relu = Pointwise(Mode(CUDNN_POINTWISE_RELU_FWD), y, nullptr, &after);
  EXPECT_FALSE(HasEngine({&scaled, &relu}));
}

TEST_F(CudnnUse, StatisticsComeFromTensorCoresAndWithAConvolution) {
  const Made sum = MakeTensor(5, {1, 8, 1, 1}), squares = MakeTensor(6, {1, 8, 1, 1});
  const Made y = y_.Describe(), statistics = Statistics(y, sum, squares);
  EXPECT_FALSE(HasEngine({&statistics}));
  const Made forward = Forward(MakeConvolution(), x_.Describe(), w_.Describe(), y);
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    const auto all = Notes(Graph({&forward, &statistics}), mode);
    EXPECT_THAT(all, Not(IsEmpty()));
    EXPECT_THAT(all, Each(Not(IsEmpty())));
  }
}

TEST_F(CudnnUse, PlansNeedTheirTensorsAndTheirWorkspace) {
  const TestPlan plan = Exact(ForwardGraph());
  const Memory workspace(plan.workspace + 64);
  ASSERT_GT(plan.workspace, 0);
  EXPECT_EQ(Execute(plan, Tensors(), workspace.data()), CUDNN_STATUS_SUCCESS);
  EXPECT_EQ(Execute(plan, Tensors(), nullptr), CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
  EXPECT_EQ(Execute(plan, Tensors(), workspace.data(4)), CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
  auto tensors = Tensors();
  tensors.erase(2);
  EXPECT_EQ(Execute(plan, tensors, workspace.data()), CUDNN_STATUS_BAD_PARAM);
  tensors[2] = nullptr;
  EXPECT_EQ(Execute(plan, tensors, workspace.data()), CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
  tensors[2] = w_.memory().data(4);
  EXPECT_EQ(Execute(plan, tensors, workspace.data()), CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
  tensors = Tensors();
  tensors[9] = w_.memory().data();
  EXPECT_EQ(Execute(plan, tensors, workspace.data()), CUDNN_STATUS_BAD_PARAM);
  char reason[256] = "";
  cudnnGetLastErrorString(reason, sizeof reason);
  EXPECT_STREQ(reason, "cudnnBackendExecute: tensor 9: the plan has none that is not virtual");
}

TEST_F(CudnnUse, AWorkspaceThatHoldsSomethingElseLosesIt) {
  const TestPlan plan = Exact(ForwardGraph());
  Memory workspace(plan.workspace);
  std::memset(workspace.data(), 0, workspace.bytes());
  EXPECT_EQ(Execute(plan, Tensors(), workspace.data()), CUDNN_STATUS_SUCCESS);
  EXPECT_TRUE(workspace.IsPoisoned());
}

TEST_F(CudnnUse, OnlyFinalizedPlansAndPacksRun) {
  const TestPlan plan = Exact(ForwardGraph());
  const Memory workspace(plan.workspace);
  const Made pack = Pack(Tensors(), workspace.data());
  const Made raw_plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  const Made raw_pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  EXPECT_EQ(cudnnBackendExecute(cudnn_.handle(), raw_plan.handle(), pack.handle()),
            CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
  EXPECT_EQ(cudnnBackendExecute(cudnn_.handle(), plan.plan.handle(), raw_pack.handle()),
            CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
  EXPECT_EQ(cudnnBackendExecute(cudnn_.handle(), pack.handle(), plan.plan.handle()),
            CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE);
  EXPECT_EQ(cudnnBackendExecute(nullptr, plan.plan.handle(), pack.handle()),
            CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
}

TEST_F(CudnnUse, DestroyedDescriptorsAreRefused) {
  cudnnBackendDescriptor_t descriptor = nullptr;
  Expect(cudnnBackendCreateDescriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR, &descriptor));
  Expect(cudnnBackendDestroyDescriptor(descriptor));
  EXPECT_EQ(cudnnBackendFinalize(descriptor), CUDNN_STATUS_BAD_PARAM);
  EXPECT_EQ(cudnnBackendDestroyDescriptor(descriptor), CUDNN_STATUS_BAD_PARAM);
}

TEST_F(CudnnUse, DescriptorsThatDieBeforeTheirParentIsFinalizedAreRefused) {
  Made graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  {
    const Made forward = Forward(MakeConvolution(), x_.Describe(), w_.Describe(), y_.Describe());
    graph.Set(CUDNN_ATTR_OPERATIONGRAPH_OPS, forward);
  }
  EXPECT_THROW(graph.Finalize(), Refused);
}

TEST_F(CudnnUse, WhatTheMachineDoesNotHaveIsRefusedByName) {
  EXPECT_THROW(Made made(CUDNN_BACKEND_MATMUL_DESCRIPTOR), Refused);
  try {
    Mode(CUDNN_POINTWISE_GELU_FWD);
    FAIL() << "taken";
  } catch (const Refused& refused) {
    EXPECT_EQ(refused.status, CUDNN_STATUS_NOT_SUPPORTED);
    EXPECT_STREQ(refused.what(), "cudnnBackendFinalize: pointwise mode 104");
  }
  EXPECT_THROW(MakeTensor(1, x_.dims, CUDNN_DATA_HALF), Refused);
  EXPECT_THROW(MakeConvolution({}, CUDNN_DATA_DOUBLE), Refused);
}

TEST_F(CudnnUse, CaptureRunsNothingAndEachReplaySeesTheMemoryOfItsTime) {
  Memory workspace(1 << 16);
  cudnn_.stream().Capture([&] {
    const TestPlan plan = Exact(ForwardGraph());
    EXPECT_EQ(Execute(plan, Tensors(), workspace.data()), CUDNN_STATUS_SUCCESS);
  });  // the plan and its pack are gone
  EXPECT_TRUE(y_.memory().IsPoisoned());
  for (int replay = 0; replay < 2; ++replay) {
    x_.Fill(random_);
    Wanted wanted(y_.dims);
    ForProducts({}, x_.dims, w_.dims, y_.dims,
                [&](int64_t n, int64_t c, int64_t h, int64_t v, int64_t k, int64_t depth, int64_t r,
                    int64_t s, int64_t p, int64_t q) {
                  wanted.At(n, k, p, q) += x_.At(n, c, h, v) * w_.At(k, depth, r, s);
                });
    cudnn_.stream().Replay();
    wanted.ExpectIn(y_, 1e-5);
  }
}

std::string Json(const TestPlan& plan) {
  const auto json =
      plan.plan.Get<char>(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR);
  return {json.begin(), json.end()};
}

Made FromJson(const CudnnOnMachine& cudnn, const std::string& json) {
  Made plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.Set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE,
           std::vector<cudnnHandle_t>{cudnn.handle()});
  plan.Set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
           std::vector<char>(json.begin(), json.end()));
  plan.Finalize();
  return plan;
}

TEST_F(CudnnUse, APlanSurvivesAsJson) {
  const TestPlan plan = Exact(ForwardGraph());
  cudnn_.Run(plan, {&x_, &w_, &y_});
  const auto first = y_.memory().Copy();
  const std::string json = Json(plan);
  const TestPlan loaded{FromJson(cudnn_, json), plan.workspace, {}};
  std::memset(y_.memory().data(), 0, first.size());
  cudnn_.Run(loaded, {&x_, &w_, &y_});
  EXPECT_EQ(y_.memory().Copy(), first);
  EXPECT_EQ(Json(loaded), json);
}

TEST_F(CudnnUse, BrokenJsonIsRefused) {
  const std::string json = Json(Exact(ForwardGraph()));
  EXPECT_THROW(FromJson(cudnn_, "{}"), Refused);
  std::string other_version = json;
  other_version[json.find(':') + 1] = '8';
  try {
    FromJson(cudnn_, other_version);
    FAIL() << "taken";
  } catch (const Refused& refused) {
    EXPECT_EQ(refused.status, CUDNN_STATUS_SERIALIZATION_VERSION_MISMATCH);
  }
  for (const size_t cut : {size_t{2}, size_t{20}, json.size() / 2}) {
    std::string shorter = json;
    shorter.erase(shorter.size() - 2 - cut, cut);
    EXPECT_THROW(FromJson(cudnn_, shorter), Refused) << cut;
  }
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
