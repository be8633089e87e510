#include "kernels/check.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <vector>

namespace trainyard::kernels {
namespace {

std::string Dims(const ValueShape& shape) {
  return std::to_string(shape.channels) + "x" + std::to_string(shape.height) + "x" +
         std::to_string(shape.width);
}

[[noreturn]] void Fail(const Op& op, const std::string& what) {
  throw Error(OpLabel(op) + ": " + what);
}

// Throws unless [offset, offset + size) lies inside of a span of `total` floats.
void CheckRange(const Op& op, const char* what, int64_t offset, int64_t size, int64_t total) {
  if (offset >= 0 && size <= total && offset <= total - size) return;
  Fail(op, std::string(what) + " needs " + std::to_string(size) + " floats at offset " +
               std::to_string(offset) + " but the span has " + std::to_string(total));
}

int WindowOutput(const Op& op, const char* axis, int input, int kernel, int stride, int before,
                 int after) {
  if (kernel < 1 || stride < 1 || before < 0 || after < 0) {
    Fail(op, std::string(axis) + " has kernel " + std::to_string(kernel) + ", stride " +
                 std::to_string(stride) + ", padding " + std::to_string(before) + " and " +
                 std::to_string(after) + "; expected positive sizes and no negative padding");
  }
  const int64_t padded = int64_t{input} + before + after;
  if (kernel > padded) {
    Fail(op, std::string(axis) + " has kernel " + std::to_string(kernel) +
                 ", larger than its padded input of " + std::to_string(padded));
  }
  return static_cast<int>((padded - kernel) / stride) + 1;
}

// A pool window that sees padding only has no largest value and no mean.
void CheckPoolAxis(const Op& op, const char* axis, int input, int kernel, int stride, int before,
                   int output) {
  const int64_t last = int64_t{output - 1} * stride - before;
  if (before >= kernel || last >= input) {
    Fail(op, std::string("a window lies in the ") + axis + " padding only (kernel " +
                 std::to_string(kernel) + ", padding " + std::to_string(before) + " before)");
  }
}

ValueShape WindowShape(const Op& op, const ValueShape& in, int channels) {
  return {
      channels,
      WindowOutput(op, "height", in.height, op.kernel_h, op.stride_h, op.pad_top, op.pad_bottom),
      WindowOutput(op, "width", in.width, op.kernel_w, op.stride_w, op.pad_left, op.pad_right)};
}

ValueShape CheckConv(const Graph& graph, const Op& op, const ValueShape& in,
                     const ValueShape& out) {
  if (op.groups < 1 || in.channels % op.groups != 0 || out.channels % op.groups != 0) {
    Fail(op, "groups = " + std::to_string(op.groups) + " does not divide " +
                 std::to_string(in.channels) + " input and " + std::to_string(out.channels) +
                 " output channels");
  }
  const int64_t size =
      int64_t{out.channels} * (in.channels / op.groups) * op.kernel_h * op.kernel_w;
  CheckRange(op, "weight", op.offsets.weight, size, graph.parameter_count);
  if (op.offsets.bias >= 0) {
    CheckRange(op, "bias", op.offsets.bias, out.channels, graph.parameter_count);
  }
  return WindowShape(op, in, out.channels);
}

ValueShape CheckPool(const Op& op, const ValueShape& in) {
  const ValueShape out = WindowShape(op, in, in.channels);
  CheckPoolAxis(op, "height", in.height, op.kernel_h, op.stride_h, op.pad_top, out.height);
  CheckPoolAxis(op, "width", in.width, op.kernel_w, op.stride_w, op.pad_left, out.width);
  return out;
}

// Returns the output shape that the op must have.
ValueShape CheckOp(const Graph& graph, const Op& op) {
  const ValueShape& in = graph.values[op.inputs[0]];
  const ValueShape& out = graph.values[op.output];
  switch (op.kind) {
    case OpKind::kConv:
      return CheckConv(graph, op, in, out);
    case OpKind::kBatchNorm:
      CheckRange(op, "gamma", op.offsets.weight, in.channels, graph.parameter_count);
      CheckRange(op, "beta", op.offsets.bias, in.channels, graph.parameter_count);
      CheckRange(op, "running mean", op.offsets.running_mean, in.channels, graph.statistic_count);
      CheckRange(op, "running variance", op.offsets.running_var, in.channels,
                 graph.statistic_count);
      return in;
    case OpKind::kMaxPool:
    case OpKind::kAvgPool:
      return CheckPool(op, in);
    case OpKind::kGlobalAvgPool:
      return {in.channels, 1, 1};
    case OpKind::kDropout:
      if (op.dropout < 0) Fail(op, "has no index into the dropout rates");
      return in;
    case OpKind::kLinear:
      CheckRange(op, "weight", op.offsets.weight, in.size() * out.size(), graph.parameter_count);
      if (op.offsets.bias >= 0) {
        CheckRange(op, "bias", op.offsets.bias, out.size(), graph.parameter_count);
      }
      return {static_cast<int>(out.size()), 1, 1};
    case OpKind::kAdd: {
      const ValueShape& other = graph.values[op.inputs[1]];
      if (Dims(in) != Dims(other)) Fail(op, "adds " + Dims(in) + " and " + Dims(other));
      return in;
    }
    case OpKind::kRelu:
      return in;
  }
  Fail(op, "is of an unknown kind");
}

void CheckSlices(const Graph& graph) {
  int64_t end = 0;
  for (const Graph::Slice& slice : graph.slices) {
    if (slice.offset != end || slice.size < 0) {
      throw Error("parameter slices: one starts at " + std::to_string(slice.offset) +
                  ", expected " + std::to_string(end));
    }
    end += slice.size;
  }
  if (end != graph.parameter_count) {
    throw Error("parameter slices cover " + std::to_string(end) + " of " +
                std::to_string(graph.parameter_count) + " floats");
  }
}

void CheckSize(const std::string& what, size_t found, int64_t expected) {
  if (static_cast<int64_t>(found) != expected) {
    throw Error(what + " has " + std::to_string(found) + " values, expected " +
                std::to_string(expected));
  }
}

}  // namespace

const char* OpKindName(OpKind kind) {
  switch (kind) {
    case OpKind::kConv:
      return "conv";
    case OpKind::kBatchNorm:
      return "batch_norm";
    case OpKind::kRelu:
      return "relu";
    case OpKind::kMaxPool:
      return "max_pool";
    case OpKind::kAvgPool:
      return "avg_pool";
    case OpKind::kGlobalAvgPool:
      return "global_avg_pool";
    case OpKind::kDropout:
      return "dropout";
    case OpKind::kLinear:
      return "linear";
    case OpKind::kAdd:
      return "add";
  }
  return "unknown";
}

std::string OpLabel(const Op& op) {
  return (op.name.empty() ? "an op" : op.name) + " (" + OpKindName(op.kind) + ")";
}

void CheckGraph(const Graph& graph) {
  if (graph.batch_size < 1 || graph.classes < 1 || graph.ops.empty() || graph.values.empty()) {
    throw Error("graph: batch_size " + std::to_string(graph.batch_size) + ", classes " +
                std::to_string(graph.classes) + ", " + std::to_string(graph.ops.size()) +
                " ops; expected at least one of each");
  }
  for (const ValueShape& shape : graph.values) {
    if (shape.channels < 1 || shape.height < 1 || shape.width < 1) {
      throw Error("graph: a value of shape " + Dims(shape) + ", expected positive sizes");
    }
  }
  const int count = static_cast<int>(graph.values.size());
  std::vector<bool> made(graph.values.size(), false);
  made[0] = true;
  for (const Op& op : graph.ops) {
    if (op.inputs.size() != (op.kind == OpKind::kAdd ? 2u : 1u)) {
      Fail(op, "has " + std::to_string(op.inputs.size()) + " inputs");
    }
    for (int id : op.inputs) {
      if (id < 0 || id >= count || !made[id]) {
        Fail(op, "reads value " + std::to_string(id) + ", which no earlier op makes");
      }
    }
    if (op.output < 0 || op.output >= count || made[op.output]) {
      Fail(op, "makes value " + std::to_string(op.output) + ", which is taken or unknown");
    }
    made[op.output] = true;
    const ValueShape expected = CheckOp(graph, op), found = graph.values[op.output];
    if (Dims(expected) != Dims(found)) {
      Fail(op, "has output " + Dims(found) + ", expected " + Dims(expected));
    }
  }
  const Op& last = graph.ops.back();
  if (graph.values[last.output].size() != graph.classes) {
    Fail(last, "gives the logits and has " + Dims(graph.values[last.output]) + " values for " +
                   std::to_string(graph.classes) + " classes");
  }
  CheckSlices(graph);
}

int64_t MemoryLimit() {
  int64_t limit = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  int64_t container = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> container && container > 0) {
    limit = std::min(limit, container);
  }
  return limit;
}

