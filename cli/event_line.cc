#include "cli/event_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/text.h"

namespace trainyard::cli {
namespace {

constexpr int kLabelWidth = 12;
constexpr int kMaxWidth = 100;

struct Look {
  const char* kind;
  const char* label;
  const char* symbol;
  Colour colour;
};

constexpr Look kLooks[] = {
    {"push_seen", "push", "●", Colour::kBlue},
    {"push_refused", "push refused", "✗", Colour::kRed},
    {"job_created", "job", "●", Colour::kBlue},
    {"trial_started", "trial", "▶", Colour::kCyan},
    {"attempt_started", "attempt", "·", Colour::kDim},
    {"epoch", "epoch", "·", Colour::kPlain},
    {"checkpoint", "checkpoint", "·", Colour::kDim},
    {"attempt_lost", "lost", "✗", Colour::kRed},
    {"attempt_restarted", "restart", "↻", Colour::kYellow},
    {"trial_ended", "trial ended", "■", Colour::kCyan},
    {"diagnosis", "diagnosis", "?", Colour::kMagenta},
    {"tweak", "tweak", "✎", Colour::kMagenta},
    {"adjustment", "adjustment", "✎", Colour::kMagenta},
    {"target_met", "target met", "✓", Colour::kGreen},
    {"finishing", "finishing", "●", Colour::kBlue},
    {"model_published", "model", "★", Colour::kGreen},
    {"job_ended", "job ended", "■", Colour::kBold},
    {"waiting", "waiting", "‖", Colour::kYellow},
    {"note", "note", "·", Colour::kDim},
};

Look LookOf(const v1::Event& event, const std::string& kind) {
  Look look{"", kind.c_str(), "·", Colour::kPlain};
  for (const Look& known : kLooks) {
    if (event.kind() == known.kind) look = known;
  }
  if (event.kind() == "job_ended") look.colour = StateCell(event.job_state()).colour;
  return look;
}

// Whether the server's sentence says already what the fields would.
bool Mentions(const std::string& text, const v1::Change& change) {
  return text.find(CleanLine(change.path())) != std::string::npos &&
         text.find(CleanLine(change.to())) != std::string::npos;
}

std::string TweakText(const v1::Event& event) {
  std::string text = CleanLine(event.message());
  if (text.empty()) text = CleanLine(event.tweak().reason());
  const auto& changes = event.tweak().changes();
  const bool told = std::all_of(changes.begin(), changes.end(),
                                [&](const v1::Change& change) { return Mentions(text, change); });
  if (!told) text += fmt::format(" [{}]", ChangesText(event.tweak().changes()));
  return text;
}

}  // namespace

Cell StateCell(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_QUEUED:
      return {"queued", Colour::kDim};
    case v1::JOB_STATE_RUNNING:
      return {"running", Colour::kCyan};
    case v1::JOB_STATE_WAITING:
      return {"waiting", Colour::kYellow};
    case v1::JOB_STATE_PAUSED:
      return {"paused", Colour::kYellow};
    case v1::JOB_STATE_FINISHING:
      return {"finishing", Colour::kBlue};
    case v1::JOB_STATE_SUCCEEDED:
      return {"succeeded", Colour::kGreen};
    case v1::JOB_STATE_BELOW_TARGET:
      return {"below target", Colour::kYellow};
    case v1::JOB_STATE_FAILED:
      return {"failed", Colour::kRed};
    case v1::JOB_STATE_CANCELLED:
      return {"cancelled", Colour::kDim};
    default:
      return {"unknown", Colour::kDim};
  }
}

Cell StateCell(v1::TrialState state) {
  switch (state) {
    case v1::TRIAL_STATE_QUEUED:
      return {"queued", Colour::kDim};
    case v1::TRIAL_STATE_RUNNING:
      return {"running", Colour::kCyan};
    case v1::TRIAL_STATE_HALTED:
      return {"halted", Colour::kYellow};
    case v1::TRIAL_STATE_COMPLETED:
      return {"completed", Colour::kPlain};
    case v1::TRIAL_STATE_DIVERGED:
      return {"diverged", Colour::kRed};
    case v1::TRIAL_STATE_FAILED:
      return {"failed", Colour::kRed};
    case v1::TRIAL_STATE_CANCELLED:
      return {"cancelled", Colour::kDim};
    default:
      return {"unknown", Colour::kDim};
  }
}

Cell StateCell(v1::Worker::State state) {
  switch (state) {
    case v1::Worker::IDLE:
      return {"idle", Colour::kGreen};
    case v1::Worker::BUSY:
      return {"busy", Colour::kCyan};
    case v1::Worker::DRAINING:
      return {"draining", Colour::kYellow};
    case v1::Worker::LOST:
      return {"lost", Colour::kRed};
    case v1::Worker::GONE:
      return {"gone", Colour::kDim};
    default:
      return {"unknown", Colour::kDim};
  }
}

