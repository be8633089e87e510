#include "kernels/cpu/program.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/augment.h"
#include "kernels/check.h"
#include "kernels/cpu/builder.h"
#include "kernels/cpu/parallel.h"

namespace trainyard::kernels::cpu {
namespace {

constexpr int64_t kChunk = 16384;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

bool AllFinite(const float* values, int64_t count) {
  return std::all_of(values, values + count, [](float v) { return std::isfinite(v); });
}

// Floats of a flat span, in whole cache lines.
int64_t SpanFloats(int64_t count) { return (count + 15) / 16 * 16; }

void CopyIn(const std::vector<float>& from, float* to, int64_t count) {
  if (from.empty()) {
    std::fill(to, to + count, 0.0f);
  } else {
    std::copy(from.begin(), from.end(), to);
  }
}

}  // namespace

CpuProgram::CpuProgram(const Graph& graph, int threads)
    : graph_(graph),
      threads_(threads),
      engine_(dnnl::engine::kind::cpu, 0),
      stream_(engine_),
      loops_(BestLoops()) {
  const ThreadScope scope(threads_);
  const int64_t span = SpanFloats(graph.parameter_count);
  const int64_t fixed = 4 * (4 * span + SpanFloats(graph.statistic_count));
  std::unique_ptr<Plan> plan = MakePlan(graph.batch_size);
  CheckMemory("cpu", fixed + plan->transient_bytes());
  arena_ = Arena(fixed + plan->transient_bytes());
  parameters_ = reinterpret_cast<float*>(arena_.data());
  gradients_ = parameters_ + span;
  moment1_ = gradients_ + span;
  moment2_ = moment1_ + span;
  statistics_ = moment2_ + span;
  transient_ = arena_.data() + fixed;
  plan->Bind({transient_, parameters_, gradients_, statistics_});
  plans_[graph.batch_size].plan = std::move(plan);
  CutChunks();
  const std::vector<float> zeros(graph.values[0].channels, 0.0f);
  const std::vector<float> ones(graph.values[0].channels, 1.0f);
  table_ = NormalisationTable(zeros, ones);
}

void CpuProgram::CutChunks() {
  for (const Graph::Slice& slice : graph_.slices) {
    for (int64_t begin = 0; begin < slice.size; begin += kChunk) {
      chunks_.push_back({slice.offset + begin, std::min(kChunk, slice.size - begin), slice.decays});
    }
  }
  partial_.resize(chunks_.size());
}

int64_t CpuProgram::MeanChunk() const {
  return graph_.parameter_count / std::max<int64_t>(1, static_cast<int64_t>(chunks_.size()));
}

void CpuProgram::PoisonScratch() {
  // All bits set: NaN as float and as double, and no place in any pool's window.
  for (auto& [batch, sized] : plans_) {
    std::memset(sized.own.data() == nullptr ? transient_ : sized.own.data(), 0xFF,
                static_cast<size_t>(sized.plan->transient_bytes()));
  }
}

std::unique_ptr<Plan> CpuProgram::MakePlan(int batch) {
  auto plan = std::make_unique<Plan>(engine_, stream_);
  Builder(graph_, batch, engine_, *plan).Build();
  return plan;
}

Plan& CpuProgram::PlanFor(int batch) {
  const auto found = plans_.find(batch);
  if (found != plans_.end()) return *found->second.plan;
  Sized sized{MakePlan(batch), {}};
  const Plan& largest = *plans_.at(graph_.batch_size).plan;
  char* transient = transient_;
  if (sized.plan->transient_bytes() > largest.transient_bytes()) {
    sized.own = Arena(sized.plan->transient_bytes());
    transient = sized.own.data();
  }
  sized.plan->Bind({transient, parameters_, gradients_, statistics_});
  return *plans_.emplace(batch, std::move(sized)).first->second.plan;
}

void CpuProgram::SetNormalisation(std::span<const float> mean, std::span<const float> inverse_std) {
  CheckNormalisation(graph_, mean, inverse_std);
  table_ = NormalisationTable(mean, inverse_std);
  table_lost_ = !AllFinite(table_.data(), static_cast<int64_t>(table_.size()));
}

void CpuProgram::WriteState(const ProgramState& state) {
  CheckState(graph_, state);
  CopyIn(state.parameters, parameters_, graph_.parameter_count);
  CopyIn(state.moment1, moment1_, graph_.parameter_count);
  CopyIn(state.moment2, moment2_, graph_.parameter_count);
  CopyIn(state.statistics, statistics_, graph_.statistic_count);
  state_lost_ = !AllFinite(parameters_, graph_.parameter_count) ||
                !AllFinite(statistics_, graph_.statistic_count);
}

void CpuProgram::ReadState(ProgramState& state) const {
  const int64_t count = graph_.parameter_count;
  state.parameters.assign(parameters_, parameters_ + count);
  state.moment1.assign(moment1_, moment1_ + count);
  state.moment2.assign(moment2_, moment2_ + count);
  state.statistics.assign(statistics_, statistics_ + graph_.statistic_count);
}

StepResult CpuProgram::TrainStep(const ImageSet& images, std::span<const int32_t> indices,
                                 const StepScalars& scalars) {
  CheckBatch(graph_, images, indices);
  CheckScalars(graph_, scalars);
  const ThreadScope scope(threads_);
  Plan& plan = PlanFor(static_cast<int>(indices.size()));
  Call call;
  call.training = true;
  call.scalars = &scalars;
  call.images = &images;
  call.indices = indices;
  call.table = table_.data();
  plan.RunForward(call);
  plan.RunBackward(call);
  const bool lost = state_lost_ || table_lost_;
  const double norm = lost ? kNaN : GradientNorm();
  Update(scalars, norm);
  return {lost ? kNaN : call.loss_sum / static_cast<double>(indices.size()), call.correct, norm};
}

EvaluationResult CpuProgram::Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                                      std::span<float> logits) {
  CheckBatch(graph_, images, indices);
  CheckLogits(graph_, indices, logits);
  const ThreadScope scope(threads_);
  Plan& plan = PlanFor(static_cast<int>(indices.size()));
  Call call;
  call.images = &images;
  call.indices = indices;
  call.table = table_.data();
  call.logits = logits;
  plan.RunForward(call);
  return {state_lost_ || table_lost_ ? kNaN : call.loss_sum, call.correct};
}

