#include "cli/job_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "cli/event_line.h"
#include "cli/text.h"
#include "cli/tweak_view.h"

namespace trainyard::cli {
namespace {

constexpr int kMaxWidth = 100;
constexpr int kKeyWidth = 11;

// "key        value", the value wrapped under itself.
std::string Field(const Style& style, const char* key, const std::string& value,
                  Colour colour = Colour::kPlain) {
  if (value.empty()) return "";
  std::string out;
  for (const std::string& line : Wrap(value, std::min(style.width, kMaxWidth) - kKeyWidth - 2)) {
    out += "  " + style.Paint(Colour::kDim, PadRight(out.empty() ? key : "", kKeyWidth)) +
           style.Paint(colour, line) + "\n";
  }
  return out;
}

std::string SourceText(const v1::Job& job) {
  std::string text =
      job.project().empty() ? "" : fmt::format("project {}, ", CleanLine(job.project()));
  text += CleanLine(job.source());
  if (!job.commit().empty())
    text += fmt::format(", commit {}", CleanLine(job.commit().substr(0, 12)));
  return text;
}

std::string BudgetText(const v1::Budget& budget) {
  std::vector<std::string> parts;
  if (budget.trials() > 0) parts.push_back(fmt::format("{} trials", FormatCount(budget.trials())));
  if (budget.time_ms() > 0) parts.push_back(FormatDuration(budget.time_ms()) + " of training");
  if (budget.epochs() > 0) parts.push_back(fmt::format("{} epochs", FormatCount(budget.epochs())));
  return fmt::format("{}", fmt::join(parts, ", "));
}

// What the job asked for beyond the defaults, or empty.
std::string NeedsText(const v1::Resources& resources) {
  std::vector<std::string> parts;
  const int64_t memory = resources.gpu_memory_bytes();
  const std::string with = memory > 0 ? " with " + FormatBytes(memory) : "";
  if (!resources.pool().empty()) parts.push_back("pool " + CleanLine(resources.pool(), 100));
  if (resources.gpu() == v1::Resources::NONE) parts.push_back("no GPU");
  if (resources.gpu() == v1::Resources::REQUIRED) parts.push_back("a GPU" + with);
  if (resources.gpu() == v1::Resources::ANY && memory > 0) parts.push_back("if a GPU, one" + with);
  if (!resources.labels().empty()) parts.push_back(LabelsText(resources.labels()));
  if (resources.priority() != 0) parts.push_back(fmt::format("priority {}", resources.priority()));
  return fmt::format("{}", fmt::join(parts, ", "));
}

// Why nothing happens in a trial whose next attempt has no worker yet, or empty.
std::string WaitText(const v1::Trial& trial) {
  for (const v1::Attempt& attempt : trial.attempts()) {
    if (attempt.state() == v1::ATTEMPT_STATE_QUEUED && !attempt.waiting_for().empty())
      return "queued: waits for " + CleanLine(attempt.waiting_for());
  }
  return "";
}

std::string ChangeAndReason(const v1::Trial& trial) {
  std::vector<std::string> lines;
  if (trial.has_tweak()) {
    lines.push_back(ChangesText(trial.tweak().changes()));
    std::string reason = CleanLine(trial.tweak().finding());
    if (!trial.tweak().reason().empty()) {
      reason += (reason.empty() ? "" : ": ") + CleanLine(trial.tweak().reason());
    }
    lines.push_back(reason);
    lines.push_back(OriginText(trial));
    lines.push_back(GainText(trial));
  } else {
    const v1::Configuration& configuration = trial.configuration();
    const bool program = configuration.has_changes() && configuration.changes().ByteSizeLong() == 0;
    lines.push_back(program ? "the program as it is" : "as the spec says");
  }
  if (trial.applied_size() > 0) lines.push_back("its model: " + ChangesText(trial.applied()));
  // The whole network where it is new, else just its size: the changes above say the rest.
  const std::string values = FormatCount(trial.parameters()) + " values";
  if (!trial.has_tweak() && !trial.description().empty()) {
    lines.push_back(fmt::format("{} ({})", CleanLine(trial.description()), values));
  } else if (trial.parameters() > 0) {
    lines.push_back(values);
  }
  const bool plain =
      trial.state() == v1::TRIAL_STATE_COMPLETED || trial.state() == v1::TRIAL_STATE_RUNNING;
  if (!plain && !trial.reason().empty()) lines.push_back(CleanLine(trial.reason()));
  lines.push_back(WaitText(trial));
  lines.erase(std::remove(lines.begin(), lines.end(), ""), lines.end());
  return fmt::format("{}", fmt::join(lines, "\n"));
}

std::string EpochsText(const v1::Trial& trial) {
  std::set<int> epochs;  // one that a restart repeated counts once
  for (const v1::Epoch& epoch : trial.epochs()) epochs.insert(epoch.epoch());
  const int planned = PlannedEpochs(trial);
  if (planned == 0) return std::to_string(epochs.size());
  return fmt::format("{}/{}", epochs.size(), planned);
}

// "python3 train.py (keras)", or empty for a network.
std::string ProgramText(const v1::Program& program) {
  const auto& command = program.command();
  if (command.empty()) return "";
  const bool shell = command.size() == 3 && command[0] == "sh" && command[1] == "-c";
  const std::string line =
      shell ? command[2] : fmt::format("{}", fmt::join(command.begin(), command.end(), " "));
  return fmt::format("{} ({})", CleanLine(line), CleanLine(program.framework()));
}

// The classes that are mixed up the most, by the test set.
std::string ConfusionText(const v1::Model& model) {
  const int classes = model.class_names_size();
  if (classes < 2 || model.confusion_size() != classes * classes) return "";
  std::vector<std::pair<int64_t, int>> wrong;
  for (int i = 0; i < model.confusion_size(); ++i) {
    if (i / classes != i % classes && model.confusion(i) > 0)
      wrong.emplace_back(model.confusion(i), i);
  }
  std::sort(wrong.begin(), wrong.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min<size_t>(3, wrong.size()); ++i) {
    const auto [count, cell] = wrong[i];
    parts.push_back(fmt::format("{} {} taken for {}", FormatCount(count),
                                CleanLine(model.class_names(cell / classes), 40),
                                CleanLine(model.class_names(cell % classes), 40)));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string ModelFields(const v1::Job& job, const std::optional<std::string>& state_dir,
                        const Style& style) {
  if (!job.has_model()) {
    const std::string best = BestText(job);
    if (best.empty()) return "";
    return "\n" +
           Field(style, "so far",
                 fmt::format("trial {}, epoch {}: {}", job.best_trial(), job.best_epoch(), best));
  }
  const v1::Model& model = job.model();
  const std::string validation = ValidationText(model);
  const std::string test =
      model.test_count() == 0
          ? "no test set"
          : fmt::format("test accuracy {} on {} images", FormatMetric(model.test_accuracy()),
                        FormatCount(model.test_count()));
  std::string out = "\n";
  out += Field(
      style, "best model",
      fmt::format("trial {}, epoch {}: {}, {}", model.trial(), model.epoch(), validation, test),
      model.target_met() ? Colour::kGreen : Colour::kYellow);
  out += Field(style, "",
               model.description().empty()
                   ? ""
                   : fmt::format("{} ({} values)", CleanLine(model.description()),
                                 FormatCount(model.parameters())));
  out += Field(style, "mixed up", ConfusionText(model));
  if (!state_dir) return out;
  const std::string where =
      state_dir->empty() ? "the coordinator's state folder" : CleanLine(*state_dir);
  out += Field(style, "lies in", fmt::format("{}, named by its SHA-256:", where));
  const auto file = [&](const std::string& name, int64_t bytes, const std::string& sha256) {
    out += Field(style, "", fmt::format("{} {}, {}", name, FormatBytes(bytes), CleanLine(sha256)));
  };
  for (const v1::ModelFile& one : model.files())
    file(CleanLine(one.name()), one.bytes(), one.sha256());
  if (!job.spec().has_program()) {
    file("ONNX", model.onnx_bytes(), model.onnx_sha256());
    file("safetensors", model.safetensors_bytes(), model.safetensors_sha256());
    out += Field(style, "get it", fmt::format("trainyard model get {} -o best.onnx", job.id()));
  } else if (model.files().empty()) {
    out += Field(style, "", "no file: the program left none");
  } else {
    out += Field(style, "get it",
                 fmt::format("trainyard model get {} --file {} -o FILE", job.id(),
                             CleanLine(model.files(0).name())));
  }
  return out;
}

}  // namespace

std::string TargetText(const v1::Target& target) {
  const std::string sure =
      target.confidence() > 0 ? fmt::format(" with confidence {:.6g}", target.confidence()) : "";
  switch (target.metric()) {
    case v1::Target::VAL_ACCURACY:
      return fmt::format("val_accuracy >= {:.6g}{}", target.bound(), sure);
    case v1::Target::VAL_LOSS:
      return fmt::format("val_loss <= {:.6g}", target.bound());
    default:
      return "";
  }
}

std::string ValidationText(const v1::Model& model) {
  // A program may tell only one of them.
  return std::isnan(model.val_accuracy())
             ? "validation loss " + FormatMetric(model.val_loss())
             : "validation accuracy " + FormatMetric(model.val_accuracy());
}

std::string BestText(const v1::Job& job) {
  if (job.best_trial() == 0) return "";
  const bool loss = job.spec().target().metric() == v1::Target::VAL_LOSS;
  return fmt::format("{} {}", loss ? "val_loss" : "val_accuracy", FormatMetric(job.best_metric()));
}

std::string LabelsText(const google::protobuf::Map<std::string, std::string>& labels) {
  const std::map<std::string, std::string> sorted(labels.begin(), labels.end());
  std::string text;
  for (const auto& [name, value] : sorted) {
    text += (text.empty() ? "" : ", ") + CleanLine(name, 100) + "=" + CleanLine(value, 100);
  }
  return text;
}

ExitCode ExitCodeOf(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_BELOW_TARGET:
      return kBelowTarget;
    case v1::JOB_STATE_FAILED:
      return kJobFailed;
    case v1::JOB_STATE_CANCELLED:
      return kJobCancelled;
    default:
      return kDone;
  }
}

std::string RenderTrials(const v1::Job& job, const Style& style) {
  const bool loss = job.spec().target().metric() == v1::Target::VAL_LOSS;
  Table table({{"TRIAL", true},
               {"STATE"},
               {"CHANGE AND REASON", false, true},
               {loss ? "VAL LOSS" : "ACCURACY", true},
               {"EPOCHS", true},
               {"RESTARTS", true},
               {"TIME", true}});
  for (const v1::Trial& trial : job.trials()) {
    const bool best = trial.number() == job.best_trial();
    const std::string metric = trial.best_epoch() == 0 ? "-" : FormatMetric(trial.best_metric());
    table.Add({std::to_string(trial.number()), StateCell(trial.state()), ChangeAndReason(trial),
               Cell(metric, best ? Colour::kGreen : Colour::kPlain), EpochsText(trial),
               Cell(std::to_string(trial.restarts()),
                    trial.restarts() > 0 ? Colour::kYellow : Colour::kPlain),
               FormatDuration(trial.training_ms())});
  }
  return table.empty() ? "" : table.Render(style);
}

// What was changed of trials while they ran, and why.
std::string AdjustmentFields(const v1::Job& job, const Style& style) {
  std::string out;
  for (const v1::Trial& trial : job.trials()) {
    for (const v1::Adjustment& adjustment : trial.adjustments()) {
      out += Field(style, out.empty() ? "changed" : "", AdjustmentText(trial.number(), adjustment),
                   adjustment.settled() ? Colour::kPlain : Colour::kYellow);
    }
  }
  return out.empty() ? "" : "\n" + out;
}

// Each attempt that another one took over from, and why.
std::string RestartFields(const v1::Job& job, const Style& style) {
  std::string out;
  for (const v1::Trial& trial : job.trials()) {
    for (int i = 0; i + 1 < trial.attempts_size(); ++i) {
      const v1::Attempt& ended = trial.attempts(i);
      if (ended.finishing() != trial.attempts(i + 1).finishing()) continue;  // it was done
      out += Field(style, out.empty() ? "restarts" : "",
                   fmt::format("trial {}, attempt {} at step {}: {}", trial.number(),
                               ended.number(), ended.step(), CleanLine(ended.cause())));
    }
  }
  return out.empty() ? "" : "\n" + out;
}

std::string RenderJob(const v1::Job& job, const std::optional<std::string>& state_dir,
                      const Style& style, int64_t now_ms) {
  const Cell state = StateCell(job.state());
  std::string out =
      style.Paint(Colour::kBold, fmt::format("job {}  {}", job.id(), CleanLine(job.name()))) +
      "  " + style.Paint(state.colour, state.text) + (job.manual() ? "  (manual)" : "") + "\n";
  out += Field(style, "source", SourceText(job));
  out += Field(style, "program", ProgramText(job.spec().program()));
  out += Field(style, "target", TargetText(job.spec().target()));
  out += Field(style, "budget", BudgetText(job.spec().budget()));
  out += Field(style, "needs", NeedsText(job.spec().resources()));
  const int64_t end_ms = job.ended_ms() > 0 ? job.ended_ms() : now_ms;
  out += Field(
      style, "started",
      fmt::format("{}, {} {}", FormatDate(job.created_ms()), job.ended_ms() > 0 ? "took" : "for",
                  FormatDuration(end_ms - job.created_ms())));
  out += Field(style, "reason", CleanLine(job.reason()));
  if (job.has_proposal()) {
    const v1::Tweak& tweak = job.proposal();
    out += Field(style, "finding", FindingText(tweak));
    out += Field(style, "evidence", EvidenceText(tweak));
    out += Field(style, "proposal",
                 fmt::format("{}: {} (expected: {})", ChangesText(tweak.changes()),
                             CleanLine(tweak.reason()), ExpectedText(tweak)),
                 Colour::kYellow);
  }
  if (job.state() == v1::JOB_STATE_WAITING) {
    const char* tweak = job.has_proposal() ? "" : " --set KEY=VALUE";
    out += Field(style, "next",
                 fmt::format("trainyard tweak {0}{1}, trainyard job finish {0} or cancel {0}",
                             job.id(), tweak));
  }
  const std::string trials = RenderTrials(job, style);
  if (!trials.empty()) out += "\n" + trials;
  out += AdjustmentFields(job, style);
  out += RestartFields(job, style);
  return out + ModelFields(job, state_dir, style);
}

std::string JobLine(const v1::Job& job) {
  std::string line =
      fmt::format("job {} {} {}", job.id(), CleanLine(job.name()), StateCell(job.state()).text);
  if (!job.reason().empty()) line += ": " + CleanLine(job.reason());
  return line;
}

}  // namespace trainyard::cli
