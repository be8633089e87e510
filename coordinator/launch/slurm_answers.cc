#include "coordinator/launch/slurm_answers.h"

#include <signal.h>
#include <string.h>

#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "proto/signal_name.h"

namespace trainyard::coordinator {
namespace {

constexpr int kTerminated = 128 + SIGTERM;

template <typename Number>
bool ToNumber(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

std::vector<std::string> Fields(std::string_view line, size_t count) {
  std::vector<std::string> fields =
      absl::StrSplit(absl::string_view(line.data(), line.size()),
                     absl::MaxSplits('|', static_cast<int>(count) - 1));
  return fields.size() == count ? fields : std::vector<std::string>();
}

std::vector<std::string> Lines(std::string_view text) {
  return absl::StrSplit(absl::string_view(text.data(), text.size()), '\n', absl::SkipEmpty());
}

// "1:0" is exit code 1, "0:9" is signal 9.
bool ParseExit(std::string_view text, SlurmJob& job) {
  const size_t colon = text.find(':');
  return colon != std::string_view::npos && ToNumber(text.substr(0, colon), job.exit_code) &&
         ToNumber(text.substr(colon + 1), job.signal);
}

// The value behind " NAME=" in the line of scontrol, up to the next blank.
std::string Shown(std::string_view line, std::string_view name) {
  const std::string key = absl::StrCat(" ", std::string(name), "=");
  const size_t at = line.find(key);
  if (at == std::string_view::npos) return "";
  line.remove_prefix(at + key.size());
  return std::string(line.substr(0, line.find_first_of(" \n")));
}

bool HasAny(std::string_view text, std::initializer_list<std::string_view> words) {
  const std::string lower = absl::AsciiStrToLower(absl::string_view(text.data(), text.size()));
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return lower.find(word) != std::string::npos; });
}

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool Terminated(const std::optional<int>& status) {
  return !status || *status == kTerminated || *status == 128 + SIGKILL;
}

// Why the job was taken from its worker although nothing was wrong with it; empty: it was not.
std::string TakenAway(const SlurmEnd& end) {
  const std::string job = absl::StrCat(" (job ", end.job, ")");
  const SlurmJob answer = end.answer.value_or(SlurmJob{});
  if (answer.state == "TIMEOUT") {
    const std::string limit =
        answer.time_limit.empty() ? "" : absl::StrCat(" of ", answer.time_limit);
    return absl::StrCat("the pool's time limit", limit, " was reached", job);
  }
  if (answer.state == "DEADLINE") return absl::StrCat("its deadline was reached", job);
  if (!Terminated(end.status)) return "";
  if (answer.state == "PREEMPTED" || answer.preempted) {
    return absl::StrCat("preempted by Slurm", job);
  }
  if (end.repeated || answer.restarts > 0) return absl::StrCat("requeued by Slurm", job);
  return "";
}

void SetStatus(int status, WorkerExit& exit) {
  // 143 is the worker's own code for "asked to leave"; it is kept as it is.
  if (status > 128 && status < 128 + NSIG && status != kTerminated) {
    exit.signal = status - 128;
    exit.cause = absl::StrCat("killed by ", SignalName(exit.signal));
  } else {
    exit.exit_code = status;
    exit.cause = absl::StrCat("exit code ", status);
  }
}

}  // namespace

bool SlurmJob::waits() const {
  return IsOneOf(state, {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT",
                         "RESV_DEL_HOLD"});
}

bool SlurmJob::runs() const {
  return IsOneOf(state, {"RUNNING", "SUSPENDED", "CONFIGURING", "STOPPED", "SIGNALING", "RESIZING",
                         "STAGE_OUT", "COMPLETING"});
}

bool SlurmJob::over() const { return !waits() && !runs(); }

std::vector<std::string> QueueArguments() {
  return {"--me", "--all", "--noheader", "--states=all", "--format=%A|%T|%N|%r|%k"};
}

std::vector<SlurmJob> ParseQueue(std::string_view output) {
  std::vector<SlurmJob> jobs;
  for (const std::string& line : Lines(output)) {
    const auto fields = Fields(line, 5);
    SlurmJob job;
    if (fields.empty() || !ToNumber(fields[0], job.id)) continue;
    job.state = fields[1];
    job.node = fields[2];
    job.reason = fields[3];
    job.comment = fields[4];
    jobs.push_back(std::move(job));
  }
  return jobs;
}

std::optional<SlurmJob> ParseShownJob(std::string_view output) {
  const std::string line = absl::StrCat(" ", std::string(output));
  SlurmJob job;
  if (!ToNumber(Shown(line, "JobId"), job.id)) return std::nullopt;
  job.state = Shown(line, "JobState");
  job.reason = Shown(line, "Reason");
  job.comment = Shown(line, "Comment");
  job.node = Shown(line, "NodeList");
  job.time_limit = Shown(line, "TimeLimit");
  const std::string preempted = Shown(line, "PreemptTime");
  job.preempted = !preempted.empty() && preempted != "None";
  ToNumber(Shown(line, "Restarts"), job.restarts);
  if (job.state.empty() || !ParseExit(Shown(line, "ExitCode"), job)) return std::nullopt;
  return job;
}

