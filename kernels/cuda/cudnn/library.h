// cuDNN as one program uses it: convolutions planned once, and executed. Includes neither NVIDIA's
// headers nor the emulated ones, so that both worlds can include it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "kernels/cuda/cudnn/conv_graph.h"

namespace trainyard::kernels::cuda {

class Descriptor;

struct CudnnOptions {
  void* stream = nullptr;         // cudaStream_t, on the current device: what planning puts there
  std::string device = {};        // what it is, in a line: plans of another are not for this one
  std::string cache_folder = {};  // where plans are kept from run to run; empty: nowhere
  // A device to plan for, as cuDNN describes it, instead of the current one: nothing can be
  // executed, and no GPU is needed.
  std::string planned_device_json = {};
  // About the largest activation of a ResNet-50 at batch 256: those on sm_80 that compute in tf32
  // turn tensors to NCHW and back there.
  int64_t workspace_limit_bytes = int64_t{512} << 20;
};

// Device addresses of a ConvGraph's tensors, aligned to 16 bytes, and of the plan's workspace.
// Only what the pass computes is written.
struct ConvTensors {
  void *x = nullptr, *w = nullptr, *y = nullptr, *bias = nullptr, *workspace = nullptr;
  auto operator<=>(const ConvTensors&) const = default;
};

// One ConvGraph, planned.
class CudnnPlan {
 public:
  ~CudnnPlan();
  CudnnPlan(const CudnnPlan&) = delete;

  // Which engine computes it, with what knobs: "e45(2=3,5=1)". What results depend on.
  const std::string& engine() const { return engine_; }
  int64_t workspace_bytes() const { return workspace_bytes_; }

  // Puts it on `stream` (cudaStream_t), or into the graph that the stream captures. Throws Error.
  void Execute(const ConvTensors& tensors, void* stream);

 private:
  friend class Cudnn;
  struct Parts;
  CudnnPlan();

  std::unique_ptr<Parts> parts_;
  std::string engine_;
  int64_t workspace_bytes_ = 0;
};

class Cudnn {
 public:
  // Throws Error where cuDNN does not start.
  explicit Cudnn(CudnnOptions options);
  ~Cudnn();
  Cudnn(const Cudnn&) = delete;

  // A plan with a deterministic engine that keeps to the graph's precision, which lives as long as
  // this; the same one each time. Null where cuDNN has no such engine. Throws Error, with the
  // graph and cuDNN's reason, where the graph is none (a shape that does not fit) or cuDNN fails.
  CudnnPlan* PlanFor(const ConvGraph& graph);

  // How plans came about: for tests and reports.
  struct Counts {
    int made = 0, read = 0, refused = 0;
  };
  const Counts& counts() const { return counts_; }

  // "cudnn 9.19.0". What was chosen of it is in the plans' engines.
  std::string Describe() const;

 private:
  struct Context;

  std::unique_ptr<CudnnPlan> Make(const ConvGraph& graph);
  std::string KeyOf(const ConvGraph& graph) const;
  void Keep(const std::string& key, const std::string& engine, const Descriptor& plan) const;

  const CudnnOptions options_;
  std::unique_ptr<Context> context_;
  std::map<std::string, std::unique_ptr<CudnnPlan>> plans_;  // by ConvGraph::Key
  Counts counts_;
};

}  // namespace trainyard::kernels::cuda
