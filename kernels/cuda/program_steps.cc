// A program's steps: strides of training, and evaluations.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "kernels/check.h"
#include "kernels/cuda/program.h"

namespace trainyard::kernels::cuda {
namespace {

// Long enough that the host's part in a stride is nothing, short enough for those who want to know
// or change something between two.
constexpr double kStrideSeconds = 0.1;

}  // namespace

StepResult CudaProgram::TrainStep(const ImageSet& images, std::span<const int32_t> indices,
                                  const StepScalars& scalars) {
  StepResult result;
  TrainSteps(images, indices, {&scalars, 1}, {&result, 1});
  return result;
}

void CudaProgram::TrainSteps(const ImageSet& images, std::span<const int32_t> indices,
                             std::span<const StepScalars> scalars, std::span<StepResult> results) {
  CheckSteps(indices, scalars, results);
  const size_t steps = scalars.size();
  if (steps == 0) return;
  const size_t batch = indices.size() / steps;
  for (size_t i = 0; i < steps; ++i) {
    CheckBatch(graph_, images, indices.subspan(i * batch, batch));
    CheckScalars(graph_, scalars[i]);
  }
  const size_t capacity = static_cast<size_t>(table_.capacity());
  for (size_t first = 0; first < steps; first += capacity) {
    const size_t count = std::min(capacity, steps - first);
    TrainStride(images, indices.subspan(first * batch, count * batch),
                scalars.subspan(first, count), results.subspan(first, count));
  }
}

void CudaProgram::TrainStride(const ImageSet& images, std::span<const int32_t> indices,
                              std::span<const StepScalars> scalars, std::span<StepResult> results) {
  using Clock = std::chrono::steady_clock;
  const size_t batch = indices.size() / scalars.size();
  const Sized& sized = PlanFor(static_cast<int>(batch), Mode::kTraining);
  const Clock::time_point start = Clock::now();
  table_.Start();
  for (size_t first = 0; first < scalars.size();) {
    first += Launch(sized, images, indices.subspan(first * batch), batch, scalars.subspan(first));
  }
  const std::span<const StepOutcome> outcomes = table_.Fetch(stream_);
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const StepOutcome& outcome = outcomes[i];
    results[i] = {outcome.loss.loss_sum / static_cast<double>(batch), outcome.loss.correct,
                  outcome.norm};
  }
  if (batch != static_cast<size_t>(graph_.batch_size)) return;
  step_seconds_ = std::chrono::duration<double>(Clock::now() - start).count() /
                  static_cast<double>(scalars.size());
}

size_t CudaProgram::Launch(const Sized& sized, const ImageSet& images,
                           std::span<const int32_t> indices, size_t batch,
                           std::span<const StepScalars> scalars) {
  Placement placement = data_.Take(images, indices, static_cast<int64_t>(batch), stream_);
  const auto count = static_cast<size_t>(placement.batches);
  for (size_t i = 0; i < count; ++i) {
    table_.Add(scalars.empty() ? nullptr : &scalars[i], placement,
               indices.subspan(i * batch, batch));
    placement.first += static_cast<int64_t>(batch);
  }
  table_.Send(stream_);
  for (size_t i = 0; i < count; ++i) sized.step->Launch(stream_);
  data_.Taken(stream_);
  return count;
}

int CudaProgram::StepsAtOnce() const {
  if (step_seconds_ <= 0) return 1;
  const double steps = std::min(kStrideSeconds / step_seconds_, double{INT32_MAX});
  return std::clamp(static_cast<int>(steps), 1, table_.capacity());
}

void CudaProgram::Expect(const ImageSet& images, std::span<const int32_t> indices) {
  CheckImages(graph_, images);
  data_.Expect(images, indices);
}

EvaluationResult CudaProgram::Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                                       std::span<float> logits) {
  CheckBatch(graph_, images, indices);
  CheckLogits(graph_, indices, logits);
  const Sized& sized = PlanFor(static_cast<int>(indices.size()), Mode::kEvaluation);
  table_.Start();
  Launch(sized, images, indices, indices.size(), {});
  if (!logits.empty()) ReadLogits(sized, logits);
  const LossResult loss = table_.Fetch(stream_)[0].loss;
  return {loss.loss_sum, loss.correct};
}

void CudaProgram::ReadLogits(const Sized& sized, std::span<float> logits) const {
  const char* device = sized.plan.At<char>(CallOf(sized, Mode::kEvaluation), sized.logits);
  const int64_t count = static_cast<int64_t>(logits.size());
  CopyToHost(stream_, device, count * sized.plan.element_bytes(), host_logits_.data());
  if (options_.precision == Precision::kBf16) {
    const bf16* values = reinterpret_cast<const bf16*>(host_logits_.data());
    std::transform(values, values + count, logits.begin(), [](bf16 v) { return ToFloat(v); });
  } else {
    std::memcpy(logits.data(), host_logits_.data(), logits.size_bytes());
  }
}

}  // namespace trainyard::kernels::cuda
