#include "coordinator/launch/slurm_script.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace trainyard::coordinator {
namespace {

// Behind the values. `step` is the same script once more, as the job step in which the worker runs.
//
// One launch number starts one worker: `mkdir` succeeds once, on every kind of shared folder.
// A signal that interrupts `wait` says nothing about the worker, so it is waited for again; 127
// then means that the shell had told its status already.
constexpr char kBody[] = R"SH(
note() { printf '%s %s %s\n' "$1" "$SLURM_JOB_ID" "$2" >> "$folder/state"; }

wait_for() {
  status=
  while :; do
    signalled=
    wait "$1"
    now=$?
    if [ -z "$status" ] || [ "$now" -ne 127 ]; then status=$now; fi
    [ -n "$signalled" ] || break
  done
}

# srun would complain of any other status than 0, in the worker's log.
end_with() {
  note ended "$1" && exit 0
  exit "$1"
}

run_worker() {
  pid=
  asked=
  trap 'signalled=yes asked=yes; [ -z "$pid" ] || kill -TERM "$pid" 2> /dev/null' TERM
  if ! mkdir "$folder/run" 2> /dev/null; then
    [ -d "$folder/run" ] || { echo "cannot make $folder/run" >&2; exit 1; }
    note refused again
    exit 0
  fi
  echo "$$" > "$folder/run/pid"
  note started "${SLURMD_NODENAME:-unknown}"
  if [ -n "$asked" ] || [ -e "$folder/stop" ]; then
    end_with 143
  fi
  "$worker" "$@" < /dev/null &
  pid=$!
  [ -z "$asked" ] || kill -TERM "$pid"
  wait_for "$pid"
  end_with "$status"
}

if [ "${1-}" = step ]; then
  exec >> "$folder/output.log" 2>&1
  shift
  run_worker "$@"
fi

if [ -d "$folder/run" ]; then
  note refused again
  exit 0
fi
# Only this shell is asked by the coordinator; Slurm itself asks the step.
trap 'signalled=yes; : > "$folder/stop"; kill -TERM "$(cat "$folder/run/pid")" 2> /dev/null' TERM
status=127
if command -v "$srun" > /dev/null; then
  "$srun" --quiet --ntasks=1 --cpus-per-task="$cores" --overlap --mpi=none --export=ALL \
    /bin/sh "$folder/job.sh" step "$@" < /dev/null &
  wait_for "$!"
fi
# Without srun, or where it refuses: here, at the price that a preemption is not announced.
if [ ! -d "$folder/run" ]; then
  /bin/sh "$folder/job.sh" step "$@" < /dev/null &
  wait_for "$!"
fi
# What Slurm ends for its memory it tells of in the step's output only.
if tail -c 65536 "$folder/output.log" | grep -q '^slurmstepd.*\(oom.kill\|memory limit\)'; then
  note memory exceeded
fi
while read -r what _ value; do
  [ "$what" != ended ] || status=$value
done < "$folder/state"
exit "$status"
)SH";

std::string Minutes(int64_t limit_ms) {
  const int64_t seconds = std::max<int64_t>((limit_ms + 999) / 1000, 1);
  return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

bool IsName(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
}

}  // namespace

std::string ShellQuote(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", R"('\'')"}}), "'");
}

std::string SlurmScript(const SlurmJobPlan& plan, const SlurmPool& pool) {
  // The first command comes before any value: sbatch looks for #SBATCH lines until there.
  std::string script = "#!/bin/sh\nset -u\n";
  const auto set = [&](const char* name, const std::string& value) {
    absl::StrAppend(&script, name, "=", ShellQuote(value), "\n");
  };
  set("folder", plan.folder);
  set("worker", pool.worker);
  set("srun", pool.bin.empty() ? "srun" : pool.bin + "/srun");
  set("cores", absl::StrCat(std::max(pool.cores, 1)));
  set("export TRAINYARD_LAUNCH", absl::StrCat(plan.launch));
  set("export TRAINYARD_COORDINATOR", plan.coordinator);
  if (plan.access) set("export TRAINYARD_ACCESS", plan.folder + "/access");
  absl::StrAppend(&script, "[ \"${1-}\" = step ] || set -- --pool ", ShellQuote(plan.pool),
                  " --threads \"$cores\"", plan.private_urls ? " --private-urls" : "",
                  pool.programs ? " --programs sandbox" : "", "\n", kBody);
  return script;
}

std::vector<std::string> SbatchArguments(const SlurmJobPlan& plan, const SlurmPool& pool,
                                         const std::string& script) {
  std::vector<std::string> arguments{
      "--parsable",
      "--no-requeue",  // a job that starts again is a new launch, with a new number
      "--export=ALL",  // of the few variables that sbatch itself is given
      "--nodes=1",
      "--ntasks=1",
      absl::StrCat("--cpus-per-task=", std::max(pool.cores, 1)),
      absl::StrCat("--job-name=trainyard-", plan.pool, "-", plan.launch),
      absl::StrCat("--comment=", SlurmOwner(plan.coordinator_id, plan.pool), plan.launch),
      absl::StrCat("--chdir=", plan.folder),
      absl::StrCat("--output=", absl::StrReplaceAll(plan.folder, {{"%", "%%"}}), "/output.log"),
      "--open-mode=append",
  };
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) arguments.push_back(absl::StrCat(option, value));
  };
  add("--partition=", pool.partition);
  add("--account=", pool.account);
  add("--qos=", pool.qos);
  add("--gres=", pool.gres);
  if (pool.memory_bytes > 0) {
    add("--mem=", absl::StrCat((pool.memory_bytes + (1 << 20) - 1) >> 20, "M"));
  }
  if (pool.time_limit_ms > 0) add("--time=", Minutes(pool.time_limit_ms));
  arguments.push_back(script);
  return arguments;
}

std::string SlurmOwner(const std::string& coordinator_id, const std::string& pool) {
  return absl::StrCat("trainyard:", coordinator_id, ":", pool, ":");
}

int64_t LaunchOfComment(std::string_view comment, const std::string& owner) {
  if (!comment.starts_with(owner)) return -1;
  comment.remove_prefix(owner.size());
  const char* const last = comment.data() + comment.size();
  int64_t launch = -1;
  const auto [end, error] = std::from_chars(comment.data(), last, launch);
  return error == std::errc() && end == last && launch >= 0 ? launch : -1;
}

absl::Status CheckSlurmPool(const std::string& name, const std::string& coordinator_id,
                            const SlurmPool& pool) {
  // Both are read back from what squeue prints.
  if (!IsName(name) || !IsName(coordinator_id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("pool '", name, "' of coordinator '", coordinator_id,
                     "': expected names of letters, digits, '.', '_' and '-'"));
  }
  const std::pair<std::string_view, std::string_view> values[] = {
      {"partition", pool.partition},
      {"account", pool.account},
      {"qos", pool.qos},
      {"gres", pool.gres},
      {"folder", pool.folder},
      {"worker", pool.worker},
      {"bin", pool.bin},
  };
  for (const auto& [field, value] : values) {
    if (HasControl(value)) {
      return absl::InvalidArgumentError(absl::StrCat("pool ", name,
                                                     ": found a control character in ",
                                                     std::string(field), ", expected plain text"));
    }
  }
  if (pool.folder.empty() || pool.folder.front() != '/' ||
      pool.folder.find('\\') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("pool ", name, ": found folder '", pool.folder,
                     "', expected an absolute path without backslashes that all nodes share"));
  }
  if (pool.worker.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("pool ", name, ": found no worker, expected a program"));
  }
  return absl::OkStatus();
}

}  // namespace trainyard::coordinator
