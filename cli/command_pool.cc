// `pool` and `worker`: where workers come from, and which there are.
#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "cli/command.h"
#include "cli/event_line.h"
#include "cli/job_view.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Trainyard::Stub;

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

// ---- Pools -------------------------------------------------------------------------------------

Cell HostState(const v1::WorkerHost& host) {
  const std::string trouble = CleanLine(host.trouble(), 1000);
  const std::string why = trouble.empty() ? "" : ": " + trouble;
  if (!host.reachable()) return {"unreachable" + why, Colour::kRed};
  if (trouble.empty()) return {"ok", Colour::kGreen};
  if (host.retry_in_ms() <= 0) return {"set aside" + why, Colour::kYellow};
  return {fmt::format("set aside for {}{}", FormatDuration(host.retry_in_ms()), why),
          Colour::kYellow};
}

std::string GpusText(const v1::WorkerHost& host) {
  if (host.gpu_slots() == 0) return "-";
  if (host.gpu_memory_bytes() == 0) return std::to_string(host.gpu_slots());
  return fmt::format("{} of {}", host.gpu_slots(), FormatBytes(host.gpu_memory_bytes()));
}

std::string RenderPools(const v1::ListPoolsResponse& response, const Context& context) {
  Table table({{"POOL"},
               {"KIND"},
               {"HOST", false, true},
               {"SLOTS", true},
               {"GPUS"},
               {"LABELS", false, true},
               {"STATE", false, true}});
  for (const v1::WorkerPool& pool : response.pools()) {
    const std::string name = CleanLine(pool.name(), 100), kind = CleanLine(pool.kind(), 40);
    const std::string labels = OrDash(LabelsText(pool.labels()));
    for (const v1::WorkerHost& host : pool.hosts()) {
      table.Add({name, kind, OrDash(CleanLine(host.name(), 100)),
                 fmt::format("{}/{}", host.used(), host.slots()), GpusText(host), labels,
                 HostState(host)});
    }
    if (pool.hosts().empty()) table.Add({name, kind, "-", "0/0", "-", labels, "no hosts"});
  }
  if (table.empty()) {
    return "No pools: workers started by hand are all there is. `trainyard up --pools FILE` says "
           "where others may be started.\n";
  }
  return table.Render(context.style());
}

// ---- Workers -----------------------------------------------------------------------------------

// The attempt from the second on: the first says nothing more.
std::string WorkText(const v1::Worker& worker) {
  if (worker.job() == 0) return "-";
  const std::string trial = fmt::format("job {}, trial {}", worker.job(), worker.trial());
  return worker.attempt() > 1 ? fmt::format("{}, attempt {}", trial, worker.attempt()) : trial;
}

// "NVIDIA H100 80GB HBM3" without its maker, who makes them all; else what computes.
std::string DeviceText(const v1::Worker& worker) {
  if (!worker.has_gpu_device()) return CleanLine(worker.device(), 200);
  const std::string name = CleanLine(worker.gpu_device().name(), 200);
  constexpr std::string_view kMaker = "NVIDIA ";
  return name.starts_with(kMaker) ? name.substr(kMaker.size()) : name;
}

// "12.3/79.6 GiB"; what its slot has where the worker does not say; "-" without a GPU.
std::string GpuMemoryText(const v1::Worker& worker) {
  if (!worker.has_gpu_device()) {
    if (!worker.gpu()) return "-";
    return worker.gpu_memory_bytes() == 0 ? "yes" : FormatBytes(worker.gpu_memory_bytes());
  }
  constexpr double kGiB = 1 << 30;
  const std::string all = fmt::format("{:.1f} GiB", worker.gpu_device().memory_bytes() / kGiB);
  if (!worker.has_gpu_use() || worker.gpu_use().memory_used_bytes() < 0) return all;
  return fmt::format("{:.1f}/{}", worker.gpu_use().memory_used_bytes() / kGiB, all);
}

std::string BusyText(const v1::Worker& worker) {
  if (!worker.has_gpu_use() || worker.gpu_use().busy_percent() < 0) return "-";
  return fmt::format("{}%", worker.gpu_use().busy_percent());
}

