// `docker`: hosts with a Docker daemon, and what a container on each may use.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include "coordinator/address.h"
#include "coordinator/launch/pools_parts.h"
#include "coordinator/source/spec_values.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using Kind = YamlNode::Kind;

constexpr char kDefaultUrl[] = "unix:///var/run/docker.sock";
constexpr size_t kHostsMax = 1'000;
constexpr size_t kGpusMax = 64;
constexpr int kCpuSlotsMax = 1'024;
constexpr double kCoresMax = 1'024;
constexpr int kProcessesMin = 64;  // a worker and a framework's threads
constexpr int kProcessesMax = 1'000'000;
constexpr char kImageForm[] =
    "an image such as registry.example/trainyard/worker-cuda:0.1.0 or ...@sha256:...";

// A file that the coordinator itself reads later: found out now, not when a worker is launched.
void ReadFile(const Section& section, const char* key, const fs::path& folder, std::string* out,
              SpecProblems* problems) {
  const YamlNode* node = section.Find(key);
  std::string text;
  if (node == nullptr) {
    section.Require(key, "a PEM file");
    return;
  }
  if (!ReadText(*node, section.PathOf(key), &text, problems)) return;
  const fs::path path = (folder / text).lexically_normal();
  std::error_code error;
  const bool file = fs::is_regular_file(path, error);
  if (file && access(path.c_str(), R_OK) == 0) {
    *out = path;
    return;
  }
  const std::string why = error  ? error.message()
                          : file ? std::strerror(errno)
                                 : "not a regular file";
  section.Problem(key, fmt::format("{}, expected a PEM file that can be read ({}: {})",
                                   Describe(*node), path.string(), why));
}

bool IsUrl(const std::string& url) {
  if (url.starts_with("unix:///")) return url.size() > std::strlen("unix:///");
  return url.starts_with("tcp://") && IsHostAndPort(std::string_view(url).substr(6));
}

void ReadUrlAndTls(const Section& section, const fs::path& folder, DockerHost* host,
                   SpecProblems* problems) {
  host->url = kDefaultUrl;
  const YamlNode* url = section.Find("url");
  if (url != nullptr) {
    host->url.clear();
    if (!ReadText(*url, section.PathOf("url"), &host->url, problems)) return;
    if (!IsUrl(host->url)) {
      section.Problem("url", Describe(*url) +
                                 ", expected tcp://host:port or unix:// with the absolute path of "
                                 "a socket");
      return;
    }
  }
  const bool unix_socket = host->url.starts_with("unix:");
  const YamlNode* node = section.Find("tls");
  if (node == nullptr) {
    if (!unix_socket && !IsLoopback(host->url.substr(6))) {
      section.Problem("url", Describe(*url) +
                                 " without tls, expected tls: {ca: ..., cert: ..., key: ...}: who "
                                 "reaches a Docker daemon rules its host");
    }
    return;
  }
  if (unix_socket) {
    section.Problem("tls", "found tls for a Unix socket, expected it for tcp:// only");
    return;
  }
  const Section tls = PoolSection(node, section.PathOf("tls"), "tls", problems);
  ReadFile(tls, "ca", folder, &host->tls_ca, problems);
  ReadFile(tls, "cert", folder, &host->tls_cert, problems);
  ReadFile(tls, "key", folder, &host->tls_key, problems);
}

bool IsIndex(const std::string& gpu) {
  return !gpu.empty() && gpu.size() <= 3 && gpu.find_first_not_of("0123456789") == gpu.npos &&
         (gpu == "0" || gpu[0] != '0');
}

bool IsUuid(const std::string& gpu) {
  const bool prefix = gpu.starts_with("GPU-") || gpu.starts_with("MIG-");
  return prefix && gpu.size() > 4 && gpu.size() <= 64 &&
         gpu.find_first_not_of("0123456789abcdefABCDEF-", 4) == gpu.npos;
}

