#include "worker/engine/morph/donor.h"

namespace trainyard::engine {

Donor IdentityDonor(const network::Shape& in) {
  const network::Conv conv{.filters = in.channels, .kernel = {1, 1}, .groups = in.channels};
  Donor donor;
  donor.shape = FilterShapeOf(conv, in);
  donor.weight.assign(static_cast<size_t>(in.channels), 1.0f);
  return donor;
}

Mirrored MirrorDonors(const Donor& dense, double negative_slope, bool bias_first) {
  const int units = dense.shape.outputs;
  Mirrored mirrored;
  Donor& both = mirrored.both;
  both = dense;
  both.shape.outputs = both.shape.window.out.channels = 2 * units;
  both.weight_moment = both.bias_moment = {};
  if (!bias_first) both.bias.clear();
  for (std::vector<float>* values : {&both.weight, &both.bias}) {
    const size_t count = values->size();
    for (size_t i = 0; i < count; ++i) values->push_back(-(*values)[i]);
  }

  Donor& difference = mirrored.difference;
  const network::Shape in = both.shape.window.out;
  difference.shape = FilterShapeOf(network::Dense{units}, in);
  difference.weight.resize(static_cast<size_t>(units) * in.channels);
  const auto half = static_cast<float>(1 / (1 + negative_slope));
  for (int k = 0; k < units; ++k) {
    float* row = difference.weight.data() + static_cast<size_t>(k) * in.channels;
    row[k] = half;
    row[units + k] = -half;
  }
  if (!bias_first) difference.bias = dense.bias;
  return mirrored;
}

}  // namespace trainyard::engine
