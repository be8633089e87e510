#include "kernels/cuda/device_backend.h"

#include <utility>

#include "kernels/cuda/check.h"
#include "kernels/cuda/runtime.h"

namespace trainyard::kernels::cuda {
namespace {

void Enter(int device) { CheckCuda(cudaSetDevice(device), "choosing the GPU"); }

class DeviceProgram : public Program {
 public:
  DeviceProgram(int device, std::unique_ptr<Program> program)
      : device_(device), program_(std::move(program)) {}
  // On a device that is lost nothing is left to be freed.
  ~DeviceProgram() override { cudaSetDevice(device_); }

  void SetNormalisation(std::span<const float> mean, std::span<const float> inverse_std) override {
    Entered().SetNormalisation(mean, inverse_std);
  }
  void WriteState(const ProgramState& state) override { Entered().WriteState(state); }
  void ReadState(ProgramState& state) const override { Entered().ReadState(state); }
  StepResult TrainStep(const ImageSet& images, std::span<const int32_t> indices,
                       const StepScalars& scalars) override {
    return Entered().TrainStep(images, indices, scalars);
  }
  void TrainSteps(const ImageSet& images, std::span<const int32_t> indices,
                  std::span<const StepScalars> scalars, std::span<StepResult> results) override {
    Entered().TrainSteps(images, indices, scalars, results);
  }
  int StepsAtOnce() const override { return Entered().StepsAtOnce(); }
  void Expect(const ImageSet& images, std::span<const int32_t> indices) override {
    Entered().Expect(images, indices);
  }
  EvaluationResult Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                            std::span<float> logits) override {
    return Entered().Evaluate(images, indices, logits);
  }
  void ReadGradients(std::span<float> gradients) const override {
    Entered().ReadGradients(gradients);
  }
  int64_t MemoryBytes() const override { return Entered().MemoryBytes(); }
  std::string Fingerprint() const override { return Entered().Fingerprint(); }
  std::vector<std::string> Explain() const override { return Entered().Explain(); }

 private:
  Program& Entered() const {
    Enter(device_);
    return *program_;
  }

  const int device_;
  const std::unique_ptr<Program> program_;
};

class DeviceBackend : public Backend {
 public:
  DeviceBackend(int device, std::unique_ptr<Backend> backend)
      : device_(device), backend_(std::move(backend)) {}
  std::string name() const override { return backend_->name(); }
  std::unique_ptr<Program> Lower(const Graph& graph) override {
    Enter(device_);
    return std::make_unique<DeviceProgram>(device_, backend_->Lower(graph));
  }

 private:
  const int device_;
  const std::unique_ptr<Backend> backend_;
};

}  // namespace

std::unique_ptr<Backend> OnDevice(int device,
                                  const std::function<std::unique_ptr<Backend>()>& make) {
  Enter(device);
  return std::make_unique<DeviceBackend>(device, make());
}

}  // namespace trainyard::kernels::cuda
