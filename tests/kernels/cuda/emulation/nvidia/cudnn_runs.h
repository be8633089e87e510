// Plans of cuDNN's that tests run, the tensors they run on, and convolutions in float64.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/emulation/nvidia/numbers.h"
#include "tests/kernels/cuda/emulation/nvidia/cudnn_calls.h"
#include "tests/kernels/cuda/emulation/nvidia/machine.h"

namespace trainyard::kernels::cuda::testing {

// A tensor in memory, of any strides.
class Array {
 public:
  Array(int64_t id, Dims dims, cudnnDataType_t type = kFloat, Dims strides = {})
      : id(id),
        dims(dims),
        strides(strides.empty() ? Nhwc(dims) : strides),
        type(type),
        memory_(Span() * (type == kBf16 ? 2 : 4)) {}

  const int64_t id;
  const Dims dims, strides;
  const cudnnDataType_t type;

  Made Describe() const { return MakeTensor(id, dims, type, false, strides); }
  int64_t count() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
  double At(int64_t n, int64_t c, int64_t h, int64_t w) const {
    return emulation::nvidia::LoadElement(memory_.data(), Index(n, c, h, w), type == kBf16);
  }
  void Set(int64_t n, int64_t c, int64_t h, int64_t w, double value) {
    emulation::nvidia::StoreElement(memory_.data(), Index(n, c, h, w), type == kBf16,
                                    static_cast<float>(value));
  }
  template <typename Visit>
  void Each(Visit visit) const {
    for (int64_t n = 0; n < dims[0]; ++n) {
      for (int64_t c = 0; c < dims[1]; ++c) {
        for (int64_t h = 0; h < dims[2]; ++h) {
          for (int64_t w = 0; w < dims[3]; ++w) visit(n, c, h, w);
        }
      }
    }
  }
  Array& Fill(std::mt19937& random) {
    std::normal_distribution<double> normal;
    Each([&](int64_t n, int64_t c, int64_t h, int64_t w) { Set(n, c, h, w, normal(random)); });
    return *this;
  }
  const Memory& memory() const { return memory_; }
  // Whether nobody wrote between the elements.
  bool GapsArePoison() const {
    std::vector<unsigned char> bytes = memory_.Copy();
    const int64_t size = type == kBf16 ? 2 : 4;
    Each([&](int64_t n, int64_t c, int64_t h, int64_t w) {
      std::fill_n(bytes.begin() + Index(n, c, h, w) * size, size, 0xff);
    });
    return std::all_of(bytes.begin(), bytes.end(), [](unsigned char b) { return b == 0xff; });
  }

 private:
  int64_t Index(int64_t n, int64_t c, int64_t h, int64_t w) const {
    return n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3];
  }
  int64_t Span() const {
    int64_t last = 0;
    for (int i = 0; i < 4; ++i) last += (dims[i] - 1) * strides[i];
    return last + 1;
  }
  Memory memory_;
};

// What a computation should give, in float64, in the order of Array::Each.
class Wanted {
 public:
  explicit Wanted(Dims dims) : dims_(dims), values_(dims[0] * dims[1] * dims[2] * dims[3]) {}
  double& At(int64_t n, int64_t c, int64_t h, int64_t w) {
    return values_[((n * dims_[1] + c) * dims_[2] + h) * dims_[3] + w];
  }
  // Relative L2 error up to `limit`, and nothing written between the elements.
  void ExpectIn(const Array& found, double limit) {
    ASSERT_EQ(found.dims, dims_);
    double error = 0, norm = 0;
    found.Each([&](int64_t n, int64_t c, int64_t h, int64_t w) {
      const double want = At(n, c, h, w), difference = found.At(n, c, h, w) - want;
      error += difference * difference;
      norm += want * want;
    });
    EXPECT_LE(std::sqrt(error), limit * std::sqrt(norm)) << "tensor " << found.id;
    EXPECT_TRUE(found.GapsArePoison()) << "tensor " << found.id;
  }

