// Random networks grown at random: a child that says it gives its parent's logits does, and hardly
// any other does; every change that the tuner makes of a network keeps its logits.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <random>

#include "coordinator/core/tuner/grow.h"
#include "network/shapes.h"
#include "tests/worker/engine/support/examples.h"
#include "tests/worker/engine/support/inheritance.h"
#include "worker/engine/morph/morph.h"
#include "worker/engine/planner.h"

namespace trainyard::engine {
namespace {

using network::BatchNorm;
using network::Conv;
using network::Dense;
using network::Dropout;
using network::Flatten;
using network::GlobalAvgPool;
using network::Layer;
using network::Network;
using network::Pool;
using network::PoolKind;
using network::Relu;
using network::Residual;

using Layers = std::vector<Layer>;

class Generator {
 public:
  explicit Generator(uint64_t seed, bool leaky = true) : random_(seed), leaky_(leaky) {}

  int Pick(int low, int high) { return std::uniform_int_distribution<>(low, high)(random_); }
  bool Chance(double p) { return std::bernoulli_distribution(p)(random_); }

  // Convs, residuals and pools, then a head.
  Network AnyNetwork() {
    Network network{{Pick(1, 3), Pick(6, 10), Pick(6, 10)}, 3, {}};
    channels_ = network.input.channels;
    Block(&network.layers, 4 * Pick(1, 2), 1);
    for (int blocks = Pick(0, 3); blocks > 0; --blocks) {
      switch (Pick(0, 3)) {
        case 0:
          Sum(&network.layers, channels_);
          break;
        case 1:
          Sum(&network.layers, 8);
          break;
        case 2:
          Block(&network.layers, channels_, Chance(0.5) ? channels_ : 2);
          break;
        default:
          Block(&network.layers, 4 * Pick(1, 2), 1);
      }
      if (Chance(0.3)) {
        network.layers.push_back({Pool{Chance(0.5) ? PoolKind::kMax : PoolKind::kAverage}});
      }
    }
    network.layers.push_back(Chance(0.5) ? Layer{Flatten{}} : Layer{GlobalAvgPool{}});
    if (Chance(0.3)) network.layers.insert(network.layers.end(), {{Dense{6}}, {Relu{}}});
    if (Chance(0.3)) network.layers.push_back({Dropout{}});
    network.layers.push_back({Dense{3}});
    return network;
  }

  // One change, anywhere; often one that makes an invalid network.
  void Change(Layers* layers) {
    const int at = Pick(0, static_cast<int>(layers->size()) - 1);
    auto* residual = std::get_if<Residual>(&(*layers)[at].op);
    if (residual != nullptr && Chance(0.5)) {
      const bool shortcut = !residual->shortcut.empty() && Chance(0.3);
      return Change(shortcut ? &residual->shortcut : &residual->body);
    }
    if (Chance(0.2)) {
      layers->erase(layers->begin() + at);
    } else if (Chance(0.6)) {
      const Layers any = {Convolution(8, 3),
                          {BatchNorm{}},
                          {Relu{}},
                          {Relu{0.1}},
                          Convolution(8, 1, 1, false),
                          {Dropout{}},
                          {Dense{9}},
                          {Flatten{}},
                          {GlobalAvgPool{}},
                          {Pool{}},
                          {Residual{{Convolution(8, 3), {BatchNorm{}}}, {}}}};
      layers->insert(layers->begin() + at, any[Pick(0, static_cast<int>(any.size()) - 1)]);
    } else {
      std::visit([&](auto& op) { Alter(&op); }, (*layers)[at].op);
    }
  }

 private:
  void Alter(Conv* conv) {
    if (Chance(0.3)) conv->filters *= 2;
    if (Chance(0.3)) conv->kernel = {Pick(1, 5), Pick(1, 5)};
    if (Chance(0.1)) conv->stride.height = Pick(1, 2);
    if (Chance(0.2)) conv->bias = !conv->bias;
    if (Chance(0.2)) conv->groups = conv->groups == 1 ? 2 : 1;
    if (Chance(0.2)) conv->padding = {false, Pick(0, 1), Pick(0, 1), Pick(0, 1), Pick(0, 1)};
  }
  void Alter(Dense* dense) { dense->units += Pick(-2, 6); }
  void Alter(Relu* relu) { relu->negative_slope = Pick(0, 2) * 0.1; }
  void Alter(BatchNorm* norm) { norm->epsilon = Chance(0.5) ? 1e-3 : 1e-6; }
  void Alter(Pool* pool) { (Chance(0.5) ? pool->stride : pool->kernel).width = Pick(1, 3); }
  template <class Other>
  void Alter(Other*) {}

