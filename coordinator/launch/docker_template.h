// The one form that a worker's container has: nothing in it comes from users, and nothing in it
// lets a worker out. Root may not be had there, nothing but its own folders be written, and no more
// be used than the slot has.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/launch/pools.h"

namespace trainyard::coordinator {

// Where the access files are put: a volume is mounted at the first, with the folder in it.
inline constexpr char kAccessVolume[] = "/run/trainyard";
inline constexpr char kAccessFolder[] = "/run/trainyard/access";

struct ContainerPlan {
  std::string coordinator_id;  // whose it is
  std::string pool;
  std::string coordinator;  // host:port that it dials
  std::string image;
  const DockerHost& host;
  LaunchOrder order;
  std::vector<std::string> mounts;  // folders of the host that it may read, at the same path
  ProgramContainers programs;       // for program runtimes
  std::string host_address = "host-gateway";  // of its host, as the container reaches it
  bool access = false;                        // it is given access files
  bool private_urls = false;                  // it may fetch from private networks
};

// "trainyard-4f1c22aa90b1-17": one launch, one name, whoever asks and how often.
std::string ContainerName(const std::string& coordinator_id, int64_t launch);

// The body of POST /containers/create.
std::string ContainerRequest(const ContainerPlan& plan);

// A tar file for kAccessVolume: the access folder, readable by the container's user and nobody
// else.
absl::StatusOr<std::string> AccessArchive(const AccessFiles& files);

}  // namespace trainyard::coordinator
