#include "cli/live_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "cli/event_line.h"
#include "cli/job_view.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

constexpr int kMaxWidth = 100;
constexpr int kBarWidth = 28;
constexpr int kShortBarWidth = 16;  // where several trials have one
constexpr size_t kMostTrials = 6;   // that have a line each
constexpr int kChartRows = 4;
constexpr int kLabelWidth = 8;  // of the chart's axis

std::string Repeat(const char* symbol, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += symbol;
  return out;
}

// One character cell of a column that is `level` eighths of a row high in all.
const char* CellOf(int level, int row_from_bottom, bool unicode) {
  static const char* kBlocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static const char* kPlain[] = {" ", ".", ".", ".", ":", ":", "|", "|", "#"};
  const int part = std::clamp(level - row_from_bottom * 8, 0, 8);
  return unicode ? kBlocks[part] : kPlain[part];
}

}  // namespace

void LiveView::SetJob(const v1::Job& job) {
  job_ = job;
  job_.clear_trials();
  by_loss_ = job.spec().target().metric() == v1::Target::VAL_LOSS;
  for (const v1::Trial& trial : job.trials()) {
    planned_[trial.number()] = PlannedEpochs(trial);
  }
}

double LiveView::MetricOf(const v1::Epoch& epoch) const {
  return by_loss_ ? epoch.val_loss() : epoch.val_accuracy();
}

int LiveView::Planned(int number) const {
  const auto found = planned_.find(number);
  return found == planned_.end() ? 0 : found->second;
}

bool LiveView::Add(const v1::Event& event) {
  const std::string& kind = event.kind();
  if (kind == "waiting") {
    phase_ = "waiting for `trainyard tweak`";
  } else if (kind == "finishing" || kind == "target_met") {
    phase_ = "finishing";
  } else if (kind == "job_ended") {
    phase_ = StateCell(event.job_state()).text;
  } else if (kind == "trial_started" || event.has_epoch()) {
    phase_.clear();
  }
  if (event.trial() == 0) return false;
  latest_ = event.trial();
  Trial& trial = trials_[latest_];
  if (kind == "checkpoint") {
    trial.checkpoint = Cut(CleanLine(event.message()), 40);
  } else if (kind == "attempt_started" || kind == "attempt_restarted") {
    if (phase_ == "queued") phase_.clear();
    trial.phase = "training";
    trial.restarts += kind == "attempt_restarted";
  } else if (kind == "attempt_lost") {
    trial.phase = "restarting";
  } else if (kind == "trial_ended") {
    trial.ended = true;
  } else if (event.has_epoch()) {
    AddEpoch(event, trial);
  }
  // A trial that was halted at a rung goes on to a later epoch than it was to.
  const int planned = Planned(latest_);
  const bool promoted = kind == "attempt_started" && planned > 0 && trial.epoch >= planned;
  return kind == "trial_started" || kind == "adjustment" || promoted;
}

void LiveView::AddEpoch(const v1::Event& event, Trial& trial) {
  const v1::Epoch& epoch = event.epoch();
  trial.phase = "training";
  trial.epoch = epoch.epoch();
  trial.rate = epoch.images_per_second();
  trial.seconds = epoch.seconds();
  trial.epoch_ms = event.time_ms();
  const double value = MetricOf(epoch);
  // An epoch that a restart repeats replaces what it was before.
  if (epoch.epoch() >= 1 && trial.values.size() >= static_cast<size_t>(epoch.epoch()))
    trial.values.resize(epoch.epoch() - 1);
  trial.values.push_back(value);
  if (std::isfinite(value) && (!has_best_ || Better(value, best_))) {
    has_best_ = true;
    best_ = value;
    best_trial_ = epoch.trial();
    best_epoch_ = epoch.epoch();
  }
}

std::vector<int> LiveView::Shown() const {
  std::vector<int> running;
  for (const auto& [number, trial] : trials_) {
    const int planned = Planned(number);
    if (!trial.ended && (planned == 0 || trial.epoch < planned)) running.push_back(number);
  }
  if (running.empty() && latest_ > 0) running.push_back(latest_);
  return running;
}