void ReadGpus(const Section& section, std::vector<std::string>* gpus, SpecProblems* problems) {
  const YamlNode* node = section.Find("gpus");
  if (node == nullptr) return;
  const std::string path = section.PathOf("gpus");
  if (node->kind != Kind::kSequence || node->items.size() > kGpusMax) {
    const std::string found = node->kind == Kind::kSequence
                                  ? fmt::format("found a list of {}", node->items.size())
                                  : Describe(*node);
    problems->Add(node->place, path,
                  fmt::format("{}, expected a list of at most {} GPUs", found, kGpusMax));
    return;
  }
  for (size_t i = 0; i < node->items.size(); ++i) {
    const YamlNode& item = node->items[i];
    std::string expected;
    if (item.kind != Kind::kScalar || (!IsIndex(item.text) && !IsUuid(item.text))) {
      expected = "a GPU as `nvidia-smi -L` names it: an index such as 0, or GPU-... or MIG-...";
    } else if (std::find(gpus->begin(), gpus->end(), item.text) != gpus->end()) {
      expected = "each GPU once";
    } else if (!gpus->empty() && IsIndex(item.text) != IsIndex(gpus->front())) {
      expected = "either indexes or UUIDs: both may mean the same GPU";
    }
    if (expected.empty()) {
      gpus->push_back(item.text);
    } else {
      problems->Add(item.place, fmt::format("{}[{}]", path, i),
                    fmt::format("{}, expected {}", Describe(item), expected));
    }
  }
}

void ReadSlots(const Section& section, DockerHost* host, SpecProblems* problems) {
  ReadGpus(section, &host->gpus, problems);
  const YamlNode* gpus = section.Find("gpus");
  // A value that is no list was meant as one.
  const bool any_gpus = gpus != nullptr && (gpus->kind != Kind::kSequence || !gpus->items.empty());
  ReadSize(section, "gpu_memory", &host->gpu_memory_bytes, problems);
  if (any_gpus) {
    section.Require("gpu_memory", "the memory of each GPU, such as 80GiB");
  } else if (section.Find("gpu_memory") != nullptr) {
    section.Problem("gpu_memory", "found gpu_memory without gpus, expected both or neither");
  }
  host->cpu_slots = any_gpus ? 0 : 1;
  section.Integer("cpu_slots", 0, kCpuSlotsMax, &host->cpu_slots);
  if (!any_gpus && host->cpu_slots == 0) {
    section.Problem("cpu_slots", "found 0 without gpus, expected a slot at least");
  }
  const YamlNode* cores = section.Find("cores");
  double count = 0;
  if (cores != nullptr && ReadReal(*cores, section.PathOf("cores"), &count, problems)) {
    if (count >= 0.1 && count <= kCoresMax) {
      host->cores = count;
    } else {
      section.Problem("cores", fmt::format("{}, expected a number from 0.1 to {}", Describe(*cores),
                                           kCoresMax));
    }
  }
  ReadSize(section, "memory", &host->memory_bytes, problems);
}

DockerHost ReadHost(const YamlNode& node, const std::string& path, const fs::path& folder,
                    SpecProblems* problems) {
  DockerHost host;
  const Section section = PoolSection(&node, path, "host", problems);
  if (section.Require("name", "what the host is called here")) {
    const TextForm form = {"._-", "a host's name: 1 to 63 letters, digits, ., - or _", 63};
    ReadForm(section, "name", form, &host.name, problems);
  }
  ReadUrlAndTls(section, folder, &host, problems);
  ReadSlots(section, &host, problems);
  return host;
}

void ReadHosts(const Section& docker, const fs::path& folder, std::vector<DockerHost>* hosts,
               SpecProblems* problems) {
  if (!docker.Require("hosts", "a list of Docker hosts")) return;
  const YamlNode& list = *docker.Find("hosts");
  const std::string path = docker.PathOf("hosts");
  if (list.kind != Kind::kSequence || list.items.empty() || list.items.size() > kHostsMax) {
    const std::string found = list.kind == Kind::kSequence
                                  ? fmt::format("found a list of {}", list.items.size())
                                  : Describe(list);
    problems->Add(list.place, path,
                  fmt::format("{}, expected a list of 1 to {} hosts", found, kHostsMax));
    return;
  }
  std::set<std::string> names, urls;
  for (size_t i = 0; i < list.items.size(); ++i) {
    const std::string here = fmt::format("{}[{}]", path, i);
    DockerHost host = ReadHost(list.items[i], here, folder, problems);
    if (!host.name.empty() && !names.insert(host.name).second) {
      problems->Add(
          list.items[i].Find("name")->place, here + ".name",
          fmt::format("found {} a second time, expected different names", Quoted(host.name)));
    } else if (!host.url.empty() && !urls.insert(host.url).second) {
      const YamlNode* url = list.items[i].Find("url");
      problems->Add(url ? url->place : list.items[i].place, here + ".url",
                    fmt::format("found {} a second time, expected each Docker daemon once: give it "
                                "more slots instead",
                                Quoted(host.url)));
    }
    hosts->push_back(std::move(host));
  }
}

