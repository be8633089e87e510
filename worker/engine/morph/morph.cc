#include "worker/engine/morph/morph.h"

#include "network/shapes.h"
#include "worker/engine/morph/heir.h"

namespace trainyard::engine {
namespace {

using kernels::Error;
using network::Network;
using network::Parameter;

std::string Text(const std::vector<int64_t>& dims) {
  std::string text;
  for (const int64_t dim : dims) text += (text.empty() ? "" : ", ") + std::to_string(dim);
  return "(" + text + ")";
}

std::string Text(const Network& network) {
  const network::Shape& in = network.input;
  return Text(std::vector<int64_t>{in.channels, in.height, in.width}) + " images in " +
         std::to_string(network.classes) + " classes";
}

void CheckNetworks(const Network& parent, const Network& child) {
  for (const auto& [network, whose] : {std::pair{&parent, "inherited network: "}, {&child, ""}}) {
    const std::vector<network::Problem> problems = network::CheckNetwork(*network);
    if (!problems.empty()) throw Error(whose + problems[0].path + ": " + problems[0].message);
  }
  if (parent.input == child.input && parent.classes == child.classes) return;
  throw Error("inherited network: found one for " + Text(parent) + ", expected one for " +
              Text(child));
}

[[noreturn]] void Fail(const std::string& what, const std::string& found,
                       const std::string& expected) {
  throw Error("checkpoint to inherit from: " + what + ": found " + found + ", expected " +
              expected);
}

std::string Tensor(const std::string& name) { return "tensor \"" + name.substr(0, 80) + "\""; }

void CheckTensors(const std::vector<Parameter>& found, const std::vector<Parameter>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const Parameter& wanted = expected[i];
    if (i >= found.size()) Fail(Tensor(wanted.name), "none", "one of " + Text(wanted.dims));
    if (found[i].name != wanted.name || found[i].role != wanted.role) {
      Fail("tensor " + std::to_string(i), Tensor(found[i].name), Tensor(wanted.name));
    }
    if (found[i].dims != wanted.dims) {
      Fail(Tensor(wanted.name), "the shape " + Text(found[i].dims), Text(wanted.dims));
    }
  }
  if (found.size() > expected.size()) {
    Fail(Tensor(found[expected.size()].name), "it", "none of this name");
  }
}

void CheckState(const kernels::ProgramState& state, const std::vector<Parameter>& parameters) {
  size_t trainable = 0, statistics = 0;
  for (const Parameter& parameter : parameters) {
    (parameter.trainable() ? trainable : statistics) += static_cast<size_t>(parameter.size());
  }
  const auto check = [](const char* what, size_t found, size_t expected) {
    if (found != expected) {
      Fail(what, std::to_string(found) + " values", std::to_string(expected));
    }
  };
  check("parameters", state.parameters.size(), trainable);
  check("statistics", state.statistics.size(), statistics);
  if (!state.moment1.empty()) check("moments", state.moment1.size(), trainable);
}

}  // namespace

Inheritance Inherit(const Network& parent, const Checkpoint& checkpoint,
                    const network::Configuration& child, int threads) {
  CheckNetworks(parent, child.network);
  const std::vector<Parameter> parameters = network::Parameters(parent);
  CheckTensors(checkpoint.parameters, parameters);
  CheckState(checkpoint.state, parameters);
  return Heir(parent, checkpoint.state, child, threads).Run();
}

}  // namespace trainyard::engine
