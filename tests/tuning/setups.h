// What the measurements start from: configurations that suit Fashion-MNIST, one that is too small,
// a search space around it, and runs with a known defect.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/request.h"
#include "coordinator/core/tuner/tweak.h"
#include "network/training.h"
#include "worker/engine/dataset.h"

namespace trainyard::tuning {

// "small": the network of examples/fashion-mnist, too small on purpose. "batch_norm", "plain" and
// "adamw" are sound ones, different in layers, optimizer and schedule. Throws kernels::Error for
// another name.
network::Configuration Setup(const std::string& name);

// What a person might write into `tune.space` for "small".
std::vector<core::Dimension> SpaceAround();

// A run with a known defect.
struct Plant {
  std::string name;
  std::set<core::FindingKind> right;  // what a diagnosis may call it
  network::Configuration configuration;
  double target = 0;  // of validation accuracy: the sound setup meets it
  int64_t train_images = 0;
  double shuffled = 0;  // share of the labels, of training and validation images alike
};

// All defects, planted into this sound setup. `seed` draws the first weights and the order.
std::vector<Plant> Plants(const std::string& setup, uint64_t seed);

// The first `count` images, with this share of the labels dealt out anew.
engine::Dataset Part(const engine::Dataset& all, int64_t count, double shuffled, uint64_t seed);

}  // namespace trainyard::tuning
