// Which of a host's workers has a GPU: the one that holds the lock of the GPU's file, in a folder
// that they share. The lock goes with the process, however that ends.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/agent/owned_file.h"

namespace trainyard::agent {

// /run/lock where this process may write to it, else the folder for temporary files.
std::string DefaultGpuClaimFolder();

class GpuClaim {
 public:
  // `gpu` is its UUID, or the name of a part of one ("MIG-..."). UNAVAILABLE: another worker has
  // it; FAILED_PRECONDITION: its file can neither be made nor opened, and why.
  static absl::StatusOr<GpuClaim> Take(const std::string& folder, const std::string& gpu);

 private:
  explicit GpuClaim(std::unique_ptr<OwnedFile> file) : file_(std::move(file)) {}

  std::unique_ptr<OwnedFile> file_;
};

}  // namespace trainyard::agent
