#include "worker/engine/weights.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "worker/engine/safetensors.h"

namespace trainyard::engine {
namespace {

using kernels::Error;
using network::Parameter;

std::string Text(const std::vector<int64_t>& dims) {
  std::string text;
  for (const int64_t dim : dims) text += (text.empty() ? "" : ", ") + std::to_string(dim);
  return "(" + text + ")";
}

[[noreturn]] void Fail(const std::string& name, const std::string& problem) {
  throw Error("weights: tensor \"" + name.substr(0, 80) + "\": " + problem);
}

void CheckValues(const Parameter& parameter, const float* values) {
  const bool variance = parameter.role == Parameter::Role::kRunningVar;
  for (int64_t i = 0; i < parameter.size(); ++i) {
    if (std::isfinite(values[i]) && !(variance && values[i] < 0)) continue;
    Fail(parameter.name, "value " + std::to_string(i) + ": found " + std::to_string(values[i]) +
                             ", expected a number" + (variance ? " of at least 0" : ""));
  }
}

}  // namespace

kernels::ProgramState ParseWeights(std::string_view bytes,
                                   const std::vector<Parameter>& parameters) {
  const SafetensorsFile file = ParseSafetensors(bytes, Checksum::kIfThere);
  std::map<std::string_view, const TensorEntry*> tensors;
  for (const TensorEntry& tensor : file.tensors) tensors[tensor.name] = &tensor;
  kernels::ProgramState state;
  for (const Parameter& parameter : parameters) {
    const auto found = tensors.find(parameter.name);
    if (found == tensors.end()) {
      Fail(parameter.name, "found none, expected one of shape " + Text(parameter.dims));
    }
    const TensorEntry& tensor = *found->second;
    if (tensor.dims != parameter.dims) {
      Fail(parameter.name, "found the shape " + Text(tensor.dims) + ", expected " +
                               Text(parameter.dims) + " by the network");
    }
    std::vector<float>& span = parameter.trainable() ? state.parameters : state.statistics;
    const size_t at = span.size();
    AppendValues(bytes, tensor, &span);
    CheckValues(parameter, span.data() + at);
    tensors.erase(found);
  }
  if (!tensors.empty()) {
    Fail(std::string(tensors.begin()->first), "the network has none of this name");
  }
  return state;
}

}  // namespace trainyard::engine
