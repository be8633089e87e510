#include "kernels/cpu/simd/batch_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/batch_norm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd/layout.h"

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Doubles = hn::CappedTag<double, 8>;
using Floats = hn::Rebind<float, Doubles>;
using Vector = hn::Vec<Doubles>;

HWY_INLINE Vector Value(double value) { return hn::Set(Doubles(), value); }
HWY_INLINE Vector Load(const float* from) {
  return hn::PromoteTo(Doubles(), hn::LoadU(Floats(), from));
}
HWY_INLINE void Store(Vector value, float* to) {
  hn::StoreU(hn::DemoteTo(Floats(), value), Floats(), to);
}

// body(c) for the first of every vector of channels of block b.
template <typename Body>
HWY_INLINE void ForChannels(int64_t block, const Body& body) {
  const int lanes = static_cast<int>(hn::Lanes(Doubles()));
  for (int k = 0; k < kBlock; k += lanes) body(block * kBlock + k);
}

// Value as it is, but 0 in the padding.
class Real {
 public:
  Real(const BatchNorm& norm, int64_t c)
      : real_(hn::Lt(hn::Iota(Doubles(), static_cast<double>(c)), Value(norm.channels))) {}
  HWY_INLINE Vector operator()(Vector value) const { return hn::IfThenElseZero(real_, value); }

 private:
  hn::Mask<Doubles> real_;
};

HWY_INLINE void Finish(const BatchNorm& norm, const BatchNormParameters& parameters, int64_t c,
                       Vector mean, Vector variance, const BatchNormView& view) {
  const Real real(norm, c);
  const Vector one = Value(1);
  const Vector inverse_std =
      hn::Div(one, hn::Sqrt(hn::Add(variance, Value(static_cast<double>(norm.epsilon)))));
  const Vector scale = hn::Mul(Load(parameters.gamma + c), inverse_std);
  Store(real(mean), view.mean + c);
  Store(real(inverse_std), view.inverse_std + c);
  Store(real(scale), view.scale + c);
  const Vector lost = hn::Sub(Load(view.mean + c), mean);
  Store(real(hn::MulAdd(lost, Load(view.scale + c), Load(parameters.beta + c))), view.shift + c);
}

void Training(const BatchNorm& norm, const float* means, const float* m2s,
              const BatchNormParameters& parameters, const BatchNormView& view, int64_t block) {
  const int64_t stride = Padded(norm.channels);
  const double plane = static_cast<double>(norm.plane), count = plane * norm.batch;
  ForChannels(block, [&](int64_t c) {
    Vector mean = Value(0), squares = Value(0);
    for (int64_t n = 0; n < norm.batch; ++n) {
      const double share = 1 / static_cast<double>(n + 1);
      const Vector delta = hn::Sub(Load(means + n * stride + c), mean);
      mean = hn::MulAdd(delta, Value(share), mean);
      squares = hn::Add(squares, Load(m2s + n * stride + c));
      squares =
          hn::MulAdd(hn::Mul(delta, delta), Value(plane * static_cast<double>(n) * share), squares);
    }
    const Vector variance = hn::Div(squares, Value(count));
    const Vector unbiased = count > 1 ? hn::Div(squares, Value(count - 1)) : variance;
    const Real real(norm, c);
    const Vector momentum = Value(static_cast<double>(norm.momentum));
    const Vector rest = hn::Sub(Value(1), momentum);
    const auto update = [&](float* running, Vector now) {
      Store(real(hn::MulAdd(momentum, Load(running + c), hn::Mul(rest, now))), running + c);
    };
    update(parameters.running_mean, mean);
    update(parameters.running_var, unbiased);
    Finish(norm, parameters, c, mean, variance, view);
  });
}

void Evaluation(const BatchNorm& norm, const BatchNormParameters& parameters,
                const BatchNormView& view, int64_t block) {
  ForChannels(block, [&](int64_t c) {
    Finish(norm, parameters, c, Load(parameters.running_mean + c), Load(parameters.running_var + c),
           view);
  });
}

void Backward(const BatchNorm& norm, const BatchNormGradient& gradient, int64_t block) {
  const int64_t stride = Padded(norm.channels);
  const Vector count = Value(static_cast<double>(norm.plane) * norm.batch);
  ForChannels(block, [&](int64_t c) {
    Vector sum = Value(0), dot = Value(0);
    for (int64_t n = 0; n < norm.batch; ++n) {
      sum = hn::Add(sum, Load(gradient.sums + n * stride + c));
      dot = hn::Add(dot, Load(gradient.dots + n * stride + c));
    }
    const Real real(norm, c);
    const Vector inverse_std = Load(gradient.inverse_std + c);
    const Vector a = hn::Mul(Load(gradient.gamma + c), inverse_std);
    const Vector slope = hn::Div(hn::Mul(hn::Mul(inverse_std, inverse_std), dot), count);
    Store(real(hn::Mul(dot, inverse_std)), gradient.dgamma + c);
    Store(real(sum), gradient.dbeta + c);
    Store(real(a), gradient.a + c);
    Store(real(hn::Neg(hn::Mul(a, slope))), gradient.b + c);
    Store(real(hn::Div(sum, count)), gradient.c + c);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {
namespace {

HWY_EXPORT(Training);
HWY_EXPORT(Evaluation);
HWY_EXPORT(Backward);

}  // namespace

void BatchNormTraining(const BatchNorm& norm, const float* means, const float* m2s,
                       const BatchNormParameters& parameters, const BatchNormView& view,
                       int64_t block) {
  HWY_DYNAMIC_DISPATCH(Training)(norm, means, m2s, parameters, view, block);
}

void BatchNormEvaluation(const BatchNorm& norm, const BatchNormParameters& parameters,
                         const BatchNormView& view, int64_t block) {
  HWY_DYNAMIC_DISPATCH(Evaluation)(norm, parameters, view, block);
}

void BatchNormBackward(const BatchNorm& norm, const BatchNormGradient& gradient, int64_t block) {
  HWY_DYNAMIC_DISPATCH(Backward)(norm, gradient, block);
}

}  // namespace trainyard::kernels::cpu
#endif
