#include "worker/engine/explain.h"

#include <memory>

#include "worker/engine/planner.h"

namespace trainyard::engine {

std::string Explain(const network::Configuration& configuration, kernels::BackendOptions options) {
  const Plan plan = MakePlan(configuration.network, configuration.training.batch_size);
  options.precision = PrecisionOf(configuration.training);
  const std::unique_ptr<kernels::Backend> backend = kernels::MakeBackend(options);
  const std::unique_ptr<kernels::Program> program = backend->Lower(plan.graph);
  const int64_t mebibytes = (program->MemoryBytes() + (1 << 20) - 1) >> 20;
  std::string text = program->Fingerprint() + "\nbatches of " +
                     std::to_string(plan.graph.batch_size) + ", " +
                     std::to_string(plan.graph.parameter_count) + " parameters, " +
                     std::to_string(mebibytes) + " MiB\n\n";
  for (const std::string& line : program->Explain()) text += line + "\n";
  return text;
}

}  // namespace trainyard::engine
