// Networks that several tests use.
#pragma once

#include "network/network.h"

namespace trainyard::network {

inline Padding Same() { return Padding{.same = true}; }

// Body halves the image and doubles the channels; the shortcut does so by a 1x1 convolution.
inline Residual Downsampling(int filters) {
  Residual residual;
  residual.body = {
      Layer{Conv{.filters = filters, .stride = {2, 2}, .padding = Same(), .bias = false}},
      Layer{BatchNorm{}}, Layer{Relu{}}};
  residual.shortcut = {Layer{Conv{
      .filters = filters, .kernel = {1, 1}, .stride = {2, 2}, .padding = Same(), .bias = false}}};
  return residual;
}

// 1x28x28 -> 10 classes, with one of most layers.
inline Network Sample() {
  Network network{.input = {1, 28, 28}, .classes = 10, .layers = {}};
  network.layers = {Layer{Conv{.filters = 32, .padding = Same()}},
                    Layer{BatchNorm{}},
                    Layer{Relu{}},
                    Layer{Pool{}},
                    Layer{Downsampling(64)},
                    Layer{Relu{.negative_slope = 0.1}},
                    Layer{GlobalAvgPool{}},
                    Layer{Dropout{.rate = 0.25}},
                    Layer{Dense{.units = 10}}};
  return network;
}

}  // namespace trainyard::network
