#include "coordinator/launch/pools_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "coordinator/launch/pools_parts.h"
#include "coordinator/source/config_file.h"
#include "coordinator/source/spec_section.h"
#include "coordinator/source/spec_values.h"
#include "proto/labels.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using Kind = YamlNode::Kind;

constexpr size_t kPoolsMax = 100;
constexpr size_t kDataRootsMax = 100;

void ReadDataRoots(const Section& section, std::vector<std::string>* roots,
                   SpecProblems* problems) {
  const YamlNode* node = section.Find("data_roots");
  if (node == nullptr) return;
  const std::string path = section.PathOf("data_roots");
  if (node->kind != Kind::kSequence || node->items.size() > kDataRootsMax) {
    problems->Add(
        node->place, path,
        fmt::format("{}, expected a list of at most {} folders", Describe(*node), kDataRootsMax));
    return;
  }
  for (size_t i = 0; i < node->items.size(); ++i) {
    std::string root;
    if (ReadFolder(node->items[i], fmt::format("{}[{}]", path, i), &root, problems)) {
      roots->push_back(root);
    }
  }
}

void ReadCoordinator(const Section& section, std::string* out) {
  const YamlNode* node = section.Find("coordinator");
  if (node == nullptr) return;
  if (node->kind != Kind::kScalar || !IsHostAndPort(node->text)) {
    section.Problem("coordinator",
                    Describe(*node) + ", expected host:port, such as trainyard.example:7700");
    return;
  }
  *out = node->text;
}

PoolConfig ReadPool(const YamlNode& node, const std::string& name, const fs::path& folder,
                    SpecProblems* problems) {
  PoolConfig pool;
  pool.name = name;
  const Section section = PoolSection(&node, "pools." + name, "pool", problems);
  if (const YamlNode* labels = section.Find("labels")) {
    ReadLabels(*labels, section.PathOf("labels"), &pool.labels, problems);
  }
  ReadDataRoots(section, &pool.data_roots, problems);
  ReadCoordinator(section, &pool.coordinator);
  const bool docker = section.Find("docker") != nullptr;
  const bool slurm = section.Find("slurm") != nullptr;
  if (docker == slurm) {
    if (!problems->Has(node.place)) {
      problems->Add(node.place, section.path(),
                    docker ? "found both docker and slurm, expected one of them"
                           : "found neither docker nor slurm, expected one of them");
    }
  } else if (docker) {
    pool.kind = ReadDockerPool(section, folder, problems);
  } else {
    pool.kind = ReadSlurmPool(section, problems);
  }
  return pool;
}

// Two slots with one GPU would each train as if it were theirs.
void CheckSharedGpus(const std::vector<PoolConfig>& pools, const YamlNode& written,
                     SpecProblems* problems) {
  std::map<std::pair<std::string, std::string>, std::string> owners;  // (url, gpu) -> pool
  for (size_t i = 0; i < pools.size(); ++i) {
    const auto* docker = std::get_if<DockerPool>(&pools[i].kind);
    if (docker == nullptr) continue;
    for (const DockerHost& host : docker->hosts) {
      for (const std::string& gpu : host.gpus) {
        const auto [owner, first] = owners.try_emplace({host.url, gpu}, pools[i].name);
        if (first || owner->second == pools[i].name) continue;
        problems->Add(written.Find(pools[i].name)->place, "pools." + pools[i].name,
                      fmt::format("found GPU {} of {}, which pool {} has too, expected each GPU in "
                                  "one pool",
                                  Quoted(gpu), Quoted(host.url), owner->second));
      }
    }
  }
}

std::vector<PoolConfig> ReadRoot(const YamlNode& root, const fs::path& folder,
                                 SpecProblems* problems) {
  std::vector<PoolConfig> pools;
  const Section file = PoolSection(&root, "", "", problems);
  if (root.kind != Kind::kMap || !file.Require("pools", "a map of pools by name")) return pools;
  const YamlNode& node = *file.Find("pools");
  if (node.kind != Kind::kMap || node.entries.empty() || node.entries.size() > kPoolsMax) {
    const std::string found = node.kind == Kind::kMap
                                  ? fmt::format("found {} pools", node.entries.size())
                                  : Describe(node);
    problems->Add(node.place, "pools",
                  fmt::format("{}, expected a map of 1 to {} pools by name", found, kPoolsMax));
    return pools;
  }
  for (const YamlEntry& entry : node.entries) {
    if (!IsPoolName(entry.key)) {
      problems->Add(entry.place, "pools",
                    fmt::format("found {}, expected {}", Quoted(entry.key), kPoolNameForm));
    } else if (entry.key == "process" || entry.key == "external") {
      problems->Add(entry.place, "pools",
                    fmt::format("found {}, expected another name: {}", Quoted(entry.key),
                                entry.key == "process" ? "those are the coordinator's own workers"
                                                       : "those are the workers started by hand"));
    } else {
      pools.push_back(ReadPool(entry.value, entry.key, folder, problems));
    }
  }
  CheckSharedGpus(pools, node, problems);
  return pools;
}

}  // namespace

