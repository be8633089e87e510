// Shapes through a network, what is wrong with one, and what it costs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "network/network.h"
#include "network/training.h"

namespace trainyard::network {

// Something wrong, and where: "network.layers[3].conv.kernel", "train.lr".
// Paths are those of the spec, so that the spec reader can add file, line and column.
struct Problem {
  std::string path;
  std::string message;  // what was found and what was expected
};

// Everything that is wrong with the network (unknown sizes, kernel larger than its input, groups
// that don't divide channels, residual sides that disagree, dense on an image, logits != classes,
// over 10,000 layers, over 2^31 values in one activation, ...). Empty: valid. Stops at the first
// layer whose output shape cannot be known.
std::vector<Problem> CheckNetwork(const Network& network);

// The part of CheckNetwork that needs neither input shape nor classes: every field's own range, the
// number of layers, their nesting. For a spec whose data has not been opened yet.
std::vector<Problem> CheckLayers(const Network& network);

// Everything that is wrong with the hyperparameters: ranges, NaN, warm-up beyond the epochs, ...
std::vector<Problem> CheckTraining(const Training& training, const Network& network);

// Likewise of what is changed of a program; paths under "changes".
std::vector<Problem> CheckChanges(const ProgramChanges& changes);

// Output shape of one layer. Requires that CheckNetwork finds nothing wrong with it.
Shape OutputShape(const Layer& layer, const Shape& input);

// Padding in pixels, `same` resolved for this input. Never negative, always below the kernel's
// size, so that every window holds a pixel of the input.
Padding ResolvePadding(const Padding& padding, const Shape& input, const Extent& kernel,
                       const Extent& stride);

// A trainable tensor or a running statistic, in the order in which the flat spans hold them.
struct Parameter {
  enum class Role { kWeight, kBias, kGamma, kBeta, kRunningMean, kRunningVar };
  std::string name;  // "layers.0.weight", "layers.4.body.1.gamma", "layers.4.shortcut.0.bias"
  Role role = Role::kWeight;
  std::vector<int64_t> dims;  // conv (filters, channels / groups, kh, kw); dense (units, inputs)
  int64_t fan_in = 0;
  int64_t fan_out = 0;
  int64_t size() const;
  bool trainable() const { return role != Role::kRunningMean && role != Role::kRunningVar; }
  bool decays() const { return role == Role::kWeight; }
};

// All tensors of a valid network, in layer order (a residual's body before its shortcut): weight,
// bias; gamma, beta, running_mean, running_var. A convolution's fans are those of its weight tensor
// as PyTorch counts them: fan_out = filters * kh * kw, whatever the groups.
std::vector<Parameter> Parameters(const Network& network);

int64_t ParameterCount(const Network& network);  // trainable values
double ForwardFlops(const Network& network);     // per image, multiply and add counted as two

// Estimate of the memory that training takes, at its batch size and precision: weights, gradients
// and two optimizer moments, every layer's output for the backward pass, two of the largest once
// more for gradients. With bf16 those outputs take half, and the weights have a copy. The images of
// the data set come on top. Saturates.
int64_t TrainingBytes(const Network& network, const Training& training);

// Limits that CheckNetwork holds a network to.
inline constexpr int kLayersMax = 10'000;  // nested ones counted
inline constexpr int kNestingMax = 16;     // residuals within residuals
inline constexpr int kFiltersMax = 65'536;
inline constexpr int kUnitsMax = 1 << 20;
inline constexpr int kExtentMax = 1'024;      // kernel and stride, pixels
inline constexpr int kImageSideMax = 16'384;  // input height and width, pixels
inline constexpr int kClassesMax = 1 << 20;
inline constexpr int64_t kValuesMax = (int64_t{1} << 31) - 1;  // in one activation or weight tensor

}  // namespace trainyard::network
