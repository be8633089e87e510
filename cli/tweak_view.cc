#include "cli/tweak_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cli/event_line.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

constexpr int kMaxWidth = 100;
constexpr int kKeyWidth = 10;

// "a: b", or the one that there is.
std::string Joined(const std::string& a, const std::string& b) {
  return a + (a.empty() || b.empty() ? "" : ": ") + b;
}

std::string ChangesTable(const v1::Tweak& tweak, const Style& style) {
  if (tweak.changes().empty()) return "";
  Table table({{"KEY", false, true}, {"FROM", false, true}, {"TO", false, true}});
  for (const v1::Change& change : tweak.changes()) {
    table.Add({CleanLine(change.path(), 200), CleanLine(change.from(), 200),
               Cell(CleanLine(change.to(), 200), Colour::kGreen)});
  }
  return table.Render(style);
}

}  // namespace

std::string FindingText(const v1::Tweak& tweak) {
  return Joined(CleanLine(tweak.finding(), 200), CleanLine(tweak.diagnosis()));
}

std::string EvidenceText(const v1::Tweak& tweak) {
  const std::map<std::string, double> sorted(tweak.evidence().begin(), tweak.evidence().end());
  std::string text;
  for (const auto& [name, value] : sorted) {
    text += fmt::format("{}{} {:.4g}", text.empty() ? "" : ", ", CleanLine(name, 100), value);
  }
  return text;
}

std::string ExpectedText(const v1::Tweak& tweak) {
  std::string text = CleanLine(tweak.expectation());
  if (tweak.expected_gain() == 0) return text;
  const std::string gain = fmt::format("{:+.4f}", tweak.expected_gain());
  return text.empty() ? gain : fmt::format("{} ({})", text, gain);
}

std::string GainText(const v1::Trial& trial) {
  std::string text;
  if (trial.tweak().expected_gain() != 0)
    text = fmt::format("expected {:+.4f}", trial.tweak().expected_gain());
  if (trial.has_gained())
    text += fmt::format("{}gained {:+.4f}", text.empty() ? "" : ", ", trial.gained());
  return text;
}

std::string OriginText(const v1::Trial& trial) {
  // A search's trial is one of a space: it changes no other.
  const int base = trial.tweak().move() == "search" ? 0 : trial.tweak().base();
  const int weights = trial.inherited_from();
  std::string text = CleanLine(trial.tweak().move(), 100);
  if (base > 0) text += fmt::format("{}of trial {}", text.empty() ? "" : " ", base);
  if (weights > 0) {
    text += text.empty() ? "" : ", ";
    text += weights == base ? "with its weights" : fmt::format("with trial {}'s weights", weights);
  }
  return text;
}

std::string AdjustmentText(int trial, const v1::Adjustment& adjustment) {
  const v1::Tweak& tweak = adjustment.tweak();
  const char* about = adjustment.settled() ? "" : "about ";
  std::string text =
      adjustment.stop() ? fmt::format("trial {} ends at {}step {}", trial, about, adjustment.step())
                        : fmt::format("trial {} from {}step {} on: {}", trial, about,
                                      adjustment.step(), ChangesText(tweak.changes()));
  const std::string why = Joined(CleanLine(tweak.finding(), 200), CleanLine(tweak.reason()));
  if (!why.empty()) text += fmt::format(" ({})", why);
  if (!adjustment.settled()) text += ", on its way";
  return text;
}

std::string RenderTweak(const v1::TweakJobResponse& response, bool dry_run, int64_t job,
                        const Style& style) {
  const v1::Tweak& tweak = response.tweak();
  const std::string changes = ChangesTable(tweak, style);
  std::string out = dry_run ? fmt::format("Nothing changed; job {} would go on with:\n", job)
                            : fmt::format("Job {} goes on with:\n", job);
  out += changes.empty() ? "  no changes\n" : changes;
  const std::string reason = CleanLine(tweak.reason());
  for (const auto& [name, value] :
       {std::pair<const char*, std::string>{"finding", FindingText(tweak)},
        {"evidence", EvidenceText(tweak)},
        {"reason", reason},
        {"expected", ExpectedText(tweak)},
        {"effect", CleanLine(response.effect())}}) {
    if (value.empty()) continue;
    std::string lines;
    for (const std::string& line : Wrap(value, std::min(style.width, kMaxWidth) - kKeyWidth - 1)) {
      lines += PadRight(lines.empty() ? name : "", kKeyWidth) + line + "\n";
    }
    out += lines;
  }
  return out;
}

}  // namespace trainyard::cli
