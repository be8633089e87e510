#include "kernels/cpu/program.h"

#include <chrono>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/check.h"
#include "kernels/cpu/builder.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/target.h"

namespace trainyard::kernels::cpu {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

CpuProgram::CpuProgram(const Graph& graph, int threads)
    : graph_(graph),
      threads_(threads),
      layout_(graph_),
      loader_(graph.values[0], graph.batch_size) {
  CheckMemory("cpu", ProgramMemory::StateBytes(layout_));
  const ThreadScope scope(threads_);
  Sized& largest = plans_[graph.batch_size];
  largest.plan = MakePlan(graph.batch_size);
  const ProgramMemory::Room room{largest.plan->transient_bytes(),
                                 largest.plan->scratch_bytes(threads_)};
  CheckMemory("cpu", ProgramMemory::Bytes(layout_, room) + loader_.bytes(),
              "a smaller batch or fewer threads need less");
  memory_ = std::make_unique<ProgramMemory>(layout_, room);
  Bind(largest);
}

std::unique_ptr<Plan> CpuProgram::MakePlan(int batch) const {
  auto plan = std::make_unique<Plan>();
  Builder(graph_, layout_, batch, *plan).Build();
  return plan;
}

void CpuProgram::Bind(Sized& sized) {
  Bases bases{memory_->transient(), memory_->parameters(), memory_->gradients(),
              memory_->statistics(), memory_->scratch()};
  const Plan& plan = *sized.plan;
  const int64_t scratch = plan.scratch_bytes(threads_);
  const Plan& largest = *plans_.at(graph_.batch_size).plan;
  if (plan.transient_bytes() > largest.transient_bytes() ||
      scratch > largest.scratch_bytes(threads_)) {
    const int64_t transient = OwnPages(plan.transient_bytes());
    sized.own = Arena(transient + scratch);
    bases.transient = sized.own.data();
    bases.scratch = reinterpret_cast<float*>(sized.own.data() + transient);
  }
  sized.plan->Bind(bases);
}

CpuProgram::Sized& CpuProgram::SizedFor(int batch) {
  const auto found = plans_.find(batch);
  if (found != plans_.end()) return found->second;
  Sized sized{MakePlan(batch), {}};
  Bind(sized);
  return plans_.emplace(batch, std::move(sized)).first->second;
}

void CpuProgram::SetNormalisation(std::span<const float> mean, std::span<const float> inverse_std) {
  CheckNormalisation(graph_, mean, inverse_std);
  loader_.SetNormalisation(mean, inverse_std);
}

void CpuProgram::WriteState(const ProgramState& state) {
  CheckState(graph_, state);
  const ThreadScope scope(threads_);
  memory_->WriteState(state);
  fresh_ = nullptr;
}

void CpuProgram::ReadState(ProgramState& state) const {
  const ThreadScope scope(threads_);
  memory_->ReadState(state);
}

void CpuProgram::Expect(const ImageSet& images, std::span<const int32_t> indices) {
  loader_.Expect(images, indices);
}

Call CpuProgram::CallOf(const ImageSet& images, std::span<const int32_t> indices,
                        const StepScalars* scalars, const Plan& plan) {
  Call call;
  call.training = scalars != nullptr;
  call.weights_kept = fresh_ == &plan;
  call.scalars = scalars;
  call.input = loader_.Take(images, indices, scalars);
  call.images = &images;
  call.indices = indices;
  return call;
}

StepResult CpuProgram::TrainStep(const ImageSet& images, std::span<const int32_t> indices,
                                 const StepScalars& scalars) {
  CheckBatch(graph_, images, indices);
  CheckScalars(graph_, scalars);
  const ThreadScope scope(threads_);
  Sized& sized = SizedFor(static_cast<int>(indices.size()));
  Call call = CallOf(images, indices, &scalars, *sized.plan);
  const bool lost = memory_->lost() || !loader_.finite();
  sized.plan->RunForward(call);
  sized.plan->RunBackward(call);
  fresh_ = nullptr;
  const double norm = Update(scalars);
  if (lost) return {kNaN, call.correct, kNaN};
  return {call.loss_sum / static_cast<double>(indices.size()), call.correct, norm};
}

double CpuProgram::Update(const StepScalars& scalars) {
  using Clock = std::chrono::steady_clock;
  if (!profiling_) return memory_->Update(scalars);
  const Clock::time_point start = Clock::now();
  const double norm = memory_->Update(scalars);
  optimizer_seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
  return norm;
}

EvaluationResult CpuProgram::Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                                      std::span<float> logits) {
  CheckBatch(graph_, images, indices);
  CheckLogits(graph_, indices, logits);
  const ThreadScope scope(threads_);
  Sized& sized = SizedFor(static_cast<int>(indices.size()));
  Call call = CallOf(images, indices, nullptr, *sized.plan);
  call.logits = logits;
  sized.plan->RunForward(call);
  fresh_ = sized.plan.get();
  return {memory_->lost() || !loader_.finite() ? kNaN : call.loss_sum, call.correct};
}

void CpuProgram::ReadGradients(std::span<float> gradients) const {
  CheckGradients(graph_, gradients);
  const ThreadScope scope(threads_);
  memory_->ReadGradients(gradients);
}

void CpuProgram::PoisonScratch() {
  memory_->PoisonScratch();
  for (auto& [batch, sized] : plans_) {
    if (sized.own.data() == nullptr) continue;
    std::memset(sized.own.data(), 0xFF, static_cast<size_t>(sized.own.bytes()));
  }
  fresh_ = nullptr;
}

int64_t CpuProgram::MemoryBytes() const {
  int64_t bytes = memory_->bytes() + loader_.bytes();
  for (const auto& [batch, sized] : plans_) bytes += sized.own.bytes();
  return bytes;
}

std::string CpuProgram::Fingerprint() const {
  return "cpu " + SimdKind() + " arithmetic=" + std::to_string(kArithmetic) +
         " plan=" + plans_.at(graph_.batch_size).plan->Hash();
}

std::vector<std::string> CpuProgram::Explain() const {
  return plans_.at(graph_.batch_size).plan->explanation();
}

void CpuProgram::SetProfiling(bool on) {
  profiling_ = on;
  optimizer_seconds_ = 0;
  plans_.at(graph_.batch_size).plan->set_profiling(on);
  loader_.ResetWaits();
}

std::vector<StepTime> CpuProgram::Profile() const {
  std::vector<StepTime> times = plans_.at(graph_.batch_size).plan->Times();
  times.push_back({"optimizer", optimizer_seconds_});
  times.push_back({"wait for batch", loader_.waits().seconds});
  return times;
}

}  // namespace trainyard::kernels::cpu
