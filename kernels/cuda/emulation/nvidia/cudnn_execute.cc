#include "kernels/cuda/emulation/nvidia/cudnn_execute.h"

#include <atomic>
#include <map>
#include <set>
#include <utility>

#include "kernels/cuda/emulation/nvidia/enqueue.h"
#include "kernels/cuda/emulation/nvidia/numbers.h"

namespace trainyard::kernels::cuda::emulation::nvidia {
namespace {

constexpr int64_t kWorkspaceAlignment = 16;

using Pointers = std::map<int64_t, void*>;

// Calls `visit` with the index in memory of each element, in the order of Values.
template <typename Visit>
void Walk(const Tensor& tensor, Visit visit) {
  const auto& [n, c, h, w] = tensor.dims;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t y = 0; y < h; ++y) {
      for (int64_t x = 0; x < w; ++x) {
        const int64_t at = i * tensor.strides[0] + y * tensor.strides[2] + x * tensor.strides[3];
        for (int64_t channel = 0; channel < c; ++channel) visit(at + channel * tensor.strides[1]);
      }
    }
  }
}

Values Load(const Tensor& tensor, const void* memory) {
  Values values(tensor.count());
  float* next = values.data();
  const bool bf16 = tensor.bf16();
  Walk(tensor, [&](int64_t index) { *next++ = LoadElement(memory, index, bf16); });
  return values;
}

void Store(const Tensor& tensor, const Values& values, void* memory) {
  const float* next = values.data();
  const bool bf16 = tensor.bf16();
  Walk(tensor, [&](int64_t index) { StoreElement(memory, index, bf16, *next++); });
}

Values RoundedToTf32(const Values& values) {
  Values rounded(values.size());
  for (size_t i = 0; i < values.size(); ++i) rounded[i] = ToTf32(values[i]);
  return rounded;
}

// What another order of the sums would do to them, every other time.
void Disturb(Values& values) {
  static std::atomic<unsigned> runs = 0;
  if (runs.fetch_add(1) % 2 == 0) return;
  for (float& value : values) value *= 1 + 0x1p-20f;
}

// One run of a plan.
class Run {
 public:
  Run(const Plan& plan, const Pointers& pointers, void* workspace)
      : plan_(plan), pointers_(pointers), workspace_(workspace) {}

  void Do() {
    const int64_t bytes = WorkspaceBytes(plan_.operations);
    std::memset(workspace_, 0xff, bytes);
    for (const Operation& operation : plan_.operations) {
      std::vector<const Values*> inputs;
      for (const Tensor& input : operation.inputs) inputs.push_back(&Read(input));
      std::vector<Values> outputs;
      if (operation.IsConvolution()) {
        outputs.push_back(Convolution(operation, *inputs[0], *inputs[1]));
      } else {
        outputs = Combine(operation, inputs);
      }
      for (size_t i = 0; i < outputs.size(); ++i) {
        Write(operation.outputs[i], std::move(outputs[i]));
      }
    }
    std::memset(workspace_, 0xff, bytes);
  }

 private:
  const Values& Read(const Tensor& tensor) {
    const auto found = values_.find(tensor.id);
    if (found != values_.end()) return found->second;
    return values_[tensor.id] = Load(tensor, pointers_.at(tensor.id));
  }

  void Write(const Tensor& tensor, Values values) {
    if (tensor.bf16()) {
      for (float& value : values) value = RoundToBf16(value);
    }
    if (!tensor.is_virtual) Store(tensor, values, pointers_.at(tensor.id));
    values_[tensor.id] = std::move(values);
  }

  Values Convolution(const Operation& operation, const Values& first, const Values& second) {
    float* sums = static_cast<float*>(workspace_);
    Values result = plan_.engine == kTensorCoreEngine
                        ? Convolve(operation, RoundedToTf32(first), RoundedToTf32(second), sums)
                        : Convolve(operation, first, second, sums);
    if (plan_.engine == kNondeterministicEngine) Disturb(result);
    for (float& value : result) value *= operation.alpha;
    if (operation.beta != 0) {
      const Tensor& output = operation.outputs[0];
      const Values before = Load(output, pointers_.at(output.id));
      for (size_t i = 0; i < result.size(); ++i) result[i] += operation.beta * before[i];
    }
    return result;
  }

  const Plan& plan_;
  const Pointers& pointers_;
  void* const workspace_;
  std::map<int64_t, Values> values_;
};

// Each tensor that is not virtual has a pointer that fits it, and no pointer is of nothing.
Pointers Bind(const Plan& plan, const Descriptor& pack) {
  const auto ids = pack.All<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto given = pack.All<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  Pointers pointers;
  for (size_t i = 0; i < ids.size(); ++i) pointers[ids[i]] = given[i];
  std::set<int64_t> needed;
  const auto check = [&](const Tensor& tensor) {
    if (tensor.is_virtual) return;
    const std::string place = "tensor " + std::to_string(tensor.id) + ": ";
    needed.insert(tensor.id);
    const auto found = pointers.find(tensor.id);
    if (found == pointers.end()) throw Refusal(CUDNN_STATUS_BAD_PARAM, place + "no pointer");
    if (found->second == nullptr) {
      throw Refusal(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, place + "its pointer is null");
    }
    if (!IsAligned(found->second, tensor.alignment)) {
      throw Refusal(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER,
                    place + "its pointer is no multiple of " + std::to_string(tensor.alignment));
    }
  };
  for (const Operation& operation : plan.operations) {
    for (const Tensor& input : operation.inputs) check(input);
    for (const Tensor& output : operation.outputs) check(output);
  }
  for (const auto& [id, pointer] : pointers) {
    if (needed.count(id) != 0) continue;
    throw Refusal(CUDNN_STATUS_BAD_PARAM,
                  "tensor " + std::to_string(id) + ": the plan has none that is not virtual");
  }
  return pointers;
}

void CheckIs(const Descriptor& descriptor, cudnnBackendDescriptorType_t type, const char* what) {
  if (descriptor.type != type) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, std::string("not ") + what);
  }
  if (!descriptor.finalized()) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, std::string(what) + " is not finalized");
  }
}

}  // namespace

void Execute(const Descriptor& plan, const Descriptor& pack, void* stream) {
  CheckIs(plan, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "an execution plan");
  CheckIs(pack, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, "a variant pack");
  Plan read = ReadPlan(plan);
  Pointers pointers = Bind(read, pack);
  void* workspace = pack.One<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, nullptr);
  if (workspace == nullptr) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_NULL_POINTER,
                  "no workspace for a plan that needs " +
                      std::to_string(WorkspaceBytes(read.operations)) + " bytes");
  }
  if (!IsAligned(workspace, kWorkspaceAlignment)) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER,
                  "the workspace is no multiple of " + std::to_string(kWorkspaceAlignment));
  }
  // The plan and the pack may be destroyed before a replay.
  const bool taken = Enqueue(stream, [read = std::move(read), pointers = std::move(pointers),
                                      workspace] { Run(read, pointers, workspace).Do(); });
  if (!taken) throw Refusal(CUDNN_STATUS_EXECUTION_FAILED_CUDART, "the stream refused the work");
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia
