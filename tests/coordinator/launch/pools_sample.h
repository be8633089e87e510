// What the tests of the pools file start from.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coordinator/launch/pools_file.h"
#include "tests/coordinator/source/temp_folder.h"

namespace trainyard::coordinator {

// A folder with the PEM files that pools name; reads text as if it were pools.yaml there.
class PoolsFolder {
 public:
  PoolsFolder() {
    for (const char* name : {"ca.pem", "cert.pem", "key.pem"}) folder_.Write(name, "PEM");
  }

  const TempFolder& folder() const { return folder_; }
  absl::StatusOr<std::vector<PoolConfig>> Read(const std::string& text) const {
    return ReadPoolsText(text, folder_ / "pools.yaml");
  }
  std::vector<PoolConfig> Accepted(const std::string& text) const {
    auto pools = Read(text);
    EXPECT_TRUE(pools.ok()) << pools.status().message() << "\n" << text;
    return pools.ok() ? *pools : std::vector<PoolConfig>();
  }
  // The message, with the file's folder left out.
  std::string Refusal(const std::string& text) const {
    auto pools = Read(text);
    EXPECT_EQ(pools.status().code(), absl::StatusCode::kInvalidArgument) << text.substr(0, 2'000);
    std::string message(pools.status().message());
    const std::string here = folder_.path().string() + "/";
    for (size_t at; (at = message.find(here)) != message.npos;) message.erase(at, here.size());
    return message;
  }

 private:
  TempFolder folder_;
};

inline constexpr char kDocker[] = R"(pools:
  gpu:
    docker:
      images: {native: "registry.example:5000/trainyard/worker-cuda:0.1.0"}
      hosts:
        - name: gpu1
          url: tcp://gpu1.example:2376
          tls: {ca: ca.pem, cert: cert.pem, key: key.pem}
          gpus: [GPU-1234-ab, MIG-5678-cd]
          gpu_memory: 80GiB
          cpu_slots: 3
          cores: 7.5
          memory: 64GB
        - name: here
    labels: {gpu: h100, rack: 7}
    data_roots: [/data, /mnt/x]
    coordinator: "[fd00::1]:7700"
)";

struct BadPools {
  std::string text;
  std::string message;  // behind the file's name
};

inline void ExpectRefusals(const std::vector<BadPools>& cases) {
  const PoolsFolder folder;
  for (const BadPools& bad : cases) {
    EXPECT_EQ(folder.Refusal(bad.text), "pools.yaml:" + bad.message) << bad.text;
  }
}

// A pool with this list of hosts, in line 2.
inline std::string Hosts(const std::string& hosts) {
  return "pools: {a: {docker: {hosts:\n" + hosts + "}}}";
}

// A pool with one host that has these keys.
inline std::string Host(const std::string& keys) { return Hosts("[{name: h,\n" + keys + "}]"); }

}  // namespace trainyard::coordinator
