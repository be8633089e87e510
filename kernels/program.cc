#include "kernels/backend.h"
#include "kernels/check.h"

namespace trainyard::kernels {

void Program::TrainSteps(const ImageSet& images, std::span<const int32_t> indices,
                         std::span<const StepScalars> scalars, std::span<StepResult> results) {
  CheckSteps(indices, scalars, results);
  const size_t batch = scalars.empty() ? 0 : indices.size() / scalars.size();
  for (size_t i = 0; i < scalars.size(); ++i) {
    results[i] = TrainStep(images, indices.subspan(i * batch, batch), scalars[i]);
  }
}

}  // namespace trainyard::kernels