void ReadImages(const Section& docker, std::map<std::string, std::string>* images,
                SpecProblems* problems) {
  const YamlNode* node = docker.Find("images");
  if (node == nullptr) return;
  const std::string path = docker.PathOf("images");
  const std::string runtimes = "native, " + fmt::format("{}", fmt::join(ProgramRuntimes(), ", "));
  if (node->kind != Kind::kMap || node->entries.empty()) {
    problems->Add(node->place, path, Describe(*node) + ", expected a map with any of " + runtimes);
    return;
  }
  for (const YamlEntry& entry : node->entries) {
    const std::string& image = entry.value.text;
    if (entry.key != "native" && !ProgramRuntimes().contains(entry.key)) {
      problems->Add(entry.place, path,
                    fmt::format("found the unknown runtime {}, expected any of {}",
                                Quoted(entry.key), runtimes));
      continue;
    }
    const bool good =
        entry.value.kind == Kind::kScalar && !image.empty() && image.size() <= 512 &&
        image[0] != '-' && std::all_of(image.begin(), image.end(), [](unsigned char c) {
          return std::isalnum(c) || std::string_view("._-/:@").find(c) != std::string_view::npos;
        });
    if (good) {
      (*images)[entry.key] = image;
    } else {
      problems->Add(entry.value.place, path + "." + entry.key,
                    fmt::format("{}, expected {}", Describe(entry.value), kImageForm));
    }
  }
}

// The image with CUDA computes on a CPU as well, so one image does for a mixed pool.
std::map<std::string, std::string> DefaultImages(const std::vector<DockerHost>& hosts) {
  const bool gpus = std::any_of(hosts.begin(), hosts.end(),
                                [](const DockerHost& host) { return !host.gpus.empty(); });
  const auto image = [](std::string_view name) {
    return fmt::format("trainyard/{}:{}", name, TRAINYARD_VERSION);
  };
  std::map<std::string, std::string> images = {
      {"native", image(gpus ? "worker-cuda" : "worker-cpu")}};
  // What `other` programs need is not ours to know.
  for (const char* runtime : {"program-keras", "program-torch", "program-sklearn"}) {
    images[runtime] = image(runtime);
  }
  return images;
}

void ReadPrograms(const Section& docker, ProgramContainers* programs, SpecProblems* problems) {
  const YamlNode* node = docker.Find("programs");
  if (node == nullptr) return;
  const Section section = PoolSection(node, docker.PathOf("programs"), "programs", problems);
  const TextForm form = {"._-", "the name of a Docker network", 128};
  ReadForm(section, "network", form, &programs->network, problems);
  if (programs->network == "host" || programs->network == "none") {
    section.Problem(
        "network",
        fmt::format("found {}, expected a network of containers: {}", Quoted(programs->network),
                    programs->network == "host" ? "this one is the host's own"
                                                : "from this one nothing is reached"));
  }
  section.Integer("processes", kProcessesMin, kProcessesMax, &programs->processes);
  ReadSize(section, "work_size", &programs->work_size_bytes, problems);
}

}  // namespace

DockerPool ReadDockerPool(const Section& pool, const fs::path& folder, SpecProblems* problems) {
  DockerPool docker;
  const Section section =
      PoolSection(pool.Find("docker"), pool.PathOf("docker"), "docker", problems);
  ReadHosts(section, folder, &docker.hosts, problems);
  ReadImages(section, &docker.images, problems);
  ReadPrograms(section, &docker.programs, problems);
  if (section.Find("images") == nullptr) docker.images = DefaultImages(docker.hosts);
  return docker;
}

}  // namespace trainyard::coordinator