const std::vector<SpecSection>& PoolSections() {
  static const auto* sections = new std::vector<SpecSection>{
      {"", {"pools"}},
      {"pool", {"docker", "slurm", "labels", "data_roots", "coordinator"}},
      {"docker", {"images", "hosts", "programs"}},
      {"programs", {"network", "processes", "work_size"}},
      {"host", {"name", "url", "tls", "gpus", "gpu_memory", "cpu_slots", "cores", "memory"}},
      {"tls", {"ca", "cert", "key"}},
      {"slurm",
       {"workers", "partition", "account", "qos", "gres", "gpu_memory", "cores", "memory",
        "time_limit", "folder", "worker", "bin", "environment", "programs"}},
  };
  return *sections;
}

Section PoolSection(const YamlNode* node, std::string path, std::string_view name,
                    SpecProblems* problems) {
  return Section(node, std::move(path), SectionNamed(PoolSections(), name), problems);
}

void ReadForm(const Section& section, std::string_view key, const TextForm& form, std::string* out,
              SpecProblems* problems) {
  const YamlNode* node = section.Find(key);
  if (node == nullptr) return;
  const std::string& text = node->text;
  bool good = node->kind == Kind::kScalar && !text.empty() && text.size() <= form.bytes_max &&
              IsAsciiAlphanumeric(text[0]) && std::all_of(text.begin(), text.end(), [&](char c) {
                return IsAsciiAlphanumeric(c) || form.others.find(c) != form.others.npos;
              });
  if (good) {
    *out = text;
  } else {
    problems->Add(node->place, section.PathOf(key),
                  fmt::format("{}, expected {}", Describe(*node), form.expected));
  }
}

void ReadSize(const Section& section, std::string_view key, int64_t* out, SpecProblems* problems) {
  if (const YamlNode* node = section.Find(key)) {
    ReadBytes(*node, section.PathOf(key), out, problems);
  }
}

bool ReadFolder(const YamlNode& node, const std::string& path, std::string* out,
                SpecProblems* problems) {
  std::string text;
  if (!ReadText(node, path, &text, problems)) return false;
  const fs::path folder(text);
  if (!folder.is_absolute() || std::find(folder.begin(), folder.end(), "..") != folder.end()) {
    problems->Add(node.place, path, Describe(node) + ", expected an absolute path without ..");
    return false;
  }
  *out = text;
  return true;
}

bool IsHostAndPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == text.npos || colon == 0 || text.size() > 260) return false;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != port.npos ||
      std::stoi(std::string(port)) < 1 || std::stoi(std::string(port)) > 65'535) {
    return false;
  }
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    return !host.empty() && host.find_first_not_of("0123456789abcdefABCDEF:.") == host.npos;
  }
  return std::all_of(host.begin(), host.end(), [](char c) {
    return IsAsciiAlphanumeric(c) || c == '.' || c == '-' || c == '_';
  });
}

absl::StatusOr<std::vector<PoolConfig>> ReadPoolsText(const std::string& text,
                                                      const std::string& path) {
  const fs::path folder = fs::absolute(path).parent_path();
  return ParseConfig<std::vector<PoolConfig>>(text, path, "pools by name",
                                              [&](const YamlNode& root, SpecProblems* problems) {
                                                return ReadRoot(root, folder, problems);
                                              });
}

absl::StatusOr<std::vector<PoolConfig>> ReadPools(const std::string& path) {
  const auto text = ReadConfigFile(path, "a file of pools");
  if (!text.ok()) return text.status();
  return ReadPoolsText(*text, path);
}

}  // namespace trainyard::coordinator
