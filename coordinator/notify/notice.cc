#include "coordinator/notify/notice.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kNameMax = 100;
constexpr size_t kReasonMax = 1'000;

std::string ValueText(const v1::Job& job, double value) {
  const bool loss = job.spec().target().metric() == v1::Target::VAL_LOSS;
  return loss ? fmt::format("{:.4g}", value) : fmt::format("{:.4f}", value);
}

std::string NameOf(const v1::Job& job) {
  const std::string& name = job.project().empty() ? job.name() : job.project();
  return name.empty() ? absl::StrCat("job ", job.id()) : Shortened(OneLine(name), kNameMax);
}

std::string BestValue(const v1::Job& job) {
  if (job.best_trial() == 0) return "";
  return absl::StrCat(std::string(MetricName(job)), " ", ValueText(job, job.best_metric()));
}

}  // namespace

std::string_view Name(NoticeEvent event) {
  switch (event) {
    case NoticeEvent::kCreated:
      return "created";
    case NoticeEvent::kTargetMet:
      return "target_met";
    case NoticeEvent::kTargetMissed:
      return "target_missed";
    case NoticeEvent::kFailed:
      return "failed";
    case NoticeEvent::kCancelled:
      break;
  }
  return "cancelled";
}

NoticeEvent EndOf(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_SUCCEEDED:
      return NoticeEvent::kTargetMet;
    case v1::JOB_STATE_BELOW_TARGET:
      return NoticeEvent::kTargetMissed;
    case v1::JOB_STATE_CANCELLED:
      return NoticeEvent::kCancelled;
    default:
      return NoticeEvent::kFailed;
  }
}

std::string LinkTo(const v1::Job& job, std::string_view url_template) {
  return absl::StrReplaceAll(std::string(url_template),
                             {{"{job}", absl::StrCat(job.id())}, {"{commit}", job.commit()}});
}

std::string Headline(const JobNotice& notice) {
  const v1::Job& job = notice.job;
  const std::string name = NameOf(job);
  const std::string best = BestValue(job);
  const std::string target =
      TargetText(job).empty() ? "" : absl::StrCat(" (target ", TargetText(job), ")");
  const std::string why =
      Shortened(OneLine(job.reason().empty() ? notice.text : job.reason()), kReasonMax);
  switch (notice.event) {
    case NoticeEvent::kCreated:
      return absl::StrCat(name, ": job ", job.id(), " is under way", target);
    case NoticeEvent::kTargetMet:
      return absl::StrCat(name, ": target met, ", best, target);
    case NoticeEvent::kTargetMissed:
      return absl::StrCat(name, ": target missed, best so far ", best, target);
    case NoticeEvent::kFailed:
      return absl::StrCat(name, ": job ", job.id(), " failed: ", why);
    case NoticeEvent::kCancelled:
      break;
  }
  return absl::StrCat(name, ": job ", job.id(), " cancelled: ", why);
}

std::vector<std::pair<std::string, std::string>> Facts(const JobNotice& notice) {
  const v1::Job& job = notice.job;
  std::vector<std::pair<std::string, std::string>> facts;
  const auto add = [&](const char* name, std::string_view value) {
    if (!value.empty()) facts.emplace_back(name, Shortened(OneLine(value), kReasonMax));
  };
  add("Job", absl::StrCat(job.id(), job.name().empty() ? "" : ": ", job.name()));
  add("Project", job.project());
  add("Commit", job.commit());
  add("Best", BestText(job));
  if (const std::string target = TargetText(job); !target.empty()) {
    add("Target", absl::StrCat(std::string(MetricName(job)), " ", target));
  }
  if (job.model().test_count() > 0) {
    add("Test accuracy",
        fmt::format("{:.4f} of {} images", job.model().test_accuracy(), job.model().test_count()));
  }
  add("Trials", job.trials_size() > 0 ? absl::StrCat(job.trials_size()) : "");
  add("Why", job.reason().empty() ? notice.text : job.reason());
  return facts;
}

std::string_view MetricName(const v1::Job& job) {
  switch (job.spec().target().metric()) {
    case v1::Target::VAL_ACCURACY:
      return "val_accuracy";
    case v1::Target::VAL_LOSS:
      return "val_loss";
    default:
      return "";
  }
}

std::string BestText(const v1::Job& job) {
  const std::string best = BestValue(job);
  if (best.empty()) return "";
  return absl::StrCat(best, " at epoch ", job.best_epoch(), " of trial ", job.best_trial());
}

std::string TargetText(const v1::Job& job) {
  if (MetricName(job).empty()) return "";
  const bool loss = job.spec().target().metric() == v1::Target::VAL_LOSS;
  return fmt::format("{} {}", loss ? "<=" : ">=", job.spec().target().bound());
}

std::string StateName(const v1::Job& job) {
  constexpr std::string_view kPrefix = "JOB_STATE_";
  return absl::AsciiStrToLower(v1::JobState_Name(job.state()).substr(kPrefix.size()));
}

std::string Shortened(std::string_view text, size_t bytes_max) {
  constexpr std::string_view kCut = "...";
  if (text.size() <= bytes_max) return std::string(text);
  size_t end = bytes_max - kCut.size();
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return absl::StrCat(std::string(text.substr(0, end)), std::string(kCut));
}

std::string OneLine(std::string_view text) {
  std::string line(text);
  std::ranges::replace_if(
      line, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
  return line;
}

}  // namespace trainyard::coordinator