double CpuProgram::GradientNorm() {
  ParallelFor(static_cast<int64_t>(chunks_.size()), MeanChunk(), [&](int64_t i) {
    partial_[i] = loops_.square_sum(gradients_ + chunks_[i].offset, chunks_[i].size);
  });
  double sum = 0;
  for (double part : partial_) sum += part;
  return std::sqrt(sum);
}

void CpuProgram::Update(const StepScalars& scalars, double gradient_norm) {
  const float clip = scalars.clip_norm > 0 && gradient_norm > scalars.clip_norm
                         ? static_cast<float>(scalars.clip_norm / gradient_norm)
                         : 1.0f;
  const double steps = static_cast<double>(scalars.step + 1);
  const double correction1 = 1 / (1 - std::pow(static_cast<double>(scalars.beta1), steps));
  const double correction2 = 1 / (1 - std::pow(static_cast<double>(scalars.beta2), steps));
  ParallelFor(static_cast<int64_t>(chunks_.size()), MeanChunk(), [&](int64_t i) {
    const auto [offset, size, decays] = chunks_[i];
    const float decay = decays ? scalars.weight_decay : 0.0f;
    const float* g = gradients_ + offset;
    float *w = parameters_ + offset, *m = moment1_ + offset, *v = moment2_ + offset;
    if (scalars.optimizer == OptimizerKind::kSgd) {
      const Sgd step{scalars.learning_rate, scalars.momentum, decay, clip, scalars.nesterov};
      partial_[i] = loops_.sgd(step, g, w, m, size);
    } else {
      const AdamW step{scalars.learning_rate,
                       scalars.beta1,
                       scalars.beta2,
                       scalars.epsilon,
                       decay,
                       clip,
                       static_cast<float>(correction1),
                       static_cast<float>(correction2)};
      partial_[i] = loops_.adamw(step, g, w, m, v, size);
    }
  });
  for (double part : partial_) state_lost_ = state_lost_ || part != 0;
  state_lost_ = state_lost_ || !AllFinite(statistics_, graph_.statistic_count);
}

void CpuProgram::ReadGradients(std::span<float> gradients) const {
  CheckGradients(graph_, gradients);
  std::copy_n(gradients_, graph_.parameter_count, gradients.begin());
}

int64_t CpuProgram::MemoryBytes() const {
  int64_t bytes = arena_.bytes();
  for (const auto& [batch, sized] : plans_) bytes += sized.own.bytes();
  return bytes;
}

std::string CpuProgram::Fingerprint() const {
  const dnnl_version_t* version = dnnl_version();
  return "cpu onednn " + std::to_string(version->major) + "." + std::to_string(version->minor) +
         "." + std::to_string(version->patch) +
         " isa=" + std::to_string(static_cast<int>(dnnl::get_effective_cpu_isa())) +
         " loops=" + loops_.isa + " threads=" + std::to_string(threads_) +
         " plan=" + plans_.at(graph_.batch_size).plan->Hash();
}

void CpuProgram::SetProfiling(bool on) { plans_.at(graph_.batch_size).plan->set_profiling(on); }

std::vector<StepTime> CpuProgram::Profile() const {
  return plans_.at(graph_.batch_size).plan->Times();
}

}  // namespace trainyard::kernels::cpu
