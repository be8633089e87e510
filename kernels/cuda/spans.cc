#include "kernels/cuda/spans.h"

#include <algorithm>
#include <string>
#include <utility>

#include "kernels/backend.h"
#include "kernels/check.h"
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/optimizer.h"

namespace trainyard::kernels::cuda {
namespace {

int64_t WholeBlocks(int64_t count) { return CeilDivide(count, kSpanBlock) * kSpanBlock; }

[[noreturn]] void RefuseTensor(const Op& op, const char* what, int64_t offset) {
  throw Error(OpLabel(op) + ": its " + what + " at " + std::to_string(offset) +
              " is not a tensor of its own");
}

bool StartsBefore(const SpanTensor& tensor, int64_t canonical) {
  return tensor.canonical < canonical;
}

// The op's tensors, in the shapes in which they are turned.
class ParameterTensors {
 public:
  explicit ParameterTensors(const Graph& graph) : graph_(graph) {
    for (const Graph::Slice& slice : graph.slices) {
      if (slice.size > 0) tensors_.push_back({slice.offset, 0, 1, 1, slice.size});
    }
    taken_.resize(tensors_.size());
    for (const Op& op : graph.ops) AddOp(op);
  }
  std::vector<SpanTensor> Take() { return std::move(tensors_); }

 private:
  void AddOp(const Op& op) {
    const ValueShape &in = graph_.values[op.inputs[0]], &out = graph_.values[op.output];
    switch (op.kind) {
      case OpKind::kConv:
        Own(op, "weight", op.offsets.weight,
            {.rows = out.channels,
             .channels = in.channels / op.groups,
             .pixels = int64_t{op.kernel_h} * op.kernel_w});
        return Own(op, "bias", op.offsets.bias, {.pixels = out.channels});
      case OpKind::kLinear:
        Own(op, "weight", op.offsets.weight,
            {.rows = out.size(), .channels = in.channels, .pixels = int64_t{in.height} * in.width});
        return Own(op, "bias", op.offsets.bias, {.pixels = out.size()});
      case OpKind::kBatchNorm:
        Own(op, "gamma", op.offsets.weight, {.pixels = in.channels});
        return Own(op, "beta", op.offsets.bias, {.pixels = in.channels});
      default:
        return;
    }
  }

  void Own(const Op& op, const char* what, int64_t offset, SpanTensor shape) {
    if (offset < 0) return;
    const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), offset, StartsBefore);
    if (found == tensors_.end() || found->canonical != offset || found->size() != shape.size() ||
        taken_[found - tensors_.begin()]) {
      RefuseTensor(op, what, offset);
    }
    taken_[found - tensors_.begin()] = true;
    shape.canonical = offset;
    *found = shape;
  }

  const Graph& graph_;
  std::vector<SpanTensor> tensors_;
  std::vector<bool> taken_;
};

std::vector<SpanTensor> StatisticTensors(const Graph& graph) {
  std::vector<SpanTensor> tensors;
  for (const Op& op : graph.ops) {
    if (op.kind != OpKind::kBatchNorm) continue;
    const int64_t channels = graph.values[op.inputs[0]].channels;
    tensors.push_back({op.offsets.running_mean, 0, 1, 1, channels});
    tensors.push_back({op.offsets.running_var, 0, 1, 1, channels});
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const SpanTensor& a, const SpanTensor& b) { return a.canonical < b.canonical; });
  int64_t end = 0;
  for (const SpanTensor& tensor : tensors) {
    if (tensor.canonical != end) {
      throw Error("running statistics: one tensor starts at " + std::to_string(tensor.canonical) +
                  ", expected " + std::to_string(end));
    }
    end += tensor.size();
  }
  if (end != graph.statistic_count) {
    throw Error("running statistics: the tensors have " + std::to_string(end) + " of " +
                std::to_string(graph.statistic_count) + " floats");
  }
  return tensors;
}

}  // namespace

DeviceSpan::DeviceSpan(std::vector<SpanTensor> tensors) : tensors_(std::move(tensors)) {
  for (SpanTensor& tensor : tensors_) {
    tensor.device = count_;
    count_ += WholeBlocks(tensor.size());
    canonical_count_ += tensor.size();
  }
}

int64_t DeviceSpan::Place(int64_t canonical) const {
  if (canonical < 0) return -1;
  return std::lower_bound(tensors_.begin(), tensors_.end(), canonical, StartsBefore)->device;
}

std::vector<float> DeviceSpan::ToDevice(std::span<const float> canonical) const {
  std::vector<float> device(count_, 0.0f);
  if (canonical.empty()) return device;
  for (const SpanTensor& t : tensors_) {
    const float* from = canonical.data() + t.canonical;
    float* to = device.data() + t.device;
    for (int64_t row = 0; row < t.rows; ++row) {
      for (int64_t pixel = 0; pixel < t.pixels; ++pixel) {
        for (int64_t channel = 0; channel < t.channels; ++channel) {
          *to++ = from[(row * t.channels + channel) * t.pixels + pixel];
        }
      }
    }
  }
  return device;
}

void DeviceSpan::ToCanonical(std::span<const float> device, std::span<float> canonical) const {
  for (const SpanTensor& t : tensors_) {
    const float* from = device.data() + t.device;
    float* to = canonical.data() + t.canonical;
    for (int64_t row = 0; row < t.rows; ++row) {
      for (int64_t pixel = 0; pixel < t.pixels; ++pixel) {
        for (int64_t channel = 0; channel < t.channels; ++channel) {
          to[(row * t.channels + channel) * t.pixels + pixel] = *from++;
        }
      }
    }
  }
}

SpanLayout::SpanLayout(const Graph& graph)
    : parameters_(ParameterTensors(graph).Take()), statistics_(StatisticTensors(graph)) {
  decays_.resize(parameters_.count() / kSpanBlock);
  for (const Graph::Slice& slice : graph.slices) {
    if (slice.size == 0 || !slice.decays) continue;
    const int64_t first = parameters_.Place(slice.offset);
    std::fill_n(decays_.begin() + first / kSpanBlock, WholeBlocks(slice.size) / kSpanBlock,
                uint8_t{1});
  }
}

}  // namespace trainyard::kernels::cuda
