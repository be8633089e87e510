#include "kernels/cpu/simd/loss_row.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/loss_row.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After the target is known.
#include <hwy/contrib/math/math-inl.h>

#include <cmath>

#include "kernels/cpu/simd/layout.h"

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Sums are taken in this many lanes, however many a vector has, and in double: a confident
// network's loss is the small difference of large logits.
constexpr int kSums = 8;
using Doubles = hn::CappedTag<double, kSums>;
using Floats = hn::Rebind<float, Doubles>;
using Vector = hn::Vec<Doubles>;
using Mask = hn::Mask<Doubles>;

// body(k, logits k, k + 1, ..., which of them are classes), in groups of `width`.
template <typename Body>
HWY_INLINE void ForClasses(const LossRow& row, const Body& body) {
  const Doubles d;
  const int lanes = static_cast<int>(hn::Lanes(d)), padded = Padded(row.classes);
  for (int k = 0; k < padded; k += lanes) {
    const Vector x = hn::PromoteTo(d, hn::LoadU(Floats(), row.logits + k));
    const Mask real = hn::Lt(hn::Iota(d, k), hn::Set(d, row.classes));
    body(k, x, real);
  }
}

// Sums of exp(x - largest), of x - largest, and of x - x: 0, or NaN where a logit is not finite.
struct Sums {
  HWY_ALIGN double exponentials[kSums] = {};
  HWY_ALIGN double shifted[kSums] = {};
  HWY_ALIGN double poison[kSums] = {};
};

HWY_INLINE void AddTo(double* sums, Vector x) {
  const Doubles d;
  hn::Store(hn::Add(hn::Load(d, sums), x), d, sums);
}

HWY_INLINE double Total(const double* s) {
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

double LossHere(const LossRow& row) {
  const Doubles d;
  Vector most = hn::Set(d, row.logits[0]);
  ForClasses(
      row, [&](int, Vector x, Mask real) { most = hn::Max(most, hn::IfThenElse(real, x, most)); });
  const Vector largest = hn::MaxOfLanes(d, most);
  Sums sums;
  ForClasses(row, [&](int k, Vector x, Mask real) {
    const Vector shifted = hn::Sub(x, largest);
    AddTo(sums.exponentials + k % kSums, hn::IfThenElseZero(real, hn::Exp(d, shifted)));
    AddTo(sums.shifted + k % kSums, hn::IfThenElseZero(real, shifted));
    AddTo(sums.poison + k % kSums, hn::IfThenElseZero(real, hn::Sub(x, x)));
  });
  const double poison = Total(sums.poison);
  const double log_sum = std::log(Total(sums.exponentials));  // of the shifted logits
  if (row.gradient != nullptr) {
    const Vector all = hn::Add(largest, hn::Set(d, log_sum)), batch = hn::Set(d, row.batch);
    const Vector on = hn::Set(d, row.on - poison), off = hn::Set(d, row.off - poison);
    const Vector label = hn::Set(d, row.label);
    ForClasses(row, [&](int k, Vector x, Mask real) {
      const Vector target = hn::IfThenElse(hn::Eq(hn::Iota(d, k), label), on, off);
      const Vector g = hn::Div(hn::Sub(hn::Exp(d, hn::Sub(x, all)), target), batch);
      hn::StoreU(hn::DemoteTo(Floats(), hn::IfThenElseZero(real, g)), Floats(), row.gradient + k);
    });
  }
  const double first = hn::GetLane(largest);
  return (row.on - row.off) * (log_sum - (row.logits[row.label] - first)) +
         row.off * (row.classes * log_sum - Total(sums.shifted)) + poison;
}

}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {
namespace {

HWY_EXPORT(LossHere);

// Whether std::max_element gives the label.
bool IsFirstOfLargest(const LossRow& row) {
  const float of_label = row.logits[row.label];
  for (int k = 0; k < row.label; ++k) {
    if (!(row.logits[k] < of_label)) return false;
  }
  for (int k = row.label + 1; k < row.classes; ++k) {
    if (row.logits[k] > of_label) return false;
  }
  return true;
}

}  // namespace

RowLoss LossOfRow(const LossRow& row) {
  return {HWY_DYNAMIC_DISPATCH(LossHere)(row), IsFirstOfLargest(row)};
}

}  // namespace trainyard::kernels::cpu
#endif
