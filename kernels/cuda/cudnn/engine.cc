#include "kernels/cuda/cudnn/engine.h"

#include <algorithm>
#include <utility>

namespace trainyard::kernels::cuda {
namespace {

template <typename Note>
bool Has(const std::vector<Note>& notes, Note note) {
  return std::find(notes.begin(), notes.end(), note) != notes.end();
}

std::string NameOf(const Descriptor& engine, const Descriptor& config) {
  std::string name = "e" + std::to_string(engine.Get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX));
  std::string knobs;
  for (const Descriptor& knob :
       config.GetDescriptors(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                             CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, "a knob's choice")) {
    const int type = knob.Get<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE);
    const int64_t value = knob.Get<int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE);
    knobs += (knobs.empty() ? "" : ",") + std::to_string(type) + "=" + std::to_string(value);
  }
  return knobs.empty() ? name : name + "(" + knobs + ")";
}

Candidate Describe(Descriptor config) {
  std::vector<Descriptor> engines = config.GetDescriptors(
      CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, "an engine");
  const Descriptor& engine = engines.at(0);
  Candidate candidate{std::move(config), "", {}, {}};
  candidate.name = NameOf(engine, candidate.config);
  candidate.numerical = engine.GetMany<cudnnBackendNumericalNote_t>(
      CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  candidate.behavior = engine.GetMany<cudnnBackendBehaviorNote_t>(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
                                                                  CUDNN_BEHAVIOR_NOTE_TYPE_COUNT);
  return candidate;
}

// A plan to be given what it plans, for the handle's device or the one described.
Descriptor NewPlan(cudnnHandle_t handle, const Descriptor* device) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "the execution plan");
  if (handle != nullptr) plan.Set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle);
  if (device != nullptr) plan.Set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *device);
  return plan;
}

}  // namespace

bool Admitted(const NumericalNotes& numerical, const BehaviorNotes& behavior,
              const ConvGraph& asked) {
  for (const auto never :
       {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION,
        CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, CUDNN_NUMERICAL_NOTE_FFT,
        CUDNN_NUMERICAL_NOTE_WINOGRAD}) {
    if (Has(numerical, never)) return false;
  }
  // What cuBLASLt chooses for cuDNN is in no engine's name.
  for (const auto never : {CUDNN_BEHAVIOR_NOTE_CUBLASLT_DEPENDENCY,
                           CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER,
                           CUDNN_BEHAVIOR_NOTE_REQUIRES_BIAS_INT8x32_REORDER}) {
    if (Has(behavior, never)) return false;
  }
  const bool compiled = Has(behavior, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION);
  if (asked.relu && (!compiled || asked.precision == Precision::kFp32)) return false;
  return Has(numerical, CUDNN_NUMERICAL_NOTE_TENSOR_CORE) == (asked.precision != Precision::kFp32);
}

std::vector<Candidate> Candidates(const Descriptor& graph, const Descriptor* device,
                                  cudnnBackendHeurMode_t mode) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, "the choice of engines");
  std::vector<Candidate> candidates;
  try {
    heuristics.Set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
        .Set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
    if (device != nullptr) heuristics.Set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *device);
    heuristics.Finalize();
  } catch (const CudnnUnsupported&) {
    return candidates;
  }
  for (Descriptor& config :
       heuristics.GetDescriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
                                 "an engine's configuration")) {
    candidates.push_back(Describe(std::move(config)));
  }
  return candidates;
}

ExecutionPlan ChooseEngine(const Descriptor& graph, cudnnHandle_t handle, const Descriptor* device,
                           const ConvGraph& asked, int64_t workspace_limit_bytes) {
  std::string refusals;
  auto refuse = [&refusals](const Candidate& candidate, const std::string& why) {
    refusals += "; " + candidate.name + " " + why;
  };
  bool compiles = true;
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const Candidate& candidate : Candidates(graph, device, mode)) {
      const bool compiled = Has(candidate.behavior, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION);
      if (!Admitted(candidate.numerical, candidate.behavior, asked)) {
        refuse(candidate, std::string("is not for ") + PrecisionName(asked.precision) +
                              (asked.relu ? " and ReLU" : ""));
        continue;
      }
      if (compiled && !compiles) continue;
      // An engine that was proposed may still not do: the next one then.
      try {
        Descriptor plan = NewPlan(handle, device);
        plan.Set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, candidate.config).Finalize();
        const int64_t bytes = WorkspaceBytes(plan);
        if (bytes <= workspace_limit_bytes) return {std::move(plan), candidate.name, bytes};
        refuse(candidate, "needs " + std::to_string(bytes) + " bytes of workspace");
      } catch (const CudnnUnsupported& error) {
        refuse(candidate, error.what());
      } catch (const Error& error) {
        // A library that does not start has no other engine either. A kernel that is not compiled
        // or loaded does: one that is compiled already.
        if (!compiled && dynamic_cast<const Unavailable*>(&error) != nullptr) throw;
        // Each of these takes a second to say so.
        if (compiled) compiles = false;
        refuse(candidate, error.what());
      }
    }
  }
  throw CudnnUnsupported("no engine" + refusals);
}

Descriptor LoadPlan(const std::string& text, cudnnHandle_t handle, const Descriptor* device) {
  Descriptor plan = NewPlan(handle, device);
  plan.Set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, text).Finalize();
  return plan;
}

std::string PlanText(const Descriptor& plan) {
  return plan.GetText(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
}

int64_t WorkspaceBytes(const Descriptor& plan) {
  return plan.Get<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
}

Descriptor DescribedDevice(const std::string& json) {
  Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, "the device's description");
  // Its length counts the zero at its end.
  device.Set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::string(json.c_str(), json.size() + 1));
  return std::move(device.Finalize());
}

}  // namespace trainyard::kernels::cuda
