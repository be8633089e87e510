// `slurm`: a cluster where each worker is a job of its own.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "coordinator/launch/pools_parts.h"
#include "coordinator/source/spec_values.h"
#include "proto/labels.h"

namespace trainyard::coordinator {
namespace {

using Kind = YamlNode::Kind;

constexpr int kWorkersMax = 10'000;
constexpr int kCoresMax = 1'024;
constexpr int64_t kTimeLimitMinMs = 60'000;  // Slurm counts in minutes
constexpr int64_t kTimeLimitMaxMs = int64_t{365} * 24 * 3'600'000;
constexpr size_t kVariablesMax = 100;

// "gpu", "gpu:2" or "gpu:a100:1".
bool IsGpuRequest(std::string_view gres) {
  if (gres == "gpu") return true;
  if (!gres.starts_with("gpu:")) return false;
  gres.remove_prefix(4);
  const size_t colon = gres.find(':');
  if (colon != gres.npos && !IsLabelValue(gres.substr(0, colon))) return false;
  const std::string_view count = colon == gres.npos ? gres : gres.substr(colon + 1);
  int number = 0;
  auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), number);
  return error == std::errc() && end == count.data() + count.size() && number >= 1 &&
         number <= 64 && count[0] != '0';
}

void ReadGpu(const Section& section, SlurmPool* pool, SpecProblems* problems) {
  ReadSize(section, "gpu_memory", &pool->gpu_memory_bytes, problems);
  const YamlNode* gres = section.Find("gres");
  if (gres == nullptr) {
    if (section.Find("gpu_memory") != nullptr) {
      section.Problem("gpu_memory", "found gpu_memory without gres, expected both or neither");
    }
    return;
  }
  if (gres->kind == Kind::kScalar && IsGpuRequest(gres->text)) {
    pool->gres = gres->text;
  } else {
    section.Problem("gres", Describe(*gres) + ", expected gpu:1 or, with a type, gpu:a100:1");
  }
  section.Require("gpu_memory", "the memory of the GPU, such as 40GiB");
}

void ReadEnvironment(const Section& section, std::map<std::string, std::string>* environment,
                     SpecProblems* problems) {
  const YamlNode* node = section.Find("environment");
  if (node == nullptr || node->kind == Kind::kNull) return;
  const std::string path = section.PathOf("environment");
  if (node->kind != Kind::kMap || node->entries.size() > kVariablesMax) {
    const std::string found = node->kind == Kind::kMap
                                  ? fmt::format("found {} variables", node->entries.size())
                                  : Describe(*node);
    problems->Add(node->place, path,
                  fmt::format("{}, expected a map of at most {} variables such as {{SLURM_CONF: "
                              "/etc/slurm/slurm.conf}}",
                              found, kVariablesMax));
    return;
  }
  for (const YamlEntry& entry : node->entries) {
    const bool digit = entry.key[0] >= '0' && entry.key[0] <= '9';
    if (!IsLabelText(entry.key, "_") || digit) {
      problems->Add(entry.place, path,
                    fmt::format("found {}, expected a variable's name: 1 to 63 letters, digits or "
                                "_, no digit first",
                                Quoted(entry.key)));
      continue;
    }
    std::string value;
    if (ReadText(entry.value, path + "." + entry.key, &value, problems)) {
      (*environment)[entry.key] = value;
    }
  }
}

void ReadProgram(const Section& section, std::string* worker, SpecProblems* problems) {
  const YamlNode* node = section.Find("worker");
  std::string text;
  if (node == nullptr || !ReadText(*node, section.PathOf("worker"), &text, problems)) return;
  if (text.find('/') != text.npos) {
    ReadFolder(*node, section.PathOf("worker"), worker, problems);
  } else {
    ReadForm(section, "worker", {"._-", "a program's name or absolute path"}, worker, problems);
  }
}

}  // namespace

SlurmPool ReadSlurmPool(const Section& pool, SpecProblems* problems) {
  SlurmPool slurm;
  const Section section = PoolSection(pool.Find("slurm"), pool.PathOf("slurm"), "slurm", problems);
  if (section.Require("workers", "how many workers there may be at a time")) {
    section.Integer("workers", 1, kWorkersMax, &slurm.workers);
  }
  ReadForm(section, "partition", {"._-,", "a partition's name, or several joined by commas"},
           &slurm.partition, problems);
  ReadForm(section, "account", {"._-@", "an account's name"}, &slurm.account, problems);
  ReadForm(section, "qos", {"._-", "a quality of service's name"}, &slurm.qos, problems);
  ReadGpu(section, &slurm, problems);
  section.Integer("cores", 1, kCoresMax, &slurm.cores);
  ReadSize(section, "memory", &slurm.memory_bytes, problems);
  if (const YamlNode* limit = section.Find("time_limit")) {
    ReadDuration(*limit, section.PathOf("time_limit"), kTimeLimitMinMs, kTimeLimitMaxMs,
                 "from 1m to 365d", &slurm.time_limit_ms, problems);
  }
  if (section.Require("folder", "a folder that every node has at the same path")) {
    ReadFolder(*section.Find("folder"), section.PathOf("folder"), &slurm.folder, problems);
  }
  ReadProgram(section, &slurm.worker, problems);
  if (const YamlNode* bin = section.Find("bin")) {
    ReadFolder(*bin, section.PathOf("bin"), &slurm.bin, problems);
  }
  ReadEnvironment(section, &slurm.environment, problems);
  section.Boolean("programs", &slurm.programs);
  return slurm;
}

}  // namespace trainyard::coordinator
