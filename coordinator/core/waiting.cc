// What a queued attempt waits for, in words.
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

constexpr double kGiB = 1 << 30;

// "a GPU with 11.5 GiB, in pool gpu, with site=berlin".
std::string Wanted(const State& state, const Attempt& attempt) {
  const Needs& needs = state.jobs.at(attempt.job).request.needs;
  std::string text = "a worker";
  if (needs.gpu == GpuWish::kRequired) {
    text = absl::StrFormat("a GPU with %.1f GiB", MemoryNeeded(state, attempt) / kGiB);
  } else if (needs.gpu == GpuWish::kNone) {
    text = "a worker without a GPU";
  }
  if (needs.runtime != "native") absl::StrAppend(&text, ", for ", needs.runtime);
  if (!needs.pool.empty()) absl::StrAppend(&text, ", in pool ", needs.pool);
  for (const auto& [name, value] : needs.labels) {
    absl::StrAppend(&text, ", with ", name, "=", value);
  }
  if (!needs.paths.empty()) absl::StrAppend(&text, ", where ", *needs.paths.begin(), " is");
  return text;
}

std::string Trouble(const HostHealth& health, int64_t now_ms) {
  if (!health.reachable) return absl::StrCat("cannot be reached: ", health.message);
  return absl::StrFormat("is set aside for another %.0f s: %s",
                         (health.not_before_ms - now_ms) / 1000.0 + 0.5, health.message);
}

const Launch* LaunchFor(const State& state, AttemptId id) {
  for (const auto& [launch_id, launch] : state.launches) {
    if (launch.attempt == id && launch.state < LaunchState::kStopping) return &launch;
  }
  return nullptr;
}

// What to do where nobody runs such programs at all.
std::string WhoCouldRun(const State& state, const std::string& runtime) {
  if (runtime == "native") return "";
  for (const auto& [id, worker] : state.workers) {
    if (worker.abilities.runtimes.contains(runtime)) return "";
  }
  for (const auto& [pool_name, pool] : state.settings.pools) {
    for (const auto& [host, slots] : pool.hosts) {
      for (const Abilities& can : slots) {
        if (can.runtimes.contains(runtime)) return "";
      }
    }
  }
  return absl::StrCat(
      "; programs run on this machine with --allow-programs, or in a container "
      "pool with an image for ",
      runtime);
}

}  // namespace

std::string WhyWaiting(const State& state, const Attempt& attempt, int64_t now_ms) {
  if (attempt.state != AttemptState::kQueued || state.jobs.at(attempt.job).paused) return "";
  if (const Launch* launch = LaunchFor(state, attempt.id)) {
    const bool queued = launch->live.register_by_ms == std::numeric_limits<int64_t>::max();
    return absl::StrCat(queued ? "its turn in the queue of " : "a worker that is being started on ",
                        Describe(launch->slot.host));
  }
  if (attempt.live.not_before_ms > now_ms) {
    return absl::StrFormat("a pause of another %.0f s after a failure",
                           (attempt.live.not_before_ms - now_ms) / 1000.0 + 0.5);
  }
  int fitting = 0;
  for (const auto& [id, worker] : state.workers) {
    const bool stays = worker.state < WorkerState::kDismissed && !worker.launch;
    if (stays && Fits(state, attempt, worker.pool, worker.abilities)) ++fitting;
  }
  std::vector<std::string> troubles;
  for (const auto& [pool_name, pool] : state.settings.pools) {
    for (const auto& [host, slots] : pool.hosts) {
      int here = 0;
      for (const Abilities& can : slots) here += Fits(state, attempt, pool_name, can) ? 1 : 0;
      if (here == 0) continue;
      const HostName name{pool_name, host};
      if (Usable(state, name, now_ms)) {
        fitting += here;
      } else {
        troubles.push_back(
            absl::StrCat(Describe(name), " ", Trouble(state.hosts.at(name), now_ms)));
      }
    }
  }
  const std::string wanted = Wanted(state, attempt);
  if (fitting > 0) return absl::StrCat(wanted, ": all ", fitting, " that suit are taken");
  if (troubles.empty()) {
    const std::string& runtime = state.jobs.at(attempt.job).request.needs.runtime;
    return absl::StrCat(wanted, ": there is none that suits", WhoCouldRun(state, runtime));
  }
  return absl::StrCat(wanted, ": ", absl::StrJoin(troubles, "; "));
}

}  // namespace trainyard::core
