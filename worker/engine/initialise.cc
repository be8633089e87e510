#include "worker/engine/initialise.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <vector>

#include "kernels/philox.h"
#include "worker/engine/in_threads.h"

namespace trainyard::engine {
namespace {

using network::Parameter;

// In (0, 1), both excluded: 52 bits of two words, in the middle of their cell.
double OpenUnit(uint32_t high, uint32_t low) {
  const uint64_t bits = (uint64_t{high} << 32 | low) >> 12;
  return (static_cast<double>(bits) + 0.5) * 0x1p-52;
}

// Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.
double Normal(const kernels::PhiloxWords& words) {
  const double radius = std::sqrt(-2 * std::log(OpenUnit(words[0], words[1])));
  return radius * std::cos(2 * std::numbers::pi * OpenUnit(words[2], words[3]));
}

// body(begin, end) for pieces that cover 0 .. count - 1, on a thread each: a draw depends on its
// position alone.
template <class Body>
void InPieces(size_t count, size_t threads, const Body& body) {
  constexpr size_t kWorthAThread = 1 << 16;
  const size_t pieces = std::clamp<size_t>(count / kWorthAThread, 1, threads);
  InThreads(pieces, [&](size_t i) { body(i * count / pieces, (i + 1) * count / pieces); });
}

void FillWeights(const Parameter& parameter, network::Initialisation initialisation,
                 const kernels::StreamPosition& stream, size_t threads, std::span<float> out) {
  const double fan_in = static_cast<double>(parameter.fan_in);
  const double fan_out = static_cast<double>(parameter.fan_out);
  const bool he = initialisation == network::Initialisation::kHe;
  const double scale = he ? std::sqrt(2 / fan_in) : std::sqrt(6 / (fan_in + fan_out));
  InPieces(out.size(), threads, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const kernels::PhiloxWords words = kernels::RandomWords(stream, i);
      const double draw = he ? Normal(words) : 2 * OpenUnit(words[0], words[1]) - 1;
      out[i] = static_cast<float>(scale * draw);
    }
  });
}

}  // namespace

kernels::ProgramState InitialState(const std::vector<Parameter>& parameters,
                                   network::Initialisation initialisation,
                                   network::OptimizerKind optimizer, uint64_t seed, int threads) {
  const size_t thread_count = CountThreads(threads);
  kernels::ProgramState state;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    std::vector<float>& span = parameter.trainable() ? state.parameters : state.statistics;
    const bool one =
        parameter.role == Parameter::Role::kGamma || parameter.role == Parameter::Role::kRunningVar;
    const size_t offset = span.size();
    span.resize(offset + parameter.size(), one ? 1.0f : 0.0f);
    if (parameter.role != Parameter::Role::kWeight) continue;
    const kernels::StreamPosition stream{seed, 0, static_cast<int>(i),
                                         kernels::Purpose::kInitialise};
    FillWeights(parameter, initialisation, stream, thread_count, std::span(span).subspan(offset));
  }
  state.moment1.assign(state.parameters.size(), 0.0f);
  if (optimizer == network::OptimizerKind::kAdamW) state.moment2 = state.moment1;
  return state;
}

}  // namespace trainyard::engine
