// What a queued attempt waits for, in words.
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

constexpr double kGiB = 1 << 30;

// Bytes of the largest GPU that would do if its memory were enough; 0: there is none.
int64_t LargestGpu(const State& state, const Attempt& attempt) {
  int64_t largest = 0;
  const auto look = [&](const std::string& pool, Abilities can) {
    const int64_t bytes = can.gpu ? std::exchange(can.gpu_memory_bytes, 0) : 0;
    if (bytes > largest && Fits(state, attempt, pool, can)) largest = bytes;
  };
  for (const auto& [id, worker] : state.workers) {
    if (worker.state < WorkerState::kDismissed) look(worker.pool, worker.abilities);
  }
  for (const auto& [pool_name, pool] : state.settings.pools) {
    for (const auto& [host, slots] : pool.hosts) {
      for (const Abilities& can : slots) look(pool_name, can);
    }
  }
  return largest;
}

// "a GPU with 11.5 GiB, in pool gpu, with site=berlin".
std::string Wanted(const State& state, const Attempt& attempt, int64_t largest_gpu) {
  const Needs& needs = state.jobs.at(attempt.job).request.needs;
  const int64_t needed = MemoryNeeded(state, attempt);
  const std::string gpu = absl::StrFormat("a GPU with %.1f GiB", needed / kGiB);
  std::string text = "a worker";
  if (needs.gpu == GpuWish::kRequired) {
    text = gpu;
  } else if (needs.gpu == GpuWish::kNone) {
    text = "a worker without a GPU";
  } else if (largest_gpu > 0 && needed > largest_gpu) {
    text = absl::StrCat("a worker without a GPU, or ", gpu);
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
      const HostName name{pool_name, host};
      int here = 0, lost = 0;
      for (size_t i = 0; i < slots.size(); ++i) {
        if (!Fits(state, attempt, pool_name, slots[i])) continue;
        ++here;
        lost += SlotUsable(state, {name, static_cast<int>(i)}, now_ms) ? 0 : 1;
      }
      if (here == 0) continue;
      if (Usable(state, name, now_ms)) {
        fitting += here - lost;
        if (lost > 0)
          troubles.push_back(absl::StrCat(Describe(name), " is without ", lost, " of its GPUs"));
      } else {
        troubles.push_back(
            absl::StrCat(Describe(name), " ", Trouble(state.hosts.at(name), now_ms)));
      }
    }
  }
  const int64_t largest_gpu = LargestGpu(state, attempt);
  const std::string wanted = Wanted(state, attempt, largest_gpu);
  if (fitting > 0) return absl::StrCat(wanted, ": all ", fitting, " that suit are taken");
  if (troubles.empty()) {
    const std::string& runtime = state.jobs.at(attempt.job).request.needs.runtime;
    const std::string best =
        largest_gpu == 0 ? ""
                         : absl::StrFormat("; the largest GPU has %.1f GiB", largest_gpu / kGiB);
    return absl::StrCat(wanted, ": there is none that suits", best, WhoCouldRun(state, runtime));
  }
  return absl::StrCat(wanted, ": ", absl::StrJoin(troubles, "; "));
}

}  // namespace trainyard::core
