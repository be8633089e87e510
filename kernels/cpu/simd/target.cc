#include "kernels/cpu/simd/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/target.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {

// Whether a product is added before it is rounded: (1 + e)^2 - (1 + 2e) is e^2, else 0.
bool Fuses() {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::CappedTag<float, 1> one;
  volatile float e = 1.0f / 4096;
  const auto x = hn::Set(one, 1 + e);
  return hn::GetLane(hn::MulAdd(x, x, hn::Set(one, -1 - 2 * e))) != 0;
}

}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <mutex>
#include <optional>

#include "kernels/backend.h"

namespace trainyard::kernels::cpu {
namespace {

HWY_EXPORT(Fuses);

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string NameOf(int64_t target) { return Lower(hwy::TargetName(target)); }

#if (HWY_TARGETS & (HWY_TARGETS - 1)) == 0
// Compiled for one target: there is nothing to choose, and Highway's library is not needed.
int64_t Runnable() { return HWY_TARGETS; }
int64_t Chosen() { return HWY_TARGETS; }
void Choose(int64_t /*target*/) {}
#else
// Asked for the first time before anything was chosen, Highway says what the processor has.
int64_t Runnable() {
  static const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

int64_t Chosen() {
  const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets & -targets;  // the best has the lowest bit
}

void Choose(int64_t target) {
  hwy::SetSupportedTargetsForTest(target);
  hwy::GetChosenTarget().Update(target);
}
#endif

// An empty name is the best one's; none where it cannot run.
std::optional<int64_t> Find(const std::string& name) {
  for (int64_t rest = Runnable(); rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    if (name.empty() || NameOf(target) == Lower(name)) return target;
  }
  return std::nullopt;
}

std::string Expected() {
  std::string known;
  for (const std::string& name : SimdTargets()) known += (known.empty() ? "" : ", ") + name;
  return "expected one of " + known;
}

// Set once somebody has chosen.
std::once_flag chosen;

}  // namespace

std::string SimdTarget() { return NameOf(Chosen()); }

std::string SimdKind() {
  if (!HWY_DYNAMIC_DISPATCH(Fuses)()) return SimdTarget();
  return HWY_ARCH_X86 ? "x86-fma" : HWY_ARCH_ARM ? "arm-fma" : SimdTarget();
}

std::vector<std::string> SimdTargets() {
  std::vector<std::string> names;
  for (int64_t rest = Runnable(); rest != 0; rest &= rest - 1)
    names.push_back(NameOf(rest & -rest));
  return names;
}

void UseSimdTarget(const std::string& name) {
  const std::optional<int64_t> target = Find(name);
  if (!target) throw Error("found SIMD target '" + name + "', " + Expected());
  std::call_once(chosen, [] {});
  Choose(*target);
}

void ChooseSimdTarget() {
  std::call_once(chosen, [] {
    const char* name = std::getenv("TRAINYARD_SIMD");
    if (name == nullptr || *name == '\0') return;
    const std::optional<int64_t> target = Find(name);
    if (!target)
      throw Unavailable(std::string("TRAINYARD_SIMD: found '") + name + "', " + Expected());
    Choose(*target);
  });
}

}  // namespace trainyard::kernels::cpu
#endif
