// Files below a folder that a stranger's program writes into, perhaps while we look: no link is
// ever followed, so that nothing from elsewhere can be slipped in.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainyard::program {

// Called for each folder and regular file, in the order of their names, a folder before what is in
// it; `path` is relative, `file` is open for reading. Links, devices and the like are passed over.
// An error of `visit` ends the walk and is returned. INVALID_ARGUMENT: deeper or more than anybody
// needs.
using Visit =
    std::function<absl::Status(const std::string& path, int file, const struct stat& info)>;
absl::Status WalkTree(const std::string& folder, const Visit& visit);

// The regular file's content, at most `most` bytes of it; nothing may be a link on the last step.
// NOT_FOUND where there is none.
absl::StatusOr<std::string> ReadFileInside(const std::string& folder, const std::string& name,
                                           size_t most);

// What tells a file from an earlier one of the same name.
struct Stamp {
  int64_t bytes = 0;
  int64_t modified_ns = 0;
  uint64_t number = 0;
  bool operator==(const Stamp&) const = default;
};
Stamp StampOf(const struct stat& info);

// By path. What cannot be read is left out.
using Stamps = std::map<std::string, Stamp>;
Stamps StampFiles(const std::string& folder);

// Removes the folder, whatever rights its owner took from itself in there.
void RemoveTree(const std::string& folder);

}  // namespace trainyard::program
