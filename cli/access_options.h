// What the command line and the environment say of how to be let in.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "proto/access.h"

namespace trainyard::cli {

struct AccessOptions {
  // As typed; empty: not given. A secret itself never stands here, where others could see it.
  std::string folder;
  std::string token_file;
  std::string ca_file;
};

// The keys to show. What is typed goes before the environment's TRAINYARD_TOKEN and TRAINYARD_CA,
// and those before its TRAINYARD_ACCESS; a single file goes before the folder's. Errors say which
// of them is wrong.
absl::StatusOr<AccessKeys> ReadKeys(const AccessOptions& options,
                                    std::vector<std::string>* warnings);

}  // namespace trainyard::cli
