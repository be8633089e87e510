// Convolutions of the networks that cuDNN is for, as ConvGraphs.
#pragma once

#include <vector>

#include "kernels/cuda/cudnn/conv_graph.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::cuda::testing {

// Their training, batch norm where a ReLU follows no bias: the shapes that count are those of the
// convolutions. `image`: height and width.
Graph FashionNet(int batch);           // three convolutions of 16, 32 and 64 filters on 28x28
Graph ResNet9(int batch);              // of the fast CIFAR-10 kind: up to 512 filters on 32x32
Graph ResNet50(int batch, int image);  // bottlenecks of up to 2048 channels

// What a convolution of the graph asks cuDNN for; precision and pass are not set.
struct Layer {
  ConvShape shape;
  bool bias = false, relu = false;
  float slope = 0;
};
// One of each shape, those that cuDNN is asked for: dense, 16 channels and more.
std::vector<Layer> LayersOf(const Graph& graph);

// One of each shape of all networks above and of the small ones that tests train.
std::vector<Layer> AllLayers();

ConvGraph Forward(const Layer& layer, Precision precision);
ConvGraph BackwardFilter(const Layer& layer, Precision precision);
ConvGraph BackwardData(const Layer& layer, Precision precision, bool accumulate);

}  // namespace trainyard::kernels::cuda::testing
