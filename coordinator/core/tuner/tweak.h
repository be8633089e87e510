// Why a trial came out as it did, and what the next one changes because of it.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace trainyard::core {

enum class FindingKind {
  kNone,
  kUnderfit,        // does not even fit the training set: too small or too strongly regularised
  kOverfit,         // fits the training set, not the validation set
  kDiverged,        // the loss is no number, or ran away
  kStillImproving,  // stopped by the number of epochs, not by what it can learn
  kPlateau,         // both curves flat, close together, below the target
  kOutOfMemory,
  kManual,       // a person decided
  kRateTooHigh,  // the loss jumps about, or stays high while the gradient does not shrink
  kRateTooLow,   // the loss falls steadily and hardly at all
  kLabelNoise,   // errors are spread evenly over the classes: labels that nothing can learn
  kImbalance,    // few classes take most of the errors, and they are rare
  kWithinNoise,  // misses the target by less than the validation set can tell apart
  kSearch,       // not diagnosed: a search drew the next trial
};

// A diagnosis with the numbers it rests on.
struct Finding {
  FindingKind kind = FindingKind::kNone;
  std::string text;                        // one sentence for people, with the numbers
  std::map<std::string, double> evidence;  // "train_accuracy" -> 0.874, "gap" -> 0.051, ...
  bool operator==(const Finding&) const = default;
};

// One field that differs from the trial before, as a spec names it.
struct Change {
  std::string path;  // "network.layers[0].conv.filters", "train.optimizer.learning_rate"
  std::string from;  // empty: was not there
  std::string to;    // empty: is no longer there
  bool operator==(const Change&) const = default;
};

// From one trial to the next.
struct Tweak {
  Finding finding;
  std::string reason;       // in words and numbers
  std::string expectation;  // what should be seen if the reason is right
  std::vector<Change> changes;
  std::string move;  // what kind of change: "widen", "deepen", "train longer", ...
  int base = 0;      // number of the trial that it changes; 0: none
  double expected_gain =
      0;  // of the target's metric over the base, towards the target; 0: not said
  bool operator==(const Tweak&) const = default;
};

// "underfit", "overfit", "learning rate too high", ...; kNone: "".
const char* FindingName(FindingKind kind);

}  // namespace trainyard::core