  void Block(Layers* layers, int filters, int groups) {
    Layer layer = Convolution(filters, Chance(0.5) ? 3 : 1, Chance(0.2) ? 2 : 1, Chance(0.5));
    const bool divides = filters % groups == 0 && channels_ % groups == 0;
    std::get<Conv>(layer.op).groups = divides ? groups : 1;
    layers->push_back(layer);
    if (Chance(0.5)) layers->push_back({BatchNorm{}});
    layers->push_back({Relu{leaky_ && Chance(0.2) ? 0.1 : 0}});
    channels_ = filters;
  }
  void Sum(Layers* layers, int filters) {
    Residual residual;
    residual.body = {Convolution(filters, 3), {Relu{}}, Convolution(filters, 3)};
    if (Chance(0.5)) residual.body.push_back({BatchNorm{}});
    if (filters != channels_) residual.shortcut = {Convolution(filters, 1)};
    layers->insert(layers->end(), {{residual}, {Relu{}}});
    channels_ = filters;
  }

  std::mt19937_64 random_;
  const bool leaky_;
  int channels_ = 0;
};

bool CanBeTrained(const Network& network) {
  if (!network::CheckNetwork(network).empty()) return false;
  try {
    MakePlan(network, 1);
  } catch (const kernels::Error&) {
    return false;  // a flatten where the graph has none
  }
  return true;
}

struct Outcome {
  bool preserving;
  double distance;  // of the logits
  std::string lines;
};

std::optional<Outcome> Inherited(const Network& parent, const Network& child, uint64_t seed) {
  const Checkpoint checkpoint = TrainedBySeed(parent, seed);
  network::Configuration configuration;
  configuration.network = child;
  Inheritance inheritance;
  try {
    inheritance = Inherit(parent, checkpoint, configuration);
  } catch (const kernels::Error& error) {
    EXPECT_NE(std::string(error.what()).find("in common"), std::string::npos) << error.what();
    return std::nullopt;
  }
  Outcome outcome{inheritance.preserving, 0,
                  network::Describe(parent) + "\n" + network::Describe(child) + "\n"};
  const std::vector<float> logits = LogitsOf(child, inheritance.state);
  for (const float logit : logits) EXPECT_TRUE(std::isfinite(logit));
  outcome.distance = RelativeDistance(logits, LogitsOf(parent, checkpoint.state));
  for (const std::string& line : inheritance.lines) outcome.lines += line + "\n";
  return outcome;
}

TEST(RandomGrowth, SaysThatLogitsAreKeptWhereTheyAreAndNowhereElse) {
  int kept = 0, changed = 0, missed = 0;
  for (uint64_t seed = 0; seed < 1500; ++seed) {
    SCOPED_TRACE(seed);
    Generator generator(seed);
    const Network parent = generator.AnyNetwork();
    if (!CanBeTrained(parent)) continue;
    Network child = parent;
    for (int changes = generator.Pick(1, 4); changes > 0; --changes) {
      if (!child.layers.empty()) generator.Change(&child.layers);
    }
    if (!CanBeTrained(child)) continue;
    const auto outcome = Inherited(parent, child, seed);
    if (!outcome) continue;
    if (outcome->preserving) {
      ++kept;
      ASSERT_LE(outcome->distance, 1e-5) << outcome->lines;
    } else {
      ++changed;
      missed += outcome->distance <= 1e-5;
    }
  }
  EXPECT_GT(kept, 150) << "the generator hardly makes growths that keep the logits";
  EXPECT_GT(changed, 150);
  EXPECT_LT(missed, changed / 20) << "the logits were kept, and it was not said";
}

TEST(RandomGrowth, EveryMoveOfTheTunerKeepsTheLogits) {
  int moves = 0;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    // Behind a leaky relu a further relu is not the identity.
    const Network parent = Generator(seed, false).AnyNetwork();
    if (!CanBeTrained(parent)) continue;
    for (const auto& child :
         {core::Widen(parent, 2, 64), core::Widen(parent, 1.5, 64), core::AddBatchNorms(parent),
          core::Deepen(parent), core::Drop(parent, 0.3), core::DropLess(parent, 0.1)}) {
      if (!child || !CanBeTrained(*child)) continue;
      ++moves;
      const auto outcome = Inherited(parent, *child, seed);
      ASSERT_TRUE(outcome && outcome->preserving) << (outcome ? outcome->lines : "");
      ASSERT_LE(outcome->distance, 1e-5) << outcome->lines;
    }
  }
  EXPECT_GT(moves, 300);
}

}  // namespace
}  // namespace trainyard::engine