std::string LiveView::HeadLine(const std::vector<int>& shown, int64_t now_ms) const {
  std::string left = style_.Paint(Colour::kBold, fmt::format("job {}", job_.id())) + "  " +
                     Cut(CleanLine(job_.name()), 30) + "  ";
  if (!trouble_.empty()) return left + style_.Paint(Colour::kRed, Cut(CleanLine(trouble_), 60));
  const bool one = shown.size() == 1;
  left += style_.Paint(Colour::kCyan, !phase_.empty() ? phase_
                                      : one           ? trials_.at(shown.front()).phase
                                                      : "training");
  const int limit = job_.spec().budget().trials();
  if (shown.size() > kMostTrials) {
    left += fmt::format("  {} trials", shown.size());
  } else if (!shown.empty()) {
    left += fmt::format("  trial{} {}", one ? "" : "s", fmt::join(shown, ", ")) +
            (limit > 0 ? fmt::format(" of {}", limit) : "");
  }
  if (one) left += Restarts(trials_.at(shown.front()));
  return left + style_.Paint(Colour::kDim, "  " + FormatDuration(std::max<int64_t>(
                                                      0, now_ms - job_.created_ms())));
}

std::string LiveView::Restarts(const Trial& trial) const {
  if (trial.restarts == 0) return "";
  return style_.Paint(Colour::kYellow, fmt::format("  {} restart{}", trial.restarts,
                                                   trial.restarts == 1 ? "" : "s"));
}

std::string LiveView::BarAndEpoch(int number, int width) const {
  const Trial& trial = trials_.at(number);
  const int planned = Planned(number);
  const double share =
      planned > 0 ? std::clamp(static_cast<double>(trial.epoch) / planned, 0.0, 1.0) : 0;
  const int full = static_cast<int>(share * width);
  const std::string bar =
      style_.Paint(Colour::kGreen, Repeat(style_.unicode ? "━" : "#", full)) +
      style_.Paint(Colour::kDim, Repeat(style_.unicode ? "─" : "-", width - full));
  return bar + (planned > 0 ? fmt::format("  epoch {} of {}", trial.epoch, planned)
                            : fmt::format("  epoch {}", trial.epoch));
}

std::string LiveView::ProgressLine(int number, int64_t now_ms) const {
  const Trial& trial = trials_.at(number);
  std::string line = BarAndEpoch(number, kBarWidth);
  if (trial.epoch > 0) line += fmt::format("  {} images/s", FormatCount(std::llround(trial.rate)));
  const int left = Planned(number) - trial.epoch;
  if (trial.epoch > 0 && left > 0 && trial.seconds > 0) {
    const auto left_ms =
        static_cast<int64_t>(left * trial.seconds * 1000) - (now_ms - trial.epoch_ms);
    if (left_ms > 0)
      line += style_.Paint(Colour::kDim, fmt::format("  {} left", FormatDuration(left_ms)));
  }
  if (!trial.checkpoint.empty()) line += style_.Paint(Colour::kDim, "  " + trial.checkpoint);
  return line;
}

// One of several.
std::string LiveView::ShortProgressLine(int number) const {
  const Trial& trial = trials_.at(number);
  std::string line = fmt::format("trial {:>2}  ", number) + BarAndEpoch(number, kShortBarWidth);
  if (trial.phase != "training") line += "  " + style_.Paint(Colour::kYellow, trial.phase);
  if (!trial.values.empty()) line += "  " + FormatMetric(trial.values.back());
  if (trial.epoch > 0) line += fmt::format("  {} images/s", FormatCount(std::llround(trial.rate)));
  return line + Restarts(trial);
}

std::vector<int> LiveView::Drawn(int columns) const {
  std::vector<int> drawn;
  int needed = 0;
  for (const auto& [number, trial] : trials_) {
    if (trial.values.empty()) continue;
    drawn.push_back(number);
    needed += static_cast<int>(trial.values.size()) + 1;
  }
  const std::vector<int> shown = Shown();
  for (auto number = drawn.begin(); number != drawn.end() && needed > columns;) {
    const bool keep = *number == best_trial_ || std::ranges::find(shown, *number) != shown.end();
    if (keep) {
      ++number;
      continue;
    }
    needed -= static_cast<int>(trials_.at(*number).values.size()) + 1;
    number = drawn.erase(number);
  }
  return drawn;
}

