#include "kernels/cuda/program.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/builder.h"
#include "kernels/cuda/check.h"
#include "kernels/explain.h"

namespace trainyard::kernels::cuda {
namespace {

// Hands out pieces of one allocation; without one, only counts.
class Carver {
 public:
  explicit Carver(char* base) : base_(base) {}
  template <typename T>
  T* Take(int64_t count) {
    char* piece = base_ == nullptr ? nullptr : base_ + bytes_;
    bytes_ += RoundUp<256>(count * static_cast<int64_t>(sizeof(T)));
    return reinterpret_cast<T*>(piece);
  }
  int64_t bytes() const { return bytes_; }

 private:
  char* base_;
  int64_t bytes_ = 0;
};

// The state, and the largest value with its gradient, must fit before kernels are asked how much
// they work in.
int64_t LeastBytes(const Graph& graph, const SpanLayout& layout, int element_bytes) {
  int64_t largest = 0;
  for (const ValueShape& shape : graph.values) largest = std::max(largest, shape.size());
  return 4 * 4 * layout.parameters().count() + 2 * largest * element_bytes * graph.batch_size;
}

}  // namespace

CudaProgram::CudaProgram(const Graph& graph, ProgramOptions options)
    : graph_(graph),
      options_(std::move(options)),
      layout_(graph_),
      libraries_(options_.libraries ? Libraries::Open(stream_.get(), options_.cache_folder)
                                    : nullptr),
      table_(graph_),
      data_(options_.backend, graph_.values[0], graph_.batch_size, options_.data_bytes_max) {
  try {
    Lower();
  } catch (const Error&) {
    TellLoss();
    throw;
  }
}

void CudaProgram::Lower() {
  CheckDeviceMemory(options_.backend,
                    LeastBytes(graph_, layout_, Plan(options_.precision).element_bytes()));
  Sized training = MakePlan(graph_.batch_size, Mode::kTraining);
  Sized evaluation = MakePlan(graph_.batch_size, Mode::kEvaluation);
  Allocate(std::max(training.plan.transient_bytes(), evaluation.plan.transient_bytes()));
  // Whatever a kernel refuses, it refuses now.
  Add(std::move(training), graph_.batch_size, Mode::kTraining);
  Add(std::move(evaluation), graph_.batch_size, Mode::kEvaluation);
  fingerprint_ = Describe();
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
    normalisation_ = carver.Take<float>(256 * graph_.values[0].channels);
    table_.PlaceAt(carver.Take<char>(table_.device_bytes()));
    transient_ = carver.Take<char>(transient_bytes);
    return carver.bytes();
  };
  const int64_t bytes = carve(nullptr);
  CheckDeviceMemory(options_.backend,
                    bytes + ImageStream::LeastBytes(graph_.values[0], graph_.batch_size) +
                        DeviceReserve(DeviceMemoryNow().total));
  memory_ = DeviceMemory(options_.backend, bytes);
  carve(memory_.data());
  spans_.gradients = gradients_;
  spans_.decays = decays_;
  // State, gradients that no step writes, and what lies between tensors are zero.
  CheckCuda(cudaMemsetAsync(memory_.data(), 0, static_cast<size_t>(bytes), stream_.get()),
            "clearing the device's memory");
  CopyToDevice(stream_, layout_.decays().data(), static_cast<int64_t>(layout_.decays().size()),
               decays_);
  host_logits_ = PinnedMemory(int64_t{graph_.batch_size} * graph_.classes * sizeof(float));
  const std::vector<float> zeros(graph_.values[0].channels, 0.0f);
  const std::vector<float> ones(graph_.values[0].channels, 1.0f);
  SetNormalisation(zeros, ones);
}

CudaProgram::Sized CudaProgram::MakePlan(int batch, Mode mode) const {
  Sized sized{Plan(options_.precision, libraries_.get()), {}, {}, {}};
  Builder builder(graph_, layout_, batch, mode == Mode::kTraining, sized.plan);
  builder.Build();
  sized.plan.Finish(options_.guard_bytes);
  sized.logits = builder.logits();
  return sized;
}

CudaProgram::Sized& CudaProgram::PlanFor(int batch, Mode mode) {
  const auto found = plans_.find({batch, mode});
  if (found != plans_.end()) return found->second;
  try {
    return Add(MakePlan(batch, mode), batch, mode);
  } catch (const Error&) {
    TellLoss();
    throw;
  }
}

// NVIDIA's libraries have no word for a device that is lost: the stream has.
void CudaProgram::TellLoss() const { stream_.Synchronize(); }

CudaProgram::Sized& CudaProgram::Add(Sized sized, int batch, Mode mode) {
  const int64_t shared = memory_.data() + memory_.bytes() - transient_;
  if (sized.plan.transient_bytes() > shared) {
    sized.own = DeviceMemory(options_.backend, sized.plan.transient_bytes());
  }
  const bool training = mode == Mode::kTraining;
  // What a library does when a plan first runs (loads kernels, allocates, fills what is its own) is
  // no part of the step: the capture must not record it. The gradients are the last step's or none.
  sized.plan.EnqueueLibrarySteps(CallOf(sized, mode));
  if (training) {
    CheckCuda(cudaMemsetAsync(gradients_, 0, spans_.count * sizeof(float), stream_.get()),
              "clearing the gradients");
  }
  stream_.Synchronize();
  sized.step.emplace(stream_, [&] {
    table_.EnqueueBegin(batch, stream_.get());
    sized.plan.Enqueue(CallOf(sized, mode));
    table_.EnqueueEnd(training, stream_.get());
  });
  return plans_.emplace(std::pair(batch, mode), std::move(sized)).first->second;
}

Call CudaProgram::CallOf(const Sized& sized, Mode mode) const {
  Call call;
  call.stream = stream_.get();
  table_.SetPlaces(mode == Mode::kTraining, call);
  call.table = normalisation_;
  call.spans = spans_;
  call.gradients = gradients_;
  call.statistics = statistics_;
  call.weights = options_.precision == Precision::kBf16 ? static_cast<void*>(spans_.copy)
                                                        : static_cast<void*>(spans_.parameters);
  call.transient = sized.own.data() != nullptr ? sized.own.data() : transient_;
  return call;
}

const Plan& CudaProgram::FullStep() const {
  return plans_.at({graph_.batch_size, Mode::kTraining}).plan;
}

int64_t CudaProgram::MemoryBytes() const {
  int64_t bytes = memory_.bytes() + data_.bytes();
  for (const auto& [key, sized] : plans_) bytes += sized.own.bytes();
  return bytes;
}

std::string CudaProgram::Describe() const {
  std::string text = options_.backend + " " + PrecisionName(options_.precision) + " ";
  text += DescribeDevice() + " ";
  if (libraries_ != nullptr) text += libraries_->Describe() + " ";
  return text + "plan=" + FullStep().Hash();
}

std::vector<std::string> CudaProgram::StepNames() const { return FullStep().StepNames(); }

std::vector<std::string> CudaProgram::Explain() const { return ExplainSteps(graph_, StepNames()); }

}  // namespace trainyard::kernels::cuda
