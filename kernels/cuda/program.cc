#include "kernels/cuda/program.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/augment.h"
#include "kernels/check.h"
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/builder.h"
#include "kernels/cuda/check.h"

namespace trainyard::kernels::cuda {
namespace {

int64_t RoundUp(int64_t bytes) { return CeilDivide(bytes, 256) * 256; }

template <typename T>
void Write(const Stream& stream, const std::vector<T>& values, T* device) {
  CopyToDevice(stream, values.data(), static_cast<int64_t>(values.size() * sizeof(T)), device);
}

// Hands out pieces of one allocation; without one, only counts.
class Carver {
 public:
  explicit Carver(char* base) : base_(base) {}
  template <typename T>
  T* Take(int64_t count) {
    char* piece = base_ == nullptr ? nullptr : base_ + bytes_;
    bytes_ += RoundUp(count * static_cast<int64_t>(sizeof(T)));
    return reinterpret_cast<T*>(piece);
  }
  int64_t bytes() const { return bytes_; }

 private:
  char* base_;
  int64_t bytes_ = 0;
};

int DropoutCount(const Graph& graph) {
  int count = 0;
  for (const Op& op : graph.ops) {
    if (op.kind == OpKind::kDropout) count = std::max(count, op.dropout + 1);
  }
  return count;
}

const char* PrecisionName(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return "fp32";
    case Precision::kTf32:
      return "tf32";
    case Precision::kBf16:
      break;
  }
  return "bf16";
}

// The state, and the largest value with its gradient, must fit before kernels are asked how much
// they work in.
int64_t LeastBytes(const Graph& graph, const SpanLayout& layout, int element_bytes) {
  int64_t largest = 0;
  for (const ValueShape& shape : graph.values) largest = std::max(largest, shape.size());
  return 4 * 4 * layout.parameters().count() + 2 * largest * element_bytes * graph.batch_size;
}

bool SameSet(const ImageSet& a, const ImageSet& b) {
  return a.pixels.data() == b.pixels.data() && a.pixels.size() == b.pixels.size() &&
         a.labels.data() == b.labels.data() && a.labels.size() == b.labels.size();
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

}  // namespace

CudaProgram::CudaProgram(const Graph& graph, ProgramOptions options)
    : graph_(graph), options_(std::move(options)), layout_(graph_), inputs_(LayOutInputs(graph_)) {
  CheckDeviceMemory(options_.backend,
                    LeastBytes(graph_, layout_, Plan(options_.precision).element_bytes()));
  Sized training = MakePlan(graph_.batch_size, Mode::kTraining);
  Sized evaluation = MakePlan(graph_.batch_size, Mode::kEvaluation);
  Allocate(std::max(training.plan.transient_bytes(), evaluation.plan.transient_bytes()));
  // Whatever a kernel refuses, it refuses now: the captured steps are thrown away.
  for (const auto& [sized, mode] :
       {std::pair(&training, Mode::kTraining), std::pair(&evaluation, Mode::kEvaluation)}) {
    Call call = CallOf(*sized, mode);
    call.pixels = reinterpret_cast<const uint8_t*>(memory_.data());
    call.labels = reinterpret_cast<const int32_t*>(memory_.data());
    StepGraph(stream_, [&] { Enqueue(*sized, call); });
  }
  plans_.emplace(std::pair(graph_.batch_size, Mode::kTraining), std::move(training));
  plans_.emplace(std::pair(graph_.batch_size, Mode::kEvaluation), std::move(evaluation));
}

CudaProgram::Inputs CudaProgram::LayOutInputs(const Graph& graph) {
  Inputs inputs;
  inputs.rates = RoundUp(sizeof(StepBlock));
  inputs.indices = inputs.rates + RoundUp(DropoutCount(graph) * sizeof(DropoutRate));
  inputs.bytes = inputs.indices + int64_t{graph.batch_size} * sizeof(int32_t);
  return inputs;
}

void CudaProgram::Allocate(int64_t transient_bytes) {
  const int64_t count = layout_.parameters().count();
  const bool low = options_.precision == Precision::kBf16;
  auto carve = [&](char* base) {
    Carver carver(base);
    spans_.count = count;
    spans_.parameters = carver.Take<float>(count);
    spans_.moment1 = carver.Take<float>(count);
    spans_.moment2 = carver.Take<float>(count);
    gradients_ = carver.Take<float>(count);
    statistics_ = carver.Take<float>(layout_.statistics().count());
    spans_.copy = low ? carver.Take<bf16>(count) : nullptr;
    decays_ = carver.Take<uint8_t>(static_cast<int64_t>(layout_.decays().size()));
    table_ = carver.Take<float>(256 * graph_.values[0].channels);
    device_inputs_ = carver.Take<char>(inputs_.bytes);
    device_outputs_ = carver.Take<Outputs>(1);
    transient_ = carver.Take<char>(transient_bytes);
    return carver.bytes();
  };
  const int64_t bytes = carve(nullptr);
  CheckDeviceMemory(options_.backend, bytes);
  memory_ = DeviceMemory(options_.backend, bytes);
  carve(memory_.data());
  spans_.gradients = gradients_;
  spans_.decays = decays_;
  // State, gradients that no step writes, and what lies between tensors are zero.
  CheckCuda(cudaMemsetAsync(memory_.data(), 0, static_cast<size_t>(bytes), stream_.get()),
            "clearing the device's memory");
  Write(stream_, layout_.decays(), decays_);
  host_inputs_ = PinnedMemory(inputs_.bytes);
  host_outputs_ = PinnedMemory(sizeof(Outputs));
  host_logits_ = PinnedMemory(int64_t{graph_.batch_size} * graph_.classes * sizeof(float));
  std::memset(host_inputs_.data(), 0, static_cast<size_t>(inputs_.bytes));
  const std::vector<float> zeros(graph_.values[0].channels, 0.0f);
  const std::vector<float> ones(graph_.values[0].channels, 1.0f);
  SetNormalisation(zeros, ones);
}

CudaProgram::Sized CudaProgram::MakePlan(int batch, Mode mode) const {
  Sized sized{Plan(options_.precision), {}, {}, {}};
  Builder builder(graph_, layout_, batch, mode == Mode::kTraining, sized.plan);
  builder.Build();
  sized.plan.Finish(options_.guard_bytes);
  sized.logits = builder.logits();
  return sized;
}

CudaProgram::Sized& CudaProgram::PlanFor(int batch, Mode mode) {
  const auto found = plans_.find({batch, mode});
  if (found != plans_.end()) return found->second;
  Sized sized = MakePlan(batch, mode);
  const int64_t shared = memory_.data() + memory_.bytes() - transient_;
  if (sized.plan.transient_bytes() > shared) {
    sized.own = DeviceMemory(options_.backend, sized.plan.transient_bytes());
  }
  return plans_.emplace(std::pair(batch, mode), std::move(sized)).first->second;
}

const CudaProgram::Resident& CudaProgram::Upload(const ImageSet& images) {
  for (const auto& resident : sets_) {
    if (SameSet(resident->set, images)) return *resident;
  }
  auto resident = std::make_unique<Resident>();
  resident->set = images;
  const int64_t pixels = static_cast<int64_t>(images.pixels.size_bytes());
  const int64_t labels = static_cast<int64_t>(images.labels.size_bytes());
  resident->pixels = DeviceMemory(options_.backend + ": the images", pixels);
  resident->labels = DeviceMemory(options_.backend + ": the labels", labels);
  CopyToDevice(stream_, images.pixels.data(), pixels, resident->pixels.data());
  CopyToDevice(stream_, images.labels.data(), labels, resident->labels.data());
  sets_.push_back(std::move(resident));
  return *sets_.back();
}

Call CudaProgram::CallOf(const Sized& sized, Mode mode) const {
  Call call;
  call.stream = stream_.get();
  call.indices = reinterpret_cast<const int32_t*>(device_inputs_ + inputs_.indices);
  call.table = table_;
  if (mode == Mode::kTraining) {
    call.step = reinterpret_cast<const StepBlock*>(device_inputs_);
    call.rates = reinterpret_cast<const DropoutRate*>(device_inputs_ + inputs_.rates);
  }
  call.loss = &device_outputs_->loss;
  call.norm = &device_outputs_->norm;
  call.spans = spans_;
  call.gradients = gradients_;
  call.statistics = statistics_;
  call.weights = options_.precision == Precision::kBf16 ? static_cast<void*>(spans_.copy)
                                                        : static_cast<void*>(spans_.parameters);
  call.transient = sized.own.data() != nullptr ? sized.own.data() : transient_;
  return call;
}

void CudaProgram::Enqueue(const Sized& sized, const Call& call) const {
  CheckCuda(cudaMemcpyAsync(device_inputs_, host_inputs_.data(), static_cast<size_t>(inputs_.bytes),
                            cudaMemcpyHostToDevice, stream_.get()),
            "copying a step's inputs");
  sized.plan.Enqueue(call);
  CheckCuda(cudaMemcpyAsync(host_outputs_.data(), device_outputs_, sizeof(Outputs),
                            cudaMemcpyDeviceToHost, stream_.get()),
            "copying a step's outputs");
}

const CudaProgram::Sized& CudaProgram::Run(Mode mode, const ImageSet& images,
                                           std::span<const int32_t> indices) {
  const Resident& resident = Upload(images);
  Sized& sized = PlanFor(static_cast<int>(indices.size()), mode);
  std::memcpy(host_inputs_.data() + inputs_.indices, indices.data(), indices.size_bytes());
  auto graph = sized.graphs.find(&resident);
  if (graph == sized.graphs.end()) {
    Call call = CallOf(sized, mode);
    call.pixels = reinterpret_cast<const uint8_t*>(resident.pixels.data());
    call.labels = reinterpret_cast<const int32_t*>(resident.labels.data());
    StepGraph captured(stream_, [&] { Enqueue(sized, call); });
    graph = sized.graphs.emplace(&resident, std::move(captured)).first;
  }
  graph->second.Launch(stream_);
  return sized;
}

void CudaProgram::WriteScalars(const StepScalars& scalars) {
  const StepBlock block = MakeBlock(scalars);
  std::memcpy(host_inputs_.data(), &block, sizeof block);
  auto* rates = reinterpret_cast<DropoutRate*>(host_inputs_.data() + inputs_.rates);
  for (const Op& op : graph_.ops) {
    if (op.kind != OpKind::kDropout) continue;
    const float rate = scalars.dropout_rates[op.dropout];
    rates[op.dropout] = {DropoutThreshold(rate), 1.0f / (1.0f - rate)};
  }
}

StepResult CudaProgram::TrainStep(const ImageSet& images, std::span<const int32_t> indices,
                                  const StepScalars& scalars) {
  CheckBatch(graph_, images, indices);
  CheckScalars(graph_, scalars);
  WriteScalars(scalars);
  Run(Mode::kTraining, images, indices);
  const Outputs outputs = TakeOutputs();
  return {outputs.loss.loss_sum / static_cast<double>(indices.size()), outputs.loss.correct,
          outputs.norm};
}

EvaluationResult CudaProgram::Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                                       std::span<float> logits) {
  CheckBatch(graph_, images, indices);
  CheckLogits(graph_, indices, logits);
  const Sized& sized = Run(Mode::kEvaluation, images, indices);
  if (!logits.empty()) ReadLogits(sized, logits);
  const Outputs outputs = TakeOutputs();
  return {outputs.loss.loss_sum, outputs.loss.correct};
}

