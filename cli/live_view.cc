#include "cli/live_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/event_line.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

constexpr int kMaxWidth = 100;
constexpr int kBarWidth = 28;
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
    epochs_[trial.number()] = PlannedEpochs(trial);
  }
}

int LiveView::EpochsPlanned() const {
  const auto found = epochs_.find(trial_);
  return found == epochs_.end() ? 0 : found->second;
}

double LiveView::MetricOf(const v1::Epoch& epoch) const {
  return by_loss_ ? epoch.val_loss() : epoch.val_accuracy();
}

void LiveView::Add(const v1::Event& event) {
  if (event.trial() > 0 && event.trial() != trial_) {
    trial_ = event.trial();
    epoch_ = restarts_ = 0;
  }
  const std::string& kind = event.kind();
  if (kind == "checkpoint") {
    checkpoint_ = Cut(CleanLine(event.message()), 40);
  } else if (kind == "trial_started") {
    checkpoint_.clear();
    phase_ = "starting";
    epoch_ = restarts_ = 0;
  } else if (kind == "attempt_started") {
    phase_ = "training";
  } else if (kind == "attempt_lost") {
    phase_ = "restarting";
  } else if (kind == "attempt_restarted") {
    phase_ = "training";
    ++restarts_;
  } else if (kind == "finishing" || kind == "target_met") {
    phase_ = "finishing";
  } else if (kind == "waiting") {
    phase_ = "waiting for `trainyard tweak`";
  } else if (kind == "job_ended") {
    phase_ = StateCell(event.job_state()).text;
  }
  if (!event.has_epoch()) return;
  const v1::Epoch& epoch = event.epoch();
  phase_ = "training";
  epoch_ = epoch.epoch();
  rate_ = epoch.images_per_second();
  seconds_ = epoch.seconds();
  epoch_ms_ = event.time_ms();
  if (curves_.empty() || curves_.back().trial != epoch.trial())
    curves_.push_back({epoch.trial(), {}});
  std::vector<double>& values = curves_.back().values;
  const double value = MetricOf(epoch);
  // An epoch that a restart repeats replaces what it was before.
  if (epoch.epoch() >= 1 && values.size() >= static_cast<size_t>(epoch.epoch()))
    values.resize(epoch.epoch() - 1);
  values.push_back(value);
  if (std::isfinite(value) && (!has_best_ || Better(value, best_))) {
    has_best_ = true;
    best_ = value;
    best_trial_ = epoch.trial();
    best_epoch_ = epoch.epoch();
  }
}

std::string LiveView::HeadLine(int64_t now_ms) const {
  std::string left = style_.Paint(Colour::kBold, fmt::format("job {}", job_.id())) + "  " +
                     Cut(CleanLine(job_.name()), 30) + "  ";
  left += trouble_.empty() ? style_.Paint(Colour::kCyan, phase_)
                           : style_.Paint(Colour::kRed, Cut(CleanLine(trouble_), 60));
  if (!trouble_.empty()) return left;
  if (trial_ > 0) {
    const int limit = job_.spec().budget().trials();
    left += fmt::format("  trial {}", trial_) + (limit > 0 ? fmt::format(" of {}", limit) : "");
  }
  if (restarts_ > 0) {
    left += style_.Paint(Colour::kYellow,
                         fmt::format("  {} restart{}", restarts_, restarts_ == 1 ? "" : "s"));
  }
  return left + style_.Paint(Colour::kDim, "  " + FormatDuration(std::max<int64_t>(
                                                      0, now_ms - job_.created_ms())));
}

