// Convolutions with random operands for the tests of cores and their driver: in canonical form, in
// the forms that cores take, and computed by plain loops in double precision.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/cpu/batch_core.h"
#include "kernels/cpu/conv_core.h"
#include "kernels/graph.h"

namespace trainyard::kernels::cpu::testing {

template <typename Value>
struct ConvResults {
  std::vector<Value> y, dx, dw;  // canonical
};

struct ConvCase {
  ValueShape in;
  int filters = 1;
  Op op;  // kernel, strides, padding and groups count
  int images = 1;
  bool plain_input = false;
};

// Within these, all is drawn: strides up to 3, asymmetric padding.
struct ConvLimits {
  int channels = 40, filters = 40, size = 12, kernel = 7, images = 5;
  int groups = 1;  // both channels and filters become multiples of it
  bool plain_input = false;
  bool winograd = false;  // 3x3, and strides are 1
};
ConvCase RandomConvCase(const ConvLimits& limits, std::mt19937& random);

// With padding 1 all around.
ConvCase Case3x3(ValueShape in, int filters, int images);

// Operands of a case: x and dy as (image, channel, y, x), weights as (output, input, ky, kx).
class ConvSample {
 public:
  ConvSample(const ConvCase& conv, uint32_t seed);
  ConvSample(const ConvSample&) = delete;

  const ConvGeometry& geometry() const { return geometry_; }
  const std::vector<float>& x() const { return x_; }
  const std::vector<float>& weights() const { return weights_; }
  const std::vector<float>& dy() const { return dy_; }

  // In the form of parameter_layout.h and back. Back checks that padding is zeros.
  std::vector<float> PackedWeights() const;
  std::vector<float> Unpack(const std::vector<float>& packed) const;

 private:
  Graph graph_;
  ConvGeometry geometry_;
  std::vector<float> x_, weights_, dy_;
};

// y = conv(x), dx and dw for any x, w and dy.
ConvResults<double> ConvInDouble(const ConvGeometry& geometry, const std::vector<double>& x,
                                 const std::vector<double>& weights, const std::vector<double>& dy);
ConvResults<double> Expected(const ConvSample& sample);

// As the driver calls the core, in packs of these many images; what a core must not read is NaN.
// Checks that channels' padding stays zeros.
ConvResults<float> Computed(const ConvSample& sample, const ConvCore& core,
                            const std::vector<int>& packs, bool wants_dx = true);
// The same in chunks, as batch_core.h describes a step. Images are loaded in backward order.
ConvResults<float> Computed(const ConvSample& sample, const BatchCore& core,
                            const std::vector<int>& chunks);
// Packs of 1 to `largest` images.
std::vector<int> RandomPacks(int images, int largest, std::mt19937& random);

// Relative L2.
double Distance(const std::vector<float>& found, const std::vector<double>& expected);
// What sums of products are within of plain loops; and Winograd, whose transforms round, too.
constexpr double kTolerance = 1e-6, kWinogradTolerance = 1e-5;
void ExpectClose(const ConvResults<float>& found, const ConvResults<double>& expected,
                 bool wants_dx = true, double tolerance = kTolerance);
void ExpectSameBytes(const ConvResults<float>& a, const ConvResults<float>& b);

}  // namespace trainyard::kernels::cpu::testing
