// The images a trainer works on: which are trained on, which validate, and how they are normalised.
#pragma once

#include <cstdint>
#include <vector>

#include "network/network.h"
#include "worker/engine/order.h"
#include "worker/engine/trainer.h"

namespace trainyard::engine {

// Throws kernels::Error unless the data set has images of the network's input shape and labels
// below its classes. `what` names it: "training data".
void CheckDataset(const Dataset& dataset, const network::Network& network, const char* what);

// The images to train on and to validate with; indices of `data.validation` where there is one,
// of `data.train` otherwise. Throws kernels::Error for data that cannot be trained on.
Split ChooseImages(const TrainingData& data, const network::Network& network);

// Per channel, of pixel / 255. Channels that don't vary are not scaled.
struct Normalisation {
  std::vector<float> mean;
  std::vector<float> inverse_std;
};

// Exact sums over images[indices], so the result does not depend on their order.
Normalisation MeasureNormalisation(const kernels::ImageSet& images,
                                   const std::vector<int32_t>& indices);

}  // namespace trainyard::engine
