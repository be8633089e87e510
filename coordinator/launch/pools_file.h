// The pools file (docs/pools.md) -> PoolConfig, read as strictly as trainyard.yaml: every problem
// with its place, what was found and what was expected.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/launch/pools.h"
#include "coordinator/source/spec_keys.h"

namespace trainyard::coordinator {

// INVALID_ARGUMENT with a line for each problem, and for files that cannot be read.
absl::StatusOr<std::vector<PoolConfig>> ReadPools(const std::string& path);

// From the file's text. `path` is for messages, and its folder is where relative paths start.
absl::StatusOr<std::vector<PoolConfig>> ReadPoolsText(const std::string& text,
                                                      const std::string& path);

// Every key that the file may have; docs/pools.schema.json has the same sections.
const std::vector<SpecSection>& PoolSections();

}  // namespace trainyard::coordinator
