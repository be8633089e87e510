#include "network/adjust.h"

#include <type_traits>
#include <variant>

namespace trainyard::network {
namespace {

// The same but for what any step may change.
bool SameButRates(const std::vector<Layer>& from, const std::vector<Layer>& to);

bool SameButRates(const Layer& from, const Layer& to) {
  if (from.op.index() != to.op.index()) return false;
  if (std::holds_alternative<Dropout>(from.op)) return true;
  const auto* a = std::get_if<Residual>(&from.op);
  if (a == nullptr) return from == to;
  const auto& b = std::get<Residual>(to.op);
  return SameButRates(a->body, b.body) && SameButRates(a->shortcut, b.shortcut);
}

bool SameButRates(const std::vector<Layer>& from, const std::vector<Layer>& to) {
  if (from.size() != to.size()) return false;
  for (size_t i = 0; i < from.size(); ++i) {
    if (!SameButRates(from[i], to[i])) return false;
  }
  return true;
}

// `from` with everything of `to` that any step may change.
Training WithStepFields(Training from, const Training& to) {
  const OptimizerKind kind = from.optimizer.kind;
  from.optimizer = to.optimizer;
  from.optimizer.kind = kind;
  from.label_smoothing = to.label_smoothing;
  const bool normalise = from.augmentation.normalise;
  from.augmentation = to.augmentation;
  from.augmentation.normalise = normalise;
  return from;
}

}  // namespace

Boundary BoundaryOf(const Configuration& from, const Configuration& to) {
  if (from == to) return Boundary::kStep;
  const bool same_network = from.network.input == to.network.input &&
                            from.network.classes == to.network.classes &&
                            SameButRates(from.network.layers, to.network.layers);
  if (from.IsProgram() || to.IsProgram() || !same_network) return Boundary::kTrial;
  Training changed = WithStepFields(from.training, to.training);
  if (changed == to.training) return Boundary::kStep;
  changed.epochs = to.training.epochs;
  changed.schedule = to.training.schedule;
  return changed == to.training ? Boundary::kEpoch : Boundary::kTrial;
}

}  // namespace trainyard::network
