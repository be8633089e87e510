#include "worker/logits/logits.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <span>

#include "network/shapes.h"
#include "proto/spec_convert.h"
#include "worker/engine/evaluation.h"
#include "worker/engine/planner.h"
#include "worker/engine/weights.h"

namespace trainyard::logits {

using kernels::Error;

namespace {

constexpr int64_t kBatchMax = 16;

}  // namespace

network::Network ParseNetwork(const std::string& json) {
  v1::Network message;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &message);
  if (!status.ok()) throw Error("network: " + std::string(status.message()));
  return FromProto(message);
}

std::vector<float> ComputeLogits(const network::Network& network, std::string_view weights,
                                 std::string_view pixels, const std::string& backend_name) {
  const std::vector<network::Problem> problems = network::CheckNetwork(network);
  if (!problems.empty()) throw Error(problems[0].path + ": " + problems[0].message);
  const int64_t size = network.input.size();
  const auto bytes = static_cast<int64_t>(pixels.size());
  if (bytes == 0 || bytes % size != 0) {
    throw Error("pixels: found " + std::to_string(bytes) + " bytes, expected a multiple of " +
                std::to_string(size) + " by the network's input");
  }
  const int64_t count = bytes / size;
  const engine::Plan plan = engine::MakePlan(network, static_cast<int>(std::min(count, kBatchMax)));
  const std::unique_ptr<kernels::Backend> backend = kernels::MakeBackend({backend_name, 0});
  const std::unique_ptr<kernels::Program> program = backend->Lower(plan.graph);
  const auto channels = static_cast<size_t>(network.input.channels);
  program->SetNormalisation(std::vector<float>(channels, 0), std::vector<float>(channels, 1));
  program->WriteState(engine::ParseWeights(weights, plan.parameters));

  const std::vector<int32_t> labels(static_cast<size_t>(count), 0);  // of no influence
  kernels::ImageSet images;
  images.pixels = {reinterpret_cast<const uint8_t*>(pixels.data()), pixels.size()};
  images.labels = labels;
  images.shape = {network.input.channels, network.input.height, network.input.width};
  std::vector<int32_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  std::vector<float> logits(all.size() * static_cast<size_t>(network.classes));
  engine::Score(*program, images, all, plan.graph.batch_size, logits, {});
  return logits;
}

}  // namespace trainyard::logits
