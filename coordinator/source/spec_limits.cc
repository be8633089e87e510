// `target`, `budget` and `checkpoint`: when a job has met its aim and when it must end.
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "coordinator/source/spec_parts.h"
#include "coordinator/source/spec_values.h"

namespace trainyard::coordinator {
namespace {

using Kind = YamlNode::Kind;

constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();
constexpr double kLossMax = 1e6;
constexpr int64_t kTimeMaxMs = int64_t{3'650} * 24 * 3'600 * 1'000;  // ten years

constexpr char kTargetForms[] =
    "such as val_accuracy >= 0.92, val_loss <= 0.3 or 0.92 (of val_accuracy)";

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::optional<double> ParseReal(std::string_view text) {
  double value;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

void SetBound(const YamlNode& node, const std::string& path, double bound, v1::Target* target,
              SpecProblems* problems) {
  bool accuracy = target->metric() == v1::Target::VAL_ACCURACY;
  double most = accuracy ? 1 : kLossMax;
  if (!(bound > 0 && bound <= most)) {
    std::string hint = accuracy && bound > 1 && bound <= 100
                           ? fmt::format(" ({} % is {})", bound, bound / 100)
                           : "";
    problems->Add(
        node.place, path,
        fmt::format("found {}, expected a number greater than 0, at most {}{}", bound, most, hint));
    return;
  }
  target->set_bound(bound);
}

// "val_accuracy >= 0.92" or "0.92".
void ReadShortTarget(const YamlNode& node, v1::Target* target, SpecProblems* problems) {
  std::string_view text = node.text;
  size_t sign = text.find("=");
  std::string_view number = text;
  if (sign != std::string_view::npos && sign > 0) {
    std::string_view metric = Trim(text.substr(0, sign - 1));
    std::string_view relation = text.substr(sign - 1, 2);
    number = Trim(text.substr(sign + 1));
    if (metric == "val_accuracy" && relation == ">=") {
      target->set_metric(v1::Target::VAL_ACCURACY);
    } else if (metric == "val_loss" && relation == "<=") {
      target->set_metric(v1::Target::VAL_LOSS);
    } else {
      number = "";
    }
  }
  auto bound = ParseReal(number);
  if (!bound) {
    problems->Add(node.place, "target", Describe(node) + ", expected a target " + kTargetForms);
    return;
  }
  SetBound(node, "target", *bound, target, problems);
}

}  // namespace

namespace {

// How many validation images there are decides what accuracy is sure of.
void ReadConfidence(const Section& section, bool program, v1::Target* target,
                    SpecProblems* problems) {
  constexpr double kLeast = 0.5;
  constexpr double kMost = 0.999;
  const YamlNode* node = section.Find("confidence");
  double confidence = 0;
  if (node == nullptr || !ReadReal(*node, section.PathOf("confidence"), &confidence, problems)) {
    return;
  }
  if (target->metric() != v1::Target::VAL_ACCURACY) {
    section.Problem("confidence",
                    Describe(*node) + " of val_loss, expected it of val_accuracy only");
  } else if (program) {
    section.Problem("confidence", Describe(*node) +
                                      " of a program, whose validation images are not known, "
                                      "expected none");
  } else if (!(confidence >= kLeast && confidence <= kMost)) {
    section.Problem("confidence", fmt::format("found {}, expected a number from {} to {}",
                                              confidence, kLeast, kMost));
  } else if (target->bound() >= 1) {
    section.Problem(
        "confidence",
        Describe(*node) + " beside at_least: 1, expected none: no number of images can show that");
  } else {
    target->set_confidence(confidence);
  }
}

}  // namespace

void ReadTarget(const Section& root, bool program, v1::Target* target, SpecProblems* problems) {
  target->set_metric(v1::Target::VAL_ACCURACY);
  target->set_bound(kTargetAccuracy);
  const YamlNode* node = root.Find("target");
  if (node != nullptr && node->kind == Kind::kScalar) {
    ReadShortTarget(*node, target, problems);
    return;
  }
  Section section(node, "target", "target", problems);
  v1::Target::Metric metric = v1::Target::VAL_ACCURACY;
  section.Word<v1::Target::Metric>(
      "metric", {{"val_accuracy", v1::Target::VAL_ACCURACY}, {"val_loss", v1::Target::VAL_LOSS}},
      &metric);
  target->set_metric(metric);
  bool accuracy = metric == v1::Target::VAL_ACCURACY;
  std::string_view ours = accuracy ? "at_least" : "at_most";
  std::string_view other = accuracy ? "at_most" : "at_least";
  if (section.Find(other)) {
    section.Problem(other, fmt::format("found a bound for {}, expected {}",
                                       accuracy ? "val_accuracy" : "val_loss", ours));
  } else if (!accuracy) {
    section.Require(ours, "the bound");
  }
  double bound = 0;
  const YamlNode* value = section.Find(ours);
  if (value && ReadReal(*value, section.PathOf(ours), &bound, problems)) {
    SetBound(*value, section.PathOf(ours), bound, target, problems);
  }
  ReadConfidence(section, program, target, problems);
}

void ReadBudget(const Section& root, v1::Budget* budget, SpecProblems* problems) {
  Section section(root.Find("budget"), "budget", "budget", problems);
  int32_t trials = 0;
  int64_t epochs = 0;
  section.Integer("trials", 1, kIntMax, &trials);
  section.Integer("epochs", 1, kIntMax, &epochs);
  budget->set_trials(trials);
  budget->set_epochs(epochs);
  int64_t time_ms = 0;
  if (const YamlNode* time = section.Find("time")) {
    ReadDuration(*time, section.PathOf("time"), 1'000, kTimeMaxMs, "from 1s to 3650d", &time_ms,
                 problems);
  }
  budget->set_time_ms(time_ms);
}

void ReadCheckpoint(const Section& root, v1::CheckpointPolicy* checkpoint, SpecProblems* problems) {
  Section section(root.Find("checkpoint"), "checkpoint", "checkpoint", problems);
  int64_t every_steps = 0;
  section.Integer("every_steps", 0, kIntMax, &every_steps);
  checkpoint->set_every_steps(every_steps);
  checkpoint->set_every_ms(kCheckpointEveryMs);
  const YamlNode* node = section.Find("every_seconds");
  double seconds = 0;
  if (node == nullptr || !ReadReal(*node, section.PathOf("every_seconds"), &seconds, problems)) {
    return;
  }
  constexpr double kSecondsMax = 1e7;
  if (seconds != 0 && !(seconds >= 0.1 && seconds <= kSecondsMax)) {
    section.Problem("every_seconds", fmt::format("{}, expected 0 (never) or 0.1 to {} seconds",
                                                 Describe(*node), kSecondsMax));
    return;
  }
  checkpoint->set_every_ms(std::llround(seconds * 1'000));
}

}  // namespace trainyard::coordinator
