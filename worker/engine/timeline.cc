#include "worker/engine/timeline.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "kernels/backend.h"
#include "network/adjust.h"
#include "network/shapes.h"
#include "worker/engine/hash.h"
#include "worker/engine/planner.h"

namespace trainyard::engine {
namespace {

using kernels::Error;
using network::Boundary;

// Over all that may change in mid-run. Each struct is taken apart whole, so that a new field is not
// forgotten here.
uint64_t DigestOf(const Timeline::Settings& settings) {
  uint64_t digest = kHashStart;
  const auto add = [&digest](auto... values) {
    const double numbers[] = {static_cast<double>(values)...};
    digest = Hash(digest, {reinterpret_cast<const char*>(numbers), sizeof numbers});
  };
  const auto& [epochs, batch_size, optimizer, schedule, augmentation, label_smoothing,
               initialisation, precision, seed] = settings.training;
  add(epochs, label_smoothing);
  const auto& [optimizer_kind, learning_rate, momentum, nesterov, beta1, beta2, epsilon,
               weight_decay, clip_norm] = optimizer;
  add(learning_rate, momentum, nesterov, beta1, beta2, epsilon, weight_decay, clip_norm);
  const auto& [schedule_kind, warmup_epochs, step_epochs, step_factor, final_factor, peak_at] =
      schedule;
  add(static_cast<int>(schedule_kind), warmup_epochs, step_epochs, step_factor, final_factor,
      peak_at);
  const auto& [flip, shift, cutout, normalise] = augmentation;
  add(flip, shift, cutout);
  for (const float rate : settings.dropout_rates) add(rate);
  return digest;
}

std::string NameOf(size_t number) { return "adjustment " + std::to_string(number) + ": "; }

[[noreturn]] void Fail(size_t number, const std::string& problem) {
  throw Error(NameOf(number) + problem);
}

Timeline::Settings SettingsOf(const network::Configuration& configuration) {
  return {configuration.training, DropoutRates(configuration.network)};
}

}  // namespace

void CheckConfiguration(const network::Configuration& configuration, const std::string& whose) {
  std::vector<network::Problem> problems = network::CheckNetwork(configuration.network);
  if (problems.empty()) {
    problems = network::CheckTraining(configuration.training, configuration.network);
  }
  if (!problems.empty()) throw Error(whose + problems[0].path + ": " + problems[0].message);
}

Timeline::Timeline(network::Configuration configuration, int64_t steps_per_epoch,
                   const std::vector<Adjustment>& adjustments)
    : steps_per_epoch_(steps_per_epoch),
      configuration_(std::move(configuration)),
      settings_(SettingsOf(configuration_)) {
  for (const Adjustment& adjustment : adjustments) entries_.push_back(MakeEntry(adjustment));
}

AdjustmentAnswer Timeline::Offer(int number, const Adjustment& adjustment, int64_t steps_done) {
  const auto held = static_cast<int>(entries_.size());
  if (number >= 1 && number <= held) return {true, entries_[number - 1].adjustment.step};
  if (number != held + 1 || StepOf(adjustment) < steps_done) return {false, steps_done};
  entries_.push_back(MakeEntry(adjustment));
  return {true, entries_.back().adjustment.step};
}

int64_t Timeline::StepOf(const Adjustment& adjustment) const {
  const int64_t earliest = entries_.empty() ? 0 : entries_.back().adjustment.step;
  const int64_t step = std::max(adjustment.step, earliest);
  const int64_t into_epoch = step % steps_per_epoch_;
  return adjustment.at_epoch && into_epoch > 0 ? step - into_epoch + steps_per_epoch_ : step;
}

Timeline::Entry Timeline::MakeEntry(Adjustment adjustment) const {
  const size_t number = entries_.size() + 1;
  adjustment.step = StepOf(adjustment);
  const network::Configuration& before =
      entries_.empty() ? configuration_ : entries_.back().adjustment.configuration;
  if (adjustment.stop) adjustment.configuration = before;
  const Boundary boundary = network::BoundaryOf(before, adjustment.configuration);
  if (boundary == Boundary::kTrial) {
    Fail(number,
         "found a change that takes another trial, expected one of what training reads "
         "in each step, or of train.epochs and train.schedule");
  }
  if (boundary == Boundary::kEpoch && adjustment.step % steps_per_epoch_ != 0) {
    Fail(number, "found a change of train.epochs or train.schedule at step " +
                     std::to_string(adjustment.step) + ", expected one at the end of an epoch of " +
                     std::to_string(steps_per_epoch_) + " steps");
  }
  CheckConfiguration(adjustment.configuration, NameOf(number));
  Settings settings = SettingsOf(adjustment.configuration);
  const uint64_t digest = DigestOf(settings);
  return {std::move(adjustment), std::move(settings), digest};
}

const Timeline::Settings& Timeline::At(int64_t step) const {
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
    if (entry->adjustment.step <= step) return entry->settings;
  }
  return settings_;
}

bool Timeline::StopsBefore(int64_t step) const {
  return std::any_of(entries_.begin(), entries_.end(), [step](const Entry& entry) {
    return entry.adjustment.stop && entry.adjustment.step <= step;
  });
}

std::vector<Checkpoint::Adjusted> Timeline::AppliedIn(int64_t steps) const {
  std::vector<Checkpoint::Adjusted> applied;
  for (const Entry& entry : entries_) {
    if (entry.adjustment.step < steps) applied.push_back({entry.adjustment.step, entry.digest});
  }
  return applied;
}

std::vector<int64_t> Timeline::steps() const {
  std::vector<int64_t> steps;
  for (const Entry& entry : entries_) steps.push_back(entry.adjustment.step);
  return steps;
}

}  // namespace trainyard::engine