std::vector<std::string> LiveView::ChartLines() const {
  const v1::Target& target = job_.spec().target();
  const bool has_target = target.metric() != v1::Target::METRIC_UNSPECIFIED;
  const int columns = std::clamp(std::min(style_.width, kMaxWidth) - kLabelWidth - 3, 10, 72);
  const std::vector<int> drawn = Drawn(columns);
  double low = INFINITY, high = -INFINITY;
  size_t points = 0;
  for (const int number : drawn) {
    const std::vector<double>& values = trials_.at(number).values;
    points += values.size();
    for (const double value : values) {
      if (!std::isfinite(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (points == 0 || !std::isfinite(low)) return {};
  if (has_target) {
    low = std::min(low, target.bound());
    high = std::max(high, target.bound());
  }
  if (high - low < 1e-9) low = high - 1e-3;
  const int wide = static_cast<int>(points + drawn.size()) * 2 <= columns ? 2 : 1;
  // Level of each column in eighths of a row; -1: the gap between two trials.
  std::vector<std::pair<int, Colour>> levels;
  for (size_t c = 0; c < drawn.size(); ++c) {
    if (c > 0) levels.emplace_back(-1, Colour::kPlain);
    for (const double value : trials_.at(drawn[c]).values) {
      const double share = std::isfinite(value) ? (value - low) / (high - low) : 0;
      const bool met = has_target && !Better(target.bound(), value) && std::isfinite(value);
      const Colour colour = met ? Colour::kGreen : c % 2 == 0 ? Colour::kCyan : Colour::kBlue;
      for (int i = 0; i < wide; ++i) {
        levels.emplace_back(1 + static_cast<int>(share * (kChartRows * 8 - 1)), colour);
      }
    }
  }
  if (levels.size() > static_cast<size_t>(columns))
    levels.erase(levels.begin(), levels.end() - columns);
  std::vector<std::string> lines;
  const char* axis = style_.unicode ? " ┤" : " |";
  for (int row = kChartRows - 1; row >= 0; --row) {
    const std::string label = row == kChartRows - 1 ? FormatMetric(high)
                              : row == 0            ? FormatMetric(low)
                                                    : "";
    std::string line = style_.Paint(Colour::kDim, PadLeft(label, kLabelWidth) + axis);
    for (const auto& [level, colour] : levels) {
      const std::string cell = level < 0 ? " " : CellOf(level, row, style_.unicode);
      line += cell == " " ? cell : style_.Paint(colour, cell);
    }
    lines.push_back(line);
  }
  return lines;
}

std::string LiveView::FootLine() const {
  std::string foot;
  const char* metric = by_loss_ ? "val_loss" : "val_accuracy";
  if (has_best_) {
    foot = fmt::format("best {} {} (trial {}, epoch {})", metric, FormatMetric(best_), best_trial_,
                       best_epoch_);
  }
  if (job_.spec().target().metric() == v1::Target::METRIC_UNSPECIFIED) return foot;
  const double bound = job_.spec().target().bound();
  if (!foot.empty()) foot += ", ";
  foot += "target " + TargetText(job_.spec().target());
  if (has_best_ && Better(bound, best_))
    foot += fmt::format(", {} to go", FormatMetric(std::abs(bound - best_)));
  return foot;
}

std::vector<std::string> LiveView::Block(int64_t now_ms) const {
  const int width = std::min(style_.width, kMaxWidth);
  const std::vector<int> shown = Shown();
  std::vector<std::string> lines;
  lines.push_back(style_.Paint(Colour::kDim, Repeat(style_.unicode ? "─" : "-", width - 1)));
  lines.push_back(HeadLine(shown, now_ms));
  if (shown.size() == 1) lines.push_back(ProgressLine(shown.front(), now_ms));
  if (shown.size() > 1) {
    for (size_t i = 0; i < std::min(shown.size(), kMostTrials); ++i)
      lines.push_back(ShortProgressLine(shown[i]));
    if (shown.size() > kMostTrials)
      lines.push_back(fmt::format("and {} more", shown.size() - kMostTrials));
  }
  for (std::string& line : ChartLines()) lines.push_back(std::move(line));
  const std::string foot = FootLine();
  if (!foot.empty()) lines.push_back(Cut(foot, width - 1));
  return lines;
}

void LiveView::Clear() {
  if (drawn_ > 0) out_ << "\r\x1b[" << drawn_ << "A\x1b[J" << std::flush;
  drawn_ = 0;
}

void LiveView::Print(const std::string& lines, int64_t now_ms) {
  std::string frame;
  if (drawn_ > 0) frame += "\r\x1b[" + std::to_string(drawn_) + "A";
  // Each line is cleared as it is written, not the whole block before: that would flicker.
  const auto add = [&frame](std::string_view line) {
    frame += "\x1b[K";
    frame += line;
    frame += "\n";
  };
  for (size_t at = 0, end; at < lines.size(); at = end + 1) {
    end = std::min(lines.find('\n', at), lines.size());
    add(std::string_view(lines).substr(at, end - at));
  }
  const std::vector<std::string> block = Block(now_ms);
  frame += "\x1b[?7l";  // a line of the block that is too long is cut instead of taking two
  for (const std::string& line : block) add(line);
  frame += "\x1b[?7h\x1b[J";
  drawn_ = static_cast<int>(block.size());
  out_ << frame << std::flush;
}

}  // namespace trainyard::cli