std::optional<SlurmJob> ParseAccounting(std::string_view output, int64_t id) {
  std::optional<SlurmJob> found;
  for (const std::string& line : Lines(output)) {
    const auto fields = Fields(line, 3);
    SlurmJob job;
    if (fields.empty() || !ToNumber(fields[0], job.id) || job.id != id) continue;
    // "CANCELLED by 1000"
    job.state = fields[1].substr(0, fields[1].find(' '));
    if (ParseExit(fields[2], job)) found = std::move(job);  // the last row is the latest
  }
  return found;
}

std::optional<int64_t> ParseSubmitted(std::string_view output) {
  const std::string_view number = output.substr(0, output.find_first_of(";\n"));
  int64_t id = 0;
  if (!ToNumber(number, id) || id <= 0) return std::nullopt;
  return id;
}

std::string CleanSlurmErrors(std::string_view errors) {
  std::string cleaned;
  for (const std::string& line : Lines(errors)) {
    absl::string_view text = absl::StripAsciiWhitespace(line);
    for (const char* const program : {"sbatch", "squeue", "scancel", "scontrol", "sacct"}) {
      absl::ConsumePrefix(&text, absl::StrCat(program, ": "));
    }
    absl::ConsumePrefix(&text, "error: ");
    absl::ConsumePrefix(&text, "Batch job submission failed: ");
    if (text.empty() || absl::StrContains(cleaned, text)) continue;
    absl::StrAppend(&cleaned, cleaned.empty() ? "" : "; ", text);
  }
  std::replace_if(
      cleaned.begin(), cleaned.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  constexpr size_t kMost = 500;
  if (cleaned.size() > kMost) cleaned = cleaned.substr(0, kMost) + "...";
  return cleaned.empty() ? "it said nothing" : cleaned;
}

bool IsControllerTrouble(std::string_view errors) {
  return HasAny(
      errors, {"unable to contact slurm controller", "connection refused", "connection timed out",
               "connection reset", "socket timed out", "no route to host", "network is unreachable",
               "munge", "authentication", "invalid credential", "controller in standby",
               "host is down", "zero bytes were transmitted", "unable to connect",
               "unable to resolve", "communication connection failure", "configuration source"});
}

absl::Status SubmitFailure(std::string_view errors) {
  const std::string words = CleanSlurmErrors(errors);
  if (IsControllerTrouble(errors)) {
    return absl::UnavailableError(absl::StrCat("Slurm's controller cannot be reached: ", words));
  }
  if (HasAny(errors, {"temporarily unable", "temporarily unavailable", "submit limit", "max submit",
                      "violates accounting/qos policy", "no space left", "maximum number of jobs",
                      "too many jobs", "try again"})) {
    return absl::ResourceExhaustedError(absl::StrCat("Slurm takes no more jobs now: ", words));
  }
  return absl::FailedPreconditionError(absl::StrCat("Slurm refuses its jobs: ", words));
}

WorkerExit ExplainEnd(const SlurmEnd& end) {
  WorkerExit exit;
  exit.launch = end.launch;
  const SlurmJob answer = end.answer.value_or(SlurmJob{});
  const std::string job = absl::StrCat(" (job ", end.job, ")");
  if (end.status == 0) {
    SetStatus(0, exit);
  } else if (end.out_of_memory || answer.state == "OUT_OF_MEMORY") {
    exit.out_of_memory = true;
    exit.signal = SIGKILL;
    exit.cause = absl::StrCat("out of memory: killed by Slurm", job);
  } else if (!end.ended_by_us.empty()) {
    if (end.status) {
      SetStatus(*end.status, exit);
    } else {
      exit.signal = SIGKILL;
    }
    if (exit.exit_code < 0) exit.cause = end.ended_by_us;
  } else if (std::string taken = TakenAway(end); !taken.empty()) {
    exit.exit_code = kTerminated;
    exit.cause = std::move(taken);
  } else if (answer.state == "CANCELLED" && Terminated(end.status)) {
    SetStatus(end.status.value_or(128 + SIGKILL), exit);
    exit.cause = absl::StrCat("cancelled in Slurm by somebody else", job);
  } else if (end.status) {
    SetStatus(*end.status, exit);
  } else if (answer.state == "NODE_FAIL" || answer.state == "BOOT_FAIL") {
    exit.unknown = true;
    exit.cause = absl::StrCat("its node ", answer.node, " failed", job);
  } else if (answer.state == "FAILED" || answer.state == "COMPLETED") {
    SetStatus(answer.signal != 0 ? 128 + answer.signal : answer.exit_code, exit);
    absl::StrAppend(&exit.cause, ", as Slurm says", job);
  } else {
    exit.unknown = true;
    exit.cause = answer.state.empty() ? absl::StrCat("gone, and Slurm no longer knows how", job)
                                      : absl::StrCat("Slurm ended it: ", answer.state, job);
  }
  return exit;
}

}  // namespace trainyard::coordinator
