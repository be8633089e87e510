#include "coordinator/launch/slurm_client.h"

#include <unistd.h>

#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {
namespace {

constexpr char kUsualPath[] = "/usr/local/bin:/usr/bin:/bin";

std::map<std::string, std::string> Variables(const char* const* environment,
                                             const SlurmPool& pool) {
  static constexpr std::string_view kKept[] = {"PATH", "HOME", "USER",      "LOGNAME",
                                               "LANG", "TZ",   "SLURM_CONF"};
  std::map<std::string, std::string> kept{{"PATH", kUsualPath}};
  for (; *environment != nullptr; ++environment) {
    const std::string_view variable = *environment;
    const size_t equals = variable.find('=');
    for (const std::string_view name : kKept) {
      if (variable.substr(0, equals) == name) {
        kept[std::string(name)] = std::string(variable.substr(equals + 1));
      }
    }
  }
  for (const auto& [name, value] : pool.environment) kept[name] = value;
  return kept;
}

}  // namespace

std::vector<std::string> SlurmEnvironment(const char* const* environment, const SlurmPool& pool) {
  std::vector<std::string> texts;
  for (const auto& [name, value] : Variables(environment, pool)) {
    texts.push_back(absl::StrCat(name, "=", value));
  }
  return texts;
}

SlurmClient::SlurmClient(SlurmPool pool, int64_t timeout_ms, int cancel_fd)
    : pool_(std::move(pool)), timeout_ms_(timeout_ms), cancel_fd_(cancel_fd) {}

absl::StatusOr<CommandResult> SlurmClient::Run(const std::string& program,
                                               std::vector<std::string> arguments) const {
  const auto file = FindProgram(program, pool_.bin, Variables(environ, pool_).at("PATH"));
  if (!file.ok()) {
    return absl::FailedPreconditionError(std::string(file.status().message()));
  }
  auto result = RunCommand({.program = *file,
                            .arguments = std::move(arguments),
                            .environment = SlurmEnvironment(environ, pool_),
                            .timeout_ms = timeout_ms_,
                            .output_max = 64 << 20,
                            .cancel_fd = cancel_fd_});
  if (!result.ok()) return result.status();
  if (result->cancelled) return absl::UnavailableError("the coordinator is ending");
  return result;
}

absl::StatusOr<int64_t> SlurmClient::Submit(const SlurmJobPlan& plan,
                                            const std::string& script) const {
  const auto result = Run("sbatch", SbatchArguments(plan, pool_, script));
  if (!result.ok()) return result.status();
  if (result->timed_out && result->errors.empty()) {
    return absl::UnavailableError(
        absl::StrCat("sbatch did not answer within ", timeout_ms_, " ms"));
  }
  if (!result->ok()) return SubmitFailure(result->errors);
  const auto job = ParseSubmitted(result->output);
  if (!job) {
    return absl::UnavailableError(absl::StrCat("sbatch said '", result->output.substr(0, 100),
                                               "', expected the number of a job"));
  }
  return *job;
}

absl::StatusOr<std::vector<SlurmJob>> SlurmClient::List() const {
  const auto result = Run("squeue", QueueArguments());
  if (!result.ok()) return result.status();
  if (!result->ok()) {
    return absl::UnavailableError(
        result->timed_out ? absl::StrCat("squeue did not answer within ", timeout_ms_, " ms")
                          : CleanSlurmErrors(result->errors));
  }
  return ParseQueue(result->output);
}

absl::StatusOr<std::optional<SlurmJob>> SlurmClient::Show(int64_t job) const {
  const auto result = Run("scontrol", {"show", "job", "--oneliner", absl::StrCat(job)});
  if (!result.ok()) return result.status();
  if (result->ok()) return ParseShownJob(result->output);
  if (absl::StrContains(result->errors, "Invalid job id")) return std::optional<SlurmJob>();
  return absl::UnavailableError(CleanSlurmErrors(result->errors));
}

absl::StatusOr<std::optional<SlurmJob>> SlurmClient::Account(int64_t job) const {
  const std::vector<std::string> rows{"-nPo", "JobID,State,ExitCode", "-j", absl::StrCat(job)};
  // From the database, else from the text file that smaller clusters keep.
  for (const bool from_file : {false, true}) {
    std::vector<std::string> arguments = rows;
    if (from_file) arguments.insert(arguments.begin(), "-c");
    const auto result = Run("sacct", std::move(arguments));
    if (!result.ok()) return result.status();
    if (!result->ok()) continue;
    if (auto found = ParseAccounting(result->output, job)) return found;
  }
  return std::optional<SlurmJob>();
}

absl::Status SlurmClient::RunCancel(std::vector<std::string> arguments) const {
  const auto result = Run("scancel", std::move(arguments));
  if (!result.ok()) return result.status();
  // Whatever else it complains of means that there is nothing to cancel any more.
  if (!result->timed_out && !IsControllerTrouble(result->errors)) return absl::OkStatus();
  return absl::UnavailableError(CleanSlurmErrors(result->errors));
}

absl::Status SlurmClient::Cancel(int64_t job) const { return RunCancel({absl::StrCat(job)}); }

absl::Status SlurmClient::CancelIfPending(int64_t job) const {
  return RunCancel({"--state=PENDING", absl::StrCat(job)});
}

absl::Status SlurmClient::Terminate(int64_t job) const {
  return RunCancel({"--batch", "--signal=TERM", absl::StrCat(job)});
}

}  // namespace trainyard::coordinator