void CheckMemory(const std::string& backend, int64_t bytes, const std::string& help) {
  const int64_t limit = MemoryLimit();
  if (bytes <= limit) return;
  throw Error(backend + ": this network and batch size need " + std::to_string(bytes >> 20) +
              " MiB, and this machine has " + std::to_string(limit >> 20) + " MiB; " + help);
}

void CheckImages(const Graph& graph, const ImageSet& images) {
  const ValueShape& expected = graph.values[0];
  if (Dims(images.shape) != Dims(expected)) {
    throw Error("images are " + Dims(images.shape) + ", the network's input is " + Dims(expected));
  }
  if (static_cast<int64_t>(images.pixels.size()) != images.count() * expected.size()) {
    throw Error("images: " + std::to_string(images.pixels.size()) + " bytes for " +
                std::to_string(images.count()) + " images of " + std::to_string(expected.size()));
  }
}

void CheckBatch(const Graph& graph, const ImageSet& images, std::span<const int32_t> indices) {
  CheckImages(graph, images);
  if (static_cast<int64_t>(indices.size()) > graph.batch_size || indices.empty()) {
    throw Error("a batch of " + std::to_string(indices.size()) + " images, expected 1 to " +
                std::to_string(graph.batch_size));
  }
  for (int32_t index : indices) {
    if (index < 0 || index >= images.count()) {
      throw Error("image " + std::to_string(index) + " of " + std::to_string(images.count()));
    }
    const int32_t label = images.labels[index];
    if (label < 0 || label >= graph.classes) {
      throw Error("image " + std::to_string(index) + " has label " + std::to_string(label) +
                  ", expected 0 to " + std::to_string(graph.classes - 1));
    }
  }
}

