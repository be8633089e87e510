// The pools file (docs/pools.md), resolved: where workers may be started, beside this machine.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/core/state.h"

namespace trainyard::coordinator {

// What programs of users run on, by their framework; networks run on "native".
const std::set<std::string>& ProgramRuntimes();

inline bool IsProgram(const std::string& runtime) { return ProgramRuntimes().contains(runtime); }

// What a Docker host or slot has, and what a worker on it gets.
struct DockerHost {
  std::string name;
  std::string url;  // "unix:///var/run/docker.sock" or "tcp://gpu1:2376"
  // Paths of PEM files; all empty: plain, for Unix sockets and loopback addresses only.
  std::string tls_ca, tls_cert, tls_key;
  std::vector<std::string> gpus;  // UUIDs or indexes, as nvidia-smi -L names them; a slot each
  int64_t gpu_memory_bytes = 0;   // of each
  int cpu_slots = 0;              // slots besides
  double cores = 0;               // of each slot; 0: no limit
  int64_t memory_bytes = 0;       // of each slot; 0: no limit
  int slots() const { return static_cast<int>(gpus.size()) + cpu_slots; }  // GPUs come first
};

// What a container for programs of users gets in place of what one for networks has.
struct ProgramContainers {
  std::string network;          // of Docker; empty: its default bridge
  int processes = 0;            // with their threads; 0: as many as any container
  int64_t work_size_bytes = 0;  // of the work folder and of the fetched data; 0: the host's disk
};

struct DockerPool {
  std::vector<DockerHost> hosts;
  std::map<std::string, std::string> images;  // runtime -> image
  ProgramContainers programs;
};

// One worker is one Slurm job.
struct SlurmPool {
  int workers = 0;                          // at a time
  std::string partition;                    // empty: the cluster's default
  std::string account;                      // likewise
  std::string qos;                          // likewise
  std::string gres;                         // "gpu:1"; empty: no GPU
  int64_t gpu_memory_bytes = 0;             // of that GPU
  int cores = 1;                            // --cpus-per-task
  int64_t memory_bytes = 0;                 // --mem; 0: the partition's default
  int64_t time_limit_ms = 0;                // --time; 0: the partition's default
  std::string folder;                       // for logs and access files; the same on every node
  std::string worker = "trainyard-worker";  // the program, on every node
  std::string bin;                          // folder of sbatch, squeue, scancel; empty: the PATH
  std::map<std::string, std::string> environment;  // for those, such as SLURM_CONF
  bool programs = false;                           // of users, too, under bubblewrap on its nodes
  bool gpu() const { return !gres.empty(); }
};

struct PoolConfig {
  std::string name;
  std::map<std::string, std::string> labels;
  std::string coordinator;              // host:port that its workers dial; empty: found out
  std::vector<std::string> data_roots;  // folders that its hosts have at the same path
  std::variant<DockerPool, SlurmPool> kind;
};

// What the core places by: slots in the order in which LaunchOrder numbers them.
core::PoolSettings ToSettings(const PoolConfig& config);

}  // namespace trainyard::coordinator
