#include <algorithm>

#include "kernels/cpu/simd/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/loops_optimizer.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd/vectors.inc"

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {
namespace {

// Chains of sums that are added up pairwise at the end: element i goes into chain i % kBlock.
double SquareSum(int64_t count, const float* x) {
  using DWide = hn::CappedTag<double, 8>;
  using DHalf = hn::Rebind<float, DWide>;
  constexpr int kWide = static_cast<int>(hn::MaxLanes(DWide()));
  constexpr int kVectors = kBlock / kWide;
  hn::Vec<DWide> sums[kVectors];
  for (int k = 0; k < kVectors; ++k) sums[k] = hn::Zero(DWide());
  int64_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    for (int k = 0; k < kVectors; ++k) {
      const auto v = hn::PromoteTo(DWide(), hn::LoadU(DHalf(), x + i + k * kWide));
      sums[k] = hn::MulAdd(v, v, sums[k]);  // the product is exact, fused or not
    }
  }
  double chains[kBlock];
  for (int k = 0; k < kVectors; ++k) hn::StoreU(sums[k], DWide(), chains + k * kWide);
  for (; i < count; ++i) chains[i % kBlock] += double{x[i]} * double{x[i]};
  for (int half = kBlock / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) chains[k] += chains[k + half];
  }
  return chains[0];
}

// Gradients, weights and moments at one place; v may be null.
struct State {
  const float* g;
  float *w, *m, *v;
};

// Calls update(State) for all whole vectors, and for the rest on a copy with zeros behind it.
// Returns the sum of what update returns.
template <class Update>
HWY_INLINE float ForAll(int64_t count, State at, Update update) {
  V sum = hn::Zero(D());
  for (; count >= kLanes; count -= kLanes) {
    sum = hn::Add(sum, update(at));
    at.g += kLanes;
    at.w += kLanes;
    at.m += kLanes;
    if (at.v != nullptr) at.v += kLanes;
  }
  if (count > 0) {
    float g[kBlock] = {}, w[kBlock] = {}, m[kBlock] = {}, v[kBlock] = {};
    std::copy_n(at.g, count, g);
    std::copy_n(at.w, count, w);
    std::copy_n(at.m, count, m);
    if (at.v != nullptr) std::copy_n(at.v, count, v);
    sum = hn::Add(sum, update(State{g, w, m, v}));
    std::copy_n(w, count, at.w);
    std::copy_n(m, count, at.m);
    if (at.v != nullptr) std::copy_n(v, count, at.v);
  }
  return hn::GetLane(hn::SumOfLanes(D(), sum));
}

float UpdateSgd(const Sgd& step, int64_t count, const float* g, float* w, float* m) {
  const V rate = Same(step.learning_rate), momentum = Same(step.momentum);
  const V decay = Same(step.decay), clip = Same(step.clip);
  const V direct = Same(step.nesterov ? 1 : 0), ahead = Same(step.nesterov ? step.momentum : 1);
  return ForAll(count, {g, w, m, nullptr}, [&](const State& at) HWY_ATTR {
    const V old = Load(at.w);
    const V decayed = hn::MulAdd(Load(at.g), clip, hn::Mul(decay, old));
    const V moment = hn::MulAdd(momentum, Load(at.m), decayed);
    const V change = hn::MulAdd(ahead, moment, hn::Mul(direct, decayed));
    const V next = hn::NegMulAdd(rate, change, old);
    Store(next, at.w);
    Store(moment, at.m);
    return hn::Sub(next, next);
  });
}

float UpdateAdamW(const AdamW& step, int64_t count, const float* g, float* w, float* m, float* v) {
  const V rate = Same(step.learning_rate), decay = Same(step.decay), clip = Same(step.clip);
  const V beta1 = Same(step.beta1), other1 = Same(1 - step.beta1);
  const V beta2 = Same(step.beta2), other2 = Same(1 - step.beta2);
  const V epsilon = Same(step.epsilon);
  const V correction1 = Same(step.correction1), correction2 = Same(step.correction2);
  return ForAll(count, {g, w, m, v}, [&](const State& at) HWY_ATTR {
    const V old = Load(at.w), gradient = hn::Mul(Load(at.g), clip);
    const V first = hn::MulAdd(beta1, Load(at.m), hn::Mul(other1, gradient));
    const V square = hn::Mul(hn::Mul(other2, gradient), gradient);
    const V second = hn::MulAdd(beta2, Load(at.v), square);
    const V root = hn::Sqrt(hn::Mul(second, correction2));
    const V direction = hn::Div(hn::Mul(first, correction1), hn::Add(root, epsilon));
    const V next = hn::NegMulAdd(rate, hn::MulAdd(decay, old, direction), old);
    Store(next, at.w);
    Store(first, at.m);
    Store(second, at.v);
    return hn::Sub(next, next);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {

HWY_EXPORT(SquareSum);
HWY_EXPORT(UpdateSgd);
HWY_EXPORT(UpdateAdamW);

double SquareSum(int64_t count, const float* x) {
  return HWY_DYNAMIC_DISPATCH(SquareSum)(count, x);
}

float UpdateSgd(const Sgd& step, int64_t count, const float* g, float* w, float* m) {
  return HWY_DYNAMIC_DISPATCH(UpdateSgd)(step, count, g, w, m);
}

float UpdateAdamW(const AdamW& step, int64_t count, const float* g, float* w, float* m, float* v) {
  return HWY_DYNAMIC_DISPATCH(UpdateAdamW)(step, count, g, w, m, v);
}

}  // namespace trainyard::kernels::cpu
#endif  // HWY_ONCE