void CheckScalars(const Graph& graph, const StepScalars& scalars) {
  for (const Op& op : graph.ops) {
    if (op.kind != OpKind::kDropout) continue;
    if (op.dropout >= static_cast<int>(scalars.dropout_rates.size())) {
      Fail(op, "wants dropout rate " + std::to_string(op.dropout) + " of " +
                   std::to_string(scalars.dropout_rates.size()));
    }
    const float rate = scalars.dropout_rates[op.dropout];
    if (!(rate >= 0 && rate < 1)) {
      Fail(op, "has rate " + std::to_string(rate) + ", expected 0 or more and less than 1");
    }
  }
}

void CheckSteps(std::span<const int32_t> indices, std::span<const StepScalars> scalars,
                std::span<const StepResult> results) {
  if (results.size() == scalars.size() &&
      (scalars.empty() ? indices.empty() : indices.size() % scalars.size() == 0)) {
    return;
  }
  throw Error(std::to_string(scalars.size()) + " steps with " + std::to_string(indices.size()) +
              " images and " + std::to_string(results.size()) +
              " results, expected whole batches and a result each");
}

void CheckState(const Graph& graph, const ProgramState& state) {
  CheckSize("parameters", state.parameters.size(), graph.parameter_count);
  CheckSize("statistics", state.statistics.size(), graph.statistic_count);
  if (!state.moment1.empty()) CheckSize("moment1", state.moment1.size(), graph.parameter_count);
  if (!state.moment2.empty()) CheckSize("moment2", state.moment2.size(), graph.parameter_count);
}

void CheckLogits(const Graph& graph, std::span<const int32_t> indices,
                 std::span<const float> logits) {
  if (logits.empty()) return;
  CheckSize("logits", logits.size(), static_cast<int64_t>(indices.size()) * graph.classes);
}

void CheckGradients(const Graph& graph, std::span<const float> gradients) {
  CheckSize("gradients", gradients.size(), graph.parameter_count);
}

void CheckNormalisation(const Graph& graph, std::span<const float> mean,
                        std::span<const float> inverse_std) {
  CheckSize("normalisation mean", mean.size(), graph.values[0].channels);
  CheckSize("normalisation inverse_std", inverse_std.size(), graph.values[0].channels);
}

void RethrowAt(const std::string& where) {
  const std::string start = where + ": ";
  try {
    throw;
  } catch (const OutOfMemory& error) {
    throw OutOfMemory(start + error.what());
  } catch (const Unavailable& error) {
    throw Unavailable(start + error.what());
  } catch (const KernelFailed& error) {
    throw KernelFailed(start + error.what());
  } catch (const DeviceLost& error) {
    throw DeviceLost(start + error.what());
  } catch (const Error& error) {
    throw Error(start + error.what());
  }
}

}  // namespace trainyard::kernels