std::string LiveView::ProgressLine(int64_t now_ms) const {
  const int epochs = EpochsPlanned();
  const double share = epochs > 0 ? std::clamp(static_cast<double>(epoch_) / epochs, 0.0, 1.0) : 0;
  const int full = static_cast<int>(share * kBarWidth);
  const char* done = style_.unicode ? "━" : "#";
  const char* open = style_.unicode ? "─" : "-";
  std::string line = style_.Paint(Colour::kGreen, Repeat(done, full)) +
                     style_.Paint(Colour::kDim, Repeat(open, kBarWidth - full));
  line += epochs > 0 ? fmt::format("  epoch {} of {}", epoch_, epochs)
                     : fmt::format("  epoch {}", epoch_);
  if (epoch_ == 0) {
    return checkpoint_.empty() ? line : line + style_.Paint(Colour::kDim, "  " + checkpoint_);
  }
  line += fmt::format("  {} images/s", FormatCount(std::llround(rate_)));
  if (epochs > epoch_ && seconds_ > 0) {
    const auto left_ms =
        static_cast<int64_t>((epochs - epoch_) * seconds_ * 1000) - (now_ms - epoch_ms_);
    if (left_ms > 0)
      line += style_.Paint(Colour::kDim, fmt::format("  {} left", FormatDuration(left_ms)));
  }
  if (!checkpoint_.empty()) line += style_.Paint(Colour::kDim, "  " + checkpoint_);
  return line;
}

std::vector<std::string> LiveView::ChartLines() const {
  const v1::Target& target = job_.spec().target();
  const bool has_target = target.metric() != v1::Target::METRIC_UNSPECIFIED;
  double low = INFINITY, high = -INFINITY;
  size_t points = 0;
  for (const Curve& curve : curves_) {
    points += curve.values.size();
    for (const double value : curve.values) {
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
  const int columns = std::clamp(std::min(style_.width, kMaxWidth) - kLabelWidth - 3, 10, 72);
  const int wide = static_cast<int>(points + curves_.size()) * 2 <= columns ? 2 : 1;
  // Level of each column in eighths of a row; -1: the gap between two trials.
  std::vector<std::pair<int, Colour>> levels;
  for (size_t c = 0; c < curves_.size(); ++c) {
    if (c > 0) levels.emplace_back(-1, Colour::kPlain);
    for (const double value : curves_[c].values) {
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

std::vector<std::string> LiveView::Block(int64_t now_ms) const {
  const int width = std::min(style_.width, kMaxWidth);
  std::vector<std::string> lines;
  lines.push_back(style_.Paint(Colour::kDim, Repeat(style_.unicode ? "─" : "-", width - 1)));
  lines.push_back(HeadLine(now_ms));
  if (trial_ > 0) lines.push_back(ProgressLine(now_ms));
  for (std::string& line : ChartLines()) lines.push_back(std::move(line));
  std::string foot;
  const char* metric = by_loss_ ? "val_loss" : "val_accuracy";
  if (has_best_) {
    foot = fmt::format("best {} {} (trial {}, epoch {})", metric, FormatMetric(best_), best_trial_,
                       best_epoch_);
  }
  if (job_.spec().target().metric() != v1::Target::METRIC_UNSPECIFIED) {
    const double bound = job_.spec().target().bound();
    if (!foot.empty()) foot += ", ";
    foot += fmt::format("target {} {} {:.4g}", metric, by_loss_ ? "<=" : ">=", bound);
    if (has_best_ && Better(bound, best_))
      foot += fmt::format(", {} to go", FormatMetric(std::abs(bound - best_)));
  }
  if (!foot.empty()) lines.push_back(Cut(foot, width - 1));
  return lines;
}

void LiveView::Clear() {
  if (drawn_ > 0) out_ << "\r\x1b[" << drawn_ << "A\x1b[J" << std::flush;
  drawn_ = 0;
}

void LiveView::Print(const std::string& lines, int64_t now_ms) {
  std::string frame;
  if (drawn_ > 0) frame += "\r\x1b[" + std::to_string(drawn_) + "A\x1b[J";
  frame += lines;
  const std::vector<std::string> block = Block(now_ms);
  frame += "\x1b[?7l";  // a line of the block that is too long is cut instead of taking two
  for (const std::string& line : block) frame += line + "\n";
  frame += "\x1b[?7h";
  drawn_ = static_cast<int>(block.size());
  out_ << frame << std::flush;  // in one piece, so that it doesn't flicker
}

}  // namespace trainyard::cli
