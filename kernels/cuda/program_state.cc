// What goes in and out of a program besides its steps.
#include <algorithm>

#include "kernels/augment.h"
#include "kernels/check.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/program.h"

namespace trainyard::kernels::cuda {
namespace {

template <typename T>
void Write(const Stream& stream, const std::vector<T>& values, T* device) {
  CopyToDevice(stream, values.data(), static_cast<int64_t>(values.size() * sizeof(T)), device);
}

}  // namespace

void CudaProgram::SetNormalisation(std::span<const float> mean,
                                   std::span<const float> inverse_std) {
  CheckNormalisation(graph_, mean, inverse_std);
  Write(stream_, NormalisationTable(mean, inverse_std), normalisation_);
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

void CudaProgram::PoisonScratch() {
  // All bits set: NaN as float, double and bf16, and no place in any pool's window.
  auto poison = [&](char* memory, int64_t bytes) {
    CheckCuda(cudaMemsetAsync(memory, 0xff, static_cast<size_t>(bytes), stream_.get()),
              "poisoning the scratch memory");
  };
  poison(transient_, memory_.data() + memory_.bytes() - transient_);
  poison(table_.device(), table_.device_bytes());
  for (const auto& [key, sized] : plans_) {
    if (sized.own.data() != nullptr) poison(sized.own.data(), sized.own.bytes());
  }
  stream_.Synchronize();
}

bool CudaProgram::GuardsAreWhole() const {
  const Plan& plan = FullStep();
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

}  // namespace trainyard::kernels::cuda