 private:
  Dims dims_;
  std::vector<double> values_;
};

// Calls `visit(n, c, h, w, k, c of the filter, r, s, p, q)` for all products of a convolution.
template <typename Visit>
void ForProducts(const WindowSpec& window, const Dims& x, const Dims& w, const Dims& y,
                 Visit visit) {
  const int64_t groups = x[1] / w[1];
  for (int64_t n = 0; n < y[0]; ++n) {
    for (int64_t k = 0; k < y[1]; ++k) {
      for (int64_t p = 0; p < y[2]; ++p) {
        for (int64_t q = 0; q < y[3]; ++q) {
          for (int64_t c = 0; c < w[1]; ++c) {
            for (int64_t r = 0; r < w[2]; ++r) {
              for (int64_t s = 0; s < w[3]; ++s) {
                const int64_t h = p * window.stride[0] + r * window.dilation[0] - window.pre[0];
                const int64_t v = q * window.stride[1] + s * window.dilation[1] - window.pre[1];
                if (h < 0 || h >= x[2] || v < 0 || v >= x[3]) continue;
                visit(n, k / (w[0] / groups) * w[1] + c, h, v, k, c, r, s, p, q);
              }
            }
          }
        }
      }
    }
  }
}

struct TestPlan {
  Made plan;
  int64_t workspace;
  std::vector<cudnnBackendNumericalNote_t> notes;

  bool Has(cudnnBackendNumericalNote_t note) const {
    return std::find(notes.begin(), notes.end(), note) != notes.end();
  }
};

inline std::vector<TestPlan> Plans(const Made& graph,
                                   cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A) {
  Made heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.Set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristic.Set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE,
                std::vector<cudnnBackendHeurMode_t>{mode});
  std::vector<TestPlan> plans;
  for (const Made& config : Proposals(heuristic)) {
    const Made engine = EngineOf(config);
    Made plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    plan.Set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config).Finalize();
    const int64_t workspace =
        plan.Get<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64).at(0);
    plans.push_back({std::move(plan), workspace,
                     engine.Get<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                             CUDNN_TYPE_NUMERICAL_NOTE)});
  }
  return plans;
}

// The plan to take where bits count: deterministic, and without tensor cores for float.
inline TestPlan Exact(const Made& graph) {
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (TestPlan& plan : Plans(graph, mode)) {
      if (plan.notes.empty()) return std::move(plan);
    }
  }
  throw std::runtime_error("no plan without notes");
}

inline Made Pack(const std::map<int64_t, void*>& tensors, void* workspace) {
  Dims ids;
  std::vector<void*> pointers;
  for (const auto& [id, pointer] : tensors) {
    ids.push_back(id);
    pointers.push_back(pointer);
  }
  Made pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.Set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids);
  pack.Set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers);
  pack.Set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, std::vector<void*>{workspace});
  pack.Finalize();
  return pack;
}

// cuDNN on a stream of the emulated machine.
class CudnnOnMachine {
 public:
  CudnnOnMachine() {
    Expect(cudnnCreate(&handle_));
    Expect(cudnnSetStream(handle_, stream_.As<cudaStream_t>()));
  }
  ~CudnnOnMachine() { cudnnDestroy(handle_); }

  cudnnHandle_t handle() const { return handle_; }
  MachineStream& stream() { return stream_; }

  void Run(const TestPlan& plan, const std::vector<const Array*>& arrays) {
    std::map<int64_t, void*> tensors;
    for (const Array* array : arrays) tensors[array->id] = array->memory().data();
    const Memory workspace(plan.workspace);
    const Made pack = Pack(tensors, workspace.data());
    Expect(cudnnBackendExecute(handle_, plan.plan.handle(), pack.handle()));
    EXPECT_TRUE(workspace.IsPoisoned());
  }

 private:
  MachineStream stream_;
  cudnnHandle_t handle_ = nullptr;
};

}  // namespace trainyard::kernels::cuda::testing