bool IsOver(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_BELOW_TARGET ||
         state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_CANCELLED;
}

std::string ChangesText(const Changes& changes) {
  constexpr int kShown = 8;
  std::string text;
  for (const v1::Change& change : changes) {
    if (&change == &changes[0] + kShown) break;
    const std::string path = CleanLine(change.path(), 200);
    const std::string from = CleanLine(change.from(), 200);
    const std::string to = CleanLine(change.to(), 200);
    text += text.empty() ? "" : "; ";
    text += from.empty() ? fmt::format("{} = {}", path, to)
            : to.empty() ? fmt::format("{} {} taken out", path, from)
                         : fmt::format("{} {} -> {}", path, from, to);
  }
  if (changes.size() > kShown) text += fmt::format("; {} more", changes.size() - kShown);
  return text;
}

int PlannedEpochs(const v1::Trial& trial) {
  const v1::Configuration& now = trial.adjustments().empty()
                                     ? trial.configuration()
                                     : trial.adjustments().rbegin()->configuration();
  const int all = now.has_training() ? now.training().epochs() : now.changes().epochs();
  if (trial.until_epoch() == 0) return all;
  return all == 0 ? trial.until_epoch() : std::min(all, trial.until_epoch());
}

bool EventLines::IsBest(int64_t job, const v1::Epoch& epoch) {
  const double score = by_loss_ ? -epoch.val_loss() : epoch.val_accuracy();
  if (std::isnan(score)) return false;
  const auto [entry, first] = best_.try_emplace(job, score);
  if (first || score <= entry->second) return false;  // the very first is no news
  entry->second = score;
  return true;
}

std::string EventLines::EpochText(const v1::Epoch& epoch, int room) const {
  std::string text = fmt::format("trial {}  epoch {:>2}  val {}", epoch.trial(), epoch.epoch(),
                                 FormatMetric(epoch.val_accuracy()));
  const std::string more[] = {
      fmt::format("loss {}", FormatMetric(epoch.val_loss())),
      fmt::format("train {}", FormatMetric(epoch.train_accuracy())),
      fmt::format("{} images/s", FormatCount(std::llround(epoch.images_per_second()))),
      fmt::format("{:.1f} s", epoch.seconds()),
      fmt::format("train loss {}", FormatMetric(epoch.train_loss())),
      fmt::format("lr {:.3g}", epoch.learning_rate()),
  };
  for (const std::string& part : more) {
    if (style_.terminal && Width(text) + 2 + Width(part) > room) break;
    text += "  " + part;
  }
  // A program of the user's is never exact, but only what was continued could have been.
  const bool continued = !epoch.exact() && epoch.attempt() > 1;
  return continued ? text + "  (continued, not bit for bit)" : text;
}

std::string EventLines::Render(const v1::Event& event) {
  if (event.kind() == "attempt_started" || event.kind() == "attempt_restarted") {
    told_checkpoint_.erase({event.job(), event.trial()});
  }
  if (event.kind() == "checkpoint" &&
      !told_checkpoint_.insert({event.job(), event.trial()}).second && !all_checkpoints_) {
    return "";
  }
  const std::string kind = Cut(CleanLine(event.kind(), 64), kLabelWidth);
  const Look look = LookOf(event, kind);
  std::string head = FormatClock(event.time_ms()) + "  ";
  int indent = Width(head);
  head = style_.Paint(Colour::kDim, head);
  bool best = false;
  if (event.has_epoch()) best = IsBest(event.job(), event.epoch());
  if (style_.unicode) {
    head += style_.Paint(best ? Colour::kGreen : look.colour, best ? "★" : look.symbol) + " ";
    indent += 2;
  }
  head += style_.Paint(look.colour, PadRight(look.label, kLabelWidth)) + "  ";
  indent += kLabelWidth + 2;
  if (with_job_ && event.job() != 0) {
    const std::string job = fmt::format("job {}  ", event.job());
    head += style_.Paint(Colour::kDim, job);
    indent += Width(job);
  }
  const int room = std::max(20, std::min(style_.width, kMaxWidth) - indent);
  std::string text;
  if (event.has_epoch()) {
    text = EpochText(event.epoch(), room);
    // Where there is a star, or colours and no room, that says it.
    if (best && !style_.unicode && (!style_.terminal || Width(text) + 6 <= room)) text += "  best";
  } else {
    text = event.has_tweak() ? TweakText(event) : CleanLine(event.message());
  }
  const Colour colour = event.has_epoch() && best     ? Colour::kGreen
                        : look.colour == Colour::kDim ? Colour::kDim
                                                      : Colour::kPlain;
  if (!style_.terminal) return head + text + "\n";
  std::string out;
  for (const std::string& line : Wrap(text, room)) {
    out += (out.empty() ? head : std::string(indent, ' ')) + style_.Paint(colour, line) + "\n";
  }
  return out;
}

}  // namespace trainyard::cli
