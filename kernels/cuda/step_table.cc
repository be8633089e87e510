#include "kernels/cuda/step_table.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/augment.h"
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/check.h"

namespace trainyard::kernels::cuda {
namespace {

// More steps are never worth giving at once: the host's part in so many is nothing.
constexpr int64_t kRowsMax = 1024;
constexpr int64_t kTableBytesMax = int64_t{4} << 20;
constexpr int64_t kCursorBytes = 256;

int DropoutCount(const Graph& graph) {
  int count = 0;
  for (const Op& op : graph.ops) {
    if (op.kind == OpKind::kDropout) count = std::max(count, op.dropout + 1);
  }
  return count;
}

StepBlock MakeBlock(const StepScalars& scalars) {
  StepBlock block;
  block.seed = scalars.seed;
  block.step = scalars.step;
  block.learning_rate = scalars.learning_rate;
  block.momentum = scalars.momentum;
  block.beta1 = scalars.beta1;
  block.beta2 = scalars.beta2;
  block.epsilon = scalars.epsilon;
  const double steps = static_cast<double>(scalars.step + 1);
  block.correction1 = static_cast<float>(1 - std::pow(static_cast<double>(scalars.beta1), steps));
  block.correction2 = static_cast<float>(1 - std::pow(static_cast<double>(scalars.beta2), steps));
  block.weight_decay = scalars.weight_decay;
  block.clip_norm = scalars.clip_norm;
  block.label_smoothing = scalars.label_smoothing;
  block.adamw = scalars.optimizer == OptimizerKind::kAdamW;
  block.nesterov = scalars.nesterov;
  block.flip = scalars.flip;
  block.shift = scalars.shift;
  block.cutout = scalars.cutout;
  return block;
}

void Copy(const Stream& stream, const char* host, int64_t bytes, char* device) {
  CheckCuda(cudaMemcpyAsync(device, host, static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                            stream.get()),
            "copying the steps' inputs");
}

}  // namespace

StepTable::StepTable(const Graph& graph) : graph_(graph) {
  rates_ = RoundUp<16>(sizeof(StepBlock));
  source_ = rates_ + RoundUp<16>(DropoutCount(graph) * int64_t{sizeof(DropoutRate)});
  indices_ = source_ + RoundUp<16>(sizeof(BatchSource));
  row_bytes_ = indices_ + RoundUp<16>(graph.batch_size * int64_t{sizeof(int32_t)});
  capacity_ = static_cast<int>(std::clamp<int64_t>(kTableBytesMax / row_bytes_, 1, kRowsMax));
  const int64_t table_bytes = kCursorBytes + capacity_ * row_bytes_;
  at_work_ = RoundUp<256>(table_bytes);
  outcome_at_work_ = at_work_ + RoundUp<256>(row_bytes_);
  outcomes_ = outcome_at_work_ + RoundUp<256>(sizeof(StepOutcome));
  end_ = outcomes_ + capacity_ * int64_t{sizeof(StepOutcome)};
  host_rows_ = PinnedMemory(table_bytes);
  host_outcomes_ = PinnedMemory(end_ - outcomes_);
  std::memset(host_rows_.data(), 0, static_cast<size_t>(table_bytes));
}

void StepTable::SetPlaces(bool training, Call& call) const {
  char* row = row_at_work();
  call.step = training ? reinterpret_cast<const StepBlock*>(row) : nullptr;
  call.rates = training ? reinterpret_cast<const DropoutRate*>(row + rates_) : nullptr;
  call.source = reinterpret_cast<const BatchSource*>(row + source_);
  call.indices = reinterpret_cast<const int32_t*>(row + indices_);
  call.loss = &outcome_at_work()->loss;
  call.norm = &outcome_at_work()->norm;
}

void StepTable::EnqueueBegin(int batch, cudaStream_t stream) const {
  const int64_t bytes = indices_ + RoundUp<16>(batch * int64_t{sizeof(int32_t)});
  BeginStep(device_ + kCursorBytes, reinterpret_cast<const int32_t*>(device_),
            static_cast<int>(row_bytes_), static_cast<int>(bytes), row_at_work(), stream);
}

void StepTable::EnqueueEnd(bool training, cudaStream_t stream) const {
  const StepOutcome* outcome = outcome_at_work();
  EndStep(&outcome->loss, training ? &outcome->norm : nullptr,
          reinterpret_cast<StepOutcome*>(device_ + outcomes_), reinterpret_cast<int32_t*>(device_),
          stream);
}

void StepTable::Start() { rows_ = sent_ = 0; }

void StepTable::Add(const StepScalars* scalars, const Placement& placement,
                    std::span<const int32_t> indices) {
  char* row = host_rows_.data() + kCursorBytes + rows_ * row_bytes_;
  if (scalars != nullptr) {
    const StepBlock block = MakeBlock(*scalars);
    std::memcpy(row, &block, sizeof block);
    auto* rates = reinterpret_cast<DropoutRate*>(row + rates_);
    for (const Op& op : graph_.ops) {
      if (op.kind != OpKind::kDropout) continue;
      const float rate = scalars->dropout_rates[op.dropout];
      rates[op.dropout] = {DropoutThreshold(rate), 1.0f / (1.0f - rate)};
    }
  }
  std::memcpy(row + source_, &placement.source, sizeof placement.source);
  auto* places = reinterpret_cast<int32_t*>(row + indices_);
  for (size_t i = 0; i < indices.size(); ++i) {
    places[i] = placement.side_by_side ? static_cast<int32_t>(placement.first + i) : indices[i];
  }
  ++rows_;
}

void StepTable::Send(const Stream& stream) {
  // The first rows take the cursor with them, which is zero in host memory.
  const int64_t from = sent_ == 0 ? 0 : kCursorBytes + sent_ * row_bytes_;
  const int64_t to = kCursorBytes + rows_ * row_bytes_;
  Copy(stream, host_rows_.data() + from, to - from, device_ + from);
  sent_ = rows_;
}

std::span<const StepOutcome> StepTable::Fetch(const Stream& stream) {
  CopyToHost(stream, device_ + outcomes_, rows_ * int64_t{sizeof(StepOutcome)},
             host_outcomes_.data());
  return {reinterpret_cast<const StepOutcome*>(host_outcomes_.data()), static_cast<size_t>(rows_)};
}

}  // namespace trainyard::kernels::cuda
