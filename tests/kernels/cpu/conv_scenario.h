// A convolution with random operands and all that may be fused around it, run by the driver and
// composed of plain loops in double precision.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/convolution.h"
#include "tests/kernels/cpu/conv_case.h"
#include "tests/kernels/cpu/simd_checks.h"

namespace trainyard::kernels::cpu::testing {

// From (image, channel, y, x) to the form of activations and back.
struct Activations {
  Layout layout;

  template <typename Body>
  void ForEach(const Body& body) const {  // body(index in the form, canonical index, channel)
    const ValueShape& shape = layout.shape;
    int64_t canonical = 0;
    for (int n = 0; n < layout.batch; ++n) {
      for (int c = 0; c < shape.channels; ++c) {
        for (int64_t p = 0; p < layout.plane(); ++p) {
          body(n * layout.image() + p * layout.channels() + c, canonical++, c);
        }
      }
    }
  }
  std::vector<float> From(const std::vector<float>& canonical) const {
    std::vector<float> values(layout.floats());
    ForEach([&](int64_t to, int64_t from, int) { values[to] = canonical[from]; });
    return values;
  }
  template <typename Value>
  std::vector<Value> To(const std::vector<Value>& values) const {
    std::vector<Value> canonical(layout.batch * layout.shape.size());
    ForEach([&](int64_t from, int64_t to, int) { canonical[to] = values[from]; });
    return canonical;
  }
  void ExpectPaddingIsZero(const std::vector<float>& values) const {
    for (size_t i = 0; i < values.size(); ++i) {
      if (static_cast<int>(i % layout.channels()) >= layout.shape.channels) {
        ASSERT_EQ(values[i], 0) << "padding at " << i;
      }
    }
  }
};

// What stands around the convolution. Vectors are padded, padding zeros.
struct Around {
  bool norm_before = false, norm_after = false;  // a batch norm that is read through
  float slope_before = 1, slope_after = 1;       // of the views
  bool bias = false, pool = false, dropout = false, accumulate = false;
  bool stream = false;    // what is stored, and dx, where they may be
  bool more = false;      // somebody else's gradient of some pixels joins dx
  bool relu_end = false;  // dx passes the ReLU that made x
  bool two_sums = false;  // a second batch norm wants the sums of dx
  float slope = 1;        // of the epilogue; then the gradient's view has it
};
Around RandomAround(Draws& draws, const ConvCase& conv);

// Of one batch norm, by channel; padding is zeros.
struct Norm {
  Norm(Draws& draws, int channels);
  View view(bool norm, float slope) const {
    View view;
    if (norm) view = {mean.data(), scale.data(), shift.data()};
    view.slope = slope;
    return view;
  }
  std::vector<float> mean, scale, shift;
};

// All that the driver writes, as it writes it.
struct Outputs {
  std::vector<float> stored, mean, m2, dx, dw, db;
  std::vector<float> norm_sum, norm_dot, other_sum, other_dot;
  std::vector<uint8_t> codes;
};
void ExpectSame(const Outputs& a, const Outputs& b);

class Scenario {
 public:
  // In chunks: by Winograd, whatever is faster.
  Scenario(const ConvCase& conv, const Around& around, uint32_t seed, bool in_chunks = false);

  Outputs Compute(int threads) const;
  void Check(const Outputs& found) const;
  const Convolution& convolution() const { return convolution_; }

 private:
  bool wants_dx() const { return !sample_.geometry().plain_input; }
  // Whether dx is of the pixels that are read alone.
  bool sparse() const { return convolution_.stride() != Stride(); }
  GradientEnd end(Outputs& out) const;
  Epilogue epilogue(Outputs& out) const;
  GradientView gradient(const Outputs& out) const;
  void Forward(const std::vector<float>& weights, const ThreadScratch& scratch, Outputs& out) const;
  void Backward(const std::vector<float>& weights, const ThreadScratch& scratch,
                Outputs& out) const;

  void CheckStored(const Outputs& found) const;
  std::vector<double> GradientInDouble(const Outputs& found) const;
  void CheckBackward(const Outputs& found) const;
  std::vector<double> DataGradientInDouble(std::vector<double> dx) const;
  void CheckNormSums(const Outputs& found) const;

  const Around around_;
  const ConvSample sample_;
  const Convolution convolution_;
  const Activations in_, out_, stored_, gradient_, some_;
  Draws draws_;
  const Norm before_, after_, other_;
  const std::vector<float> x_, dx_before_, more_, bias_, a_, b_, c_, dy_;
  std::vector<uint8_t> keep_;
  const float keep_scale_ = 1.25f;
};

}  // namespace trainyard::kernels::cpu::testing