// GPUs and labels have columns where a worker has some.
std::string RenderWorkers(const v1::ListWorkersResponse& response, const Context& context) {
  if (response.workers().empty()) return "No workers.\n";
  const auto any = [&](const auto& has) {
    return std::any_of(response.workers().begin(), response.workers().end(), has);
  };
  const bool gpus =
      any([](const v1::Worker& worker) { return worker.gpu() || worker.has_gpu_device(); });
  const bool devices = any([](const v1::Worker& worker) { return worker.has_gpu_device(); });
  const bool labels = any([](const v1::Worker& worker) { return !worker.labels().empty(); });
  std::vector<Table::Column> columns = {
      {"WORKER", true}, {"NAME", false, true}, {"POOL"}, {"DEVICE", false, true}};
  if (gpus) columns.push_back({"GPU MEMORY"});
  if (devices) columns.insert(columns.end(), {{"DRIVER", false, true}, {"BUSY", true}});
  if (labels) columns.push_back({"LABELS", false, true});
  columns.insert(columns.end(), {{"STATE"}, {"AT WORK ON", false, true}});
  Table table(std::move(columns));
  for (const v1::Worker& worker : response.workers()) {
    std::vector<Cell> row = {std::to_string(worker.id()), CleanLine(worker.name(), 200),
                             CleanLine(worker.pool(), 40), DeviceText(worker)};
    if (gpus) row.push_back(GpuMemoryText(worker));
    if (devices) {
      row.push_back(OrDash(CleanLine(worker.gpu_device().driver(), 40)));
      row.push_back(BusyText(worker));
    }
    if (labels) row.push_back(OrDash(LabelsText(worker.labels())));
    row.insert(row.end(), {StateCell(worker.state()), Cell(WorkText(worker))});
    table.Add(std::move(row));
  }
  return table.Render(context.style());
}

// A worker's number, or the number of the worker with that name.
absl::StatusOr<int64_t> FindWorker(Context& context, const std::string& text) {
  const auto response = context.client->Call(&Stub::ListWorkers, v1::ListWorkersRequest());
  if (!response.ok()) return response.status();
  std::string known;
  for (const v1::Worker& worker : response->workers()) {
    if (std::to_string(worker.id()) == text || worker.name() == text) return worker.id();
    if (known.size() < 500)
      known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", worker.id(),
                           CleanLine(worker.name(), 100));
  }
  return absl::NotFoundError(fmt::format("no worker \"{}\"; there {}", CleanLine(text, 120),
                                         known.empty() ? "are none" : "are " + known));
}

}  // namespace

void AddPool(CLI::App& app, Context& context) {
  CLI::App* pool = AddCommand(app, "pool", "Where workers come from", "  trainyard pool list");
  pool->require_subcommand(1);
  CLI::App* list = AddCommand(*pool, "list", "All hosts of all pools, and what they have",
                              "  trainyard pool list\n"
                              "  trainyard pool list --output json | jq '.pools[].hosts'");
  list->callback([&context] {
    context.action = [&context]() -> absl::StatusOr<int> {
      const auto response = context.client->Call(&Stub::ListPools, v1::ListPoolsRequest());
      if (!response.ok()) return response.status();
      Print(context, *response, [&] { return RenderPools(*response, context); });
      return kDone;
    };
  });
}

void AddWorker(CLI::App& app, Context& context) {
  CLI::App* worker = AddCommand(app, "worker", "List workers, and take them out of service",
                                "  trainyard worker list\n  trainyard worker drain 3");
  worker->require_subcommand(1);
  CLI::App* list =
      AddCommand(*worker, "list", "All workers and what they are at", "  trainyard worker list");
  list->callback([&context] {
    context.action = [&context]() -> absl::StatusOr<int> {
      const auto response = context.client->Call(&Stub::ListWorkers, v1::ListWorkersRequest());
      if (!response.ok()) return response.status();
      Print(context, *response, [&] { return RenderWorkers(*response, context); });
      return kDone;
    };
  });
  auto name = std::make_shared<std::string>();
  CLI::App* drain =
      AddCommand(*worker, "drain", "Give a worker no more work; it leaves when it is done",
                 "  trainyard worker drain 3\n  trainyard worker drain gpu-host/4711");
  drain->add_option("WORKER", *name, "The worker's number or name")->required()->type_name("");
  drain->callback([&context, name] {
    context.action = [&context, name]() -> absl::StatusOr<int> {
      const auto id = FindWorker(context, *name);
      if (!id.ok()) return id.status();
      v1::DrainWorkerRequest request;
      request.set_worker(*id);
      const auto drained = context.client->Call(&Stub::DrainWorker, request);
      if (!drained.ok()) return drained.status();
      Print(context, *drained, [&] {
        return fmt::format("worker {} ({}) {}\n", drained->id(), CleanLine(drained->name()),
                           StateCell(drained->state()).text);
      });
      return kDone;
    };
  });
}

}  // namespace trainyard::cli
