// Which of cuDNN's engines computes an operation graph.
#pragma once

#include <string>
#include <vector>

#include "kernels/cuda/cudnn/conv_graph.h"
#include "kernels/cuda/cudnn/descriptor.h"

namespace trainyard::kernels::cuda {

using NumericalNotes = std::vector<cudnnBackendNumericalNote_t>;
using BehaviorNotes = std::vector<cudnnBackendBehaviorNote_t>;

// An engine with its knobs set, as cuDNN's heuristics propose it.
struct Candidate {
  Descriptor config;
  std::string name;  // "e45(2=3,5=1)": number of the engine, types and values of its knobs
  NumericalNotes numerical;
  BehaviorNotes behavior;
};

// Whether an engine with these notes computes what is asked as our kernels would: the same bits
// each time, products of operands as they are (no Winograd, no FFT, no fp16 on the way: their
// errors are more than is allowed), sums in fp32. With kFp32 no tensor cores, which would round
// floats to tf32; else nothing but them: an engine without is slower than our kernels with them.
// ReLUs only in kernels that cuDNN compiles: those keep NaN, of the others nobody says so. With
// kFp32 none: what it compiles there is made for groups of few channels, with 4 sums a thread.
bool Admitted(const NumericalNotes& numerical, const BehaviorNotes& behavior,
              const ConvGraph& asked);

// Best first. None where cuDNN has none. `device`: description of a device to plan for, or null:
// the one of the graph's handle.
std::vector<Candidate> Candidates(const Descriptor& graph, const Descriptor* device,
                                  cudnnBackendHeurMode_t mode);

struct ExecutionPlan {
  Descriptor plan;
  std::string engine;  // Candidate::name
  int64_t workspace_bytes = 0;
};

// A plan of the first candidate that is admitted, has no larger workspace and can be finalised:
// of those that heuristics of mode A propose, then of the fallback's. Throws CudnnUnsupported, with
// what each was refused for, where there is none.
// `graph`: what MakeOperationGraph made of `asked`.
ExecutionPlan ChooseEngine(const Descriptor& graph, cudnnHandle_t handle, const Descriptor* device,
                           const ConvGraph& asked, int64_t workspace_limit_bytes);

// The same plan, from the text that PlanText gave for it. Throws Error where cuDNN does not take it
// on this device.
Descriptor LoadPlan(const std::string& text, cudnnHandle_t handle, const Descriptor* device);
std::string PlanText(const Descriptor& plan);
int64_t WorkspaceBytes(const Descriptor& plan);

// A device as JSON, as cuDNN gives it: CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION.
Descriptor DescribedDevice(const std::string& json);

}  // namespace trainyard::kernels::cuda