CudaProgram::Outputs CudaProgram::TakeOutputs() const {
  stream_.Synchronize();
  Outputs outputs;
  std::memcpy(&outputs, host_outputs_.data(), sizeof outputs);
  return outputs;
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

void CudaProgram::SetNormalisation(std::span<const float> mean,
                                   std::span<const float> inverse_std) {
  CheckNormalisation(graph_, mean, inverse_std);
  Write(stream_, NormalisationTable(mean, inverse_std), table_);
}

void CudaProgram::ReadSpan(const DeviceSpan& span, const float* device,
                           std::span<float> canonical) const {
  std::vector<float> values(span.count());
  CopyToHost(stream_, device, static_cast<int64_t>(values.size() * sizeof(float)), values.data());
  span.ToCanonical(values, canonical);
}

void CudaProgram::WriteState(const ProgramState& state) {
  CheckState(graph_, state);
  const std::vector<float> parameters = layout_.parameters().ToDevice(state.parameters);
  Write(stream_, parameters, spans_.parameters);
  Write(stream_, layout_.parameters().ToDevice(state.moment1), spans_.moment1);
  Write(stream_, layout_.parameters().ToDevice(state.moment2), spans_.moment2);
  Write(stream_, layout_.statistics().ToDevice(state.statistics), statistics_);
  if (spans_.copy == nullptr) return;
  std::vector<bf16> low(parameters.size());
  std::transform(parameters.begin(), parameters.end(), low.begin(), ToBf16);
  Write(stream_, low, spans_.copy);
}

void CudaProgram::ReadState(ProgramState& state) const {
  state.parameters.resize(graph_.parameter_count);
  state.moment1.resize(graph_.parameter_count);
  state.moment2.resize(graph_.parameter_count);
  state.statistics.resize(graph_.statistic_count);
  ReadSpan(layout_.parameters(), spans_.parameters, state.parameters);
  ReadSpan(layout_.parameters(), spans_.moment1, state.moment1);
  ReadSpan(layout_.parameters(), spans_.moment2, state.moment2);
  ReadSpan(layout_.statistics(), statistics_, state.statistics);
}

void CudaProgram::ReadGradients(std::span<float> gradients) const {
  CheckGradients(graph_, gradients);
  ReadSpan(layout_.parameters(), gradients_, gradients);
}

int64_t CudaProgram::MemoryBytes() const {
  int64_t bytes = memory_.bytes();
  for (const auto& [key, sized] : plans_) bytes += sized.own.bytes();
  for (const auto& resident : sets_) bytes += resident->pixels.bytes() + resident->labels.bytes();
  return bytes;
}

std::string CudaProgram::Fingerprint() const {
  return options_.backend + " " + PrecisionName(options_.precision) + " " + DescribeDevice() +
         " plan=" + plans_.at({graph_.batch_size, Mode::kTraining}).plan.Hash();
}

void CudaProgram::PoisonScratch() {
  // All bits set: NaN as float, double and bf16, and no place in any pool's window.
  auto poison = [&](char* memory, int64_t bytes) {
    CheckCuda(cudaMemsetAsync(memory, 0xff, static_cast<size_t>(bytes), stream_.get()),
              "poisoning the scratch memory");
  };
  poison(transient_, memory_.data() + memory_.bytes() - transient_);
  poison(reinterpret_cast<char*>(device_outputs_), sizeof(Outputs));
  for (const auto& [key, sized] : plans_) {
    if (sized.own.data() != nullptr) poison(sized.own.data(), sized.own.bytes());
  }
  stream_.Synchronize();
}

bool CudaProgram::GuardsAreWhole() const {
  const Plan& plan = plans_.at({graph_.batch_size, Mode::kTraining}).plan;
  std::vector<unsigned char> bytes(plan.transient_bytes());
  CopyToHost(stream_, transient_, static_cast<int64_t>(bytes.size()), bytes.data());
  for (const Plan::Guard& guard : plan.Guards()) {
    const auto first = bytes.begin() + guard.offset;
    if (std::any_of(first, first + guard.bytes, [](unsigned char b) { return b != 0xff; })) {
      return false;
    }
  }
  return true;
}

std::vector<std::string> CudaProgram::StepNames() const {
  return plans_.at({graph_.batch_size, Mode::kTraining}).plan.StepNames();
}

}  // namespace trainyard::kernels::cuda
