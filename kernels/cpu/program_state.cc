#include "kernels/cpu/program_state.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/layout.h"
#include "kernels/cpu/simd/loops.h"

namespace trainyard::kernels::cpu {
namespace {

// Gradients, parameters and moments of a chunk lie in the second cache together, so that whoever
// takes its norm finds them there when it updates.
constexpr int64_t kChunk = 16384;

constexpr int64_t kFloat = sizeof(float);

// Counts in whole blocks, as all packed spans are.
bool AllFinite(const float* values, int64_t count) {
  constexpr uint32_t kExponent = 0x7F800000;
  uint32_t lost = 0;
  for (int64_t i = 0; i < count; i += kBlock) {
    for (int64_t j = i; j < i + kBlock; ++j) {
      const uint32_t exponent = std::bit_cast<uint32_t>(values[j]) & kExponent;
      lost |= exponent == kExponent ? 1u : 0u;
    }
  }
  return lost == 0;
}

// What one step does to a chunk.
class Optimizer {
 public:
  Optimizer(const StepScalars& scalars, float clip) : scalars_(scalars), clip_(clip) {
    const double steps = static_cast<double>(scalars.step + 1);
    correction1_ = static_cast<float>(1 / (1 - std::pow(double{scalars.beta1}, steps)));
    correction2_ = static_cast<float>(1 / (1 - std::pow(double{scalars.beta2}, steps)));
  }

  float Update(int64_t count, bool decays, const float* g, float* w, float* m, float* v) const {
    const StepScalars& s = scalars_;
    const float decay = decays ? s.weight_decay : 0.0f;
    if (s.optimizer == OptimizerKind::kSgd) {
      return UpdateSgd({s.learning_rate, s.momentum, decay, clip_, s.nesterov}, count, g, w, m);
    }
    return UpdateAdamW(
        {s.learning_rate, s.beta1, s.beta2, s.epsilon, decay, clip_, correction1_, correction2_},
        count, g, w, m, v);
  }

 private:
  const StepScalars& scalars_;
  const float clip_;
  float correction1_ = 0, correction2_ = 0;
};

}  // namespace

int64_t ProgramMemory::StateBytes(const ParameterLayout& layout) {
  return (4 * layout.parameter_floats() + layout.statistic_floats()) * kFloat;
}

int64_t ProgramMemory::Bytes(const ParameterLayout& layout, const Room& room) {
  return OwnPages(StateBytes(layout) + room.transient_bytes) + room.scratch_bytes;
}

ProgramMemory::ProgramMemory(const ParameterLayout& layout, const Room& room) : layout_(layout) {
  CheckMemory("cpu", Bytes(layout, room), "a smaller batch or fewer threads need less");
  arena_ = Arena(Bytes(layout, room));
  const int64_t span = layout.parameter_floats(), state = StateBytes(layout);
  parameters_ = reinterpret_cast<float*>(arena_.data());
  gradients_ = parameters_ + span;
  moment1_ = gradients_ + span;
  moment2_ = moment1_ + span;
  statistics_ = moment2_ + span;
  transient_ = arena_.data() + state;
  scratch_ = reinterpret_cast<float*>(arena_.data() + OwnPages(state + room.transient_bytes));
  for (const ParameterLayout::Slice& slice : layout.slices()) {
    for (int64_t begin = 0; begin < slice.packed_size; begin += kChunk) {
      const int64_t size = std::min(kChunk, slice.packed_size - begin);
      chunks_.push_back({slice.packed + begin, size, slice.decays});
    }
  }
}

void ProgramMemory::WriteState(const ProgramState& state) {
  const int64_t count = layout_.parameter_floats();
  const auto pack = [&](const std::vector<float>& from, float* to) {
    if (from.empty()) {
      std::fill(to, to + count, 0.0f);
    } else {
      layout_.PackParameters(from, to);
    }
  };
  pack(state.parameters, parameters_);
  pack(state.moment1, moment1_);
  pack(state.moment2, moment2_);
  layout_.PackStatistics(state.statistics, statistics_);
  lost_ = !AllFinite(parameters_, count) || !AllFinite(statistics_, layout_.statistic_floats());
}

void ProgramMemory::ReadState(ProgramState& state) const {
  for (const auto& [to, from] :
       {std::pair{&state.parameters, parameters_}, std::pair{&state.moment1, moment1_},
        std::pair{&state.moment2, moment2_}}) {
    to->resize(static_cast<size_t>(layout_.canonical_parameters()));
    layout_.UnpackParameters(from, *to);
  }
  state.statistics.resize(static_cast<size_t>(layout_.canonical_statistics()));
  layout_.UnpackStatistics(statistics_, state.statistics);
}

void ProgramMemory::ReadGradients(std::span<float> gradients) const {
  layout_.UnpackParameters(gradients_, gradients);
}

template <typename Body>
void ProgramMemory::ForChunks(const Body& body) {
  const int64_t count = static_cast<int64_t>(chunks_.size());
  const int64_t mean = layout_.parameter_floats() / std::max<int64_t>(1, count);
  ParallelFor(count, mean, [&](int64_t i) { body(chunks_[i]); });
}

double ProgramMemory::Norm() const {
  double sum = 0;
  for (const Chunk& chunk : chunks_) sum += chunk.squares;
  return std::sqrt(sum);
}

double ProgramMemory::Update(const StepScalars& scalars) {
  const auto measure = [&](Chunk& chunk) {
    chunk.squares = SquareSum(chunk.size, gradients_ + chunk.offset);
  };
  const auto update = [&](const Optimizer& optimizer, Chunk& chunk) {
    const int64_t at = chunk.offset;
    chunk.lost = optimizer.Update(chunk.size, chunk.decays, gradients_ + at, parameters_ + at,
                                  moment1_ + at, moment2_ + at);
  };
  double norm = 0;
  if (scalars.clip_norm > 0) {
    // No parameter can change before every gradient is known.
    ForChunks(measure);
    norm = Norm();
    const bool clips = norm > scalars.clip_norm;
    const Optimizer optimizer(scalars, clips ? static_cast<float>(scalars.clip_norm / norm) : 1.0f);
    ForChunks([&](Chunk& chunk) { update(optimizer, chunk); });
  } else {
    const Optimizer optimizer(scalars, 1.0f);
    ForChunks([&](Chunk& chunk) {
      measure(chunk);
      update(optimizer, chunk);
    });
    norm = Norm();
  }
  for (const Chunk& chunk : chunks_) lost_ = lost_ || chunk.lost != 0;
  lost_ = lost_ || !AllFinite(statistics_, layout_.statistic_floats());
  return norm;
}

void ProgramMemory::PoisonScratch() {
  // All bits set: NaN as float and as double, and no place in any pool's window.
  std::memset(transient_, 0xFF, static_cast<size_t>(arena_.data() + arena_.bytes() - transient_));
}

}  // namespace trainyard::kernels::cpu
