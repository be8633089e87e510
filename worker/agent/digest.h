// SHA-256 in lower-case hex: the names of checkpoints, models, source snapshots and data files.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace trainyard::agent {

class Digest {
 public:
  Digest();
  ~Digest();
  void Add(std::string_view bytes);
  // 64 hex digits. Ends the digest: nothing may be added afterwards.
  std::string Hex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string HashOf(std::string_view bytes);

// NOT_FOUND if there is no such file; otherwise whatever reading ran into, with path and cause.
absl::StatusOr<std::string> HashOfFile(const std::string& path);

// 64 lower-case hex digits: nothing else is ever used as a file's name.
bool IsHash(std::string_view text);

}  // namespace trainyard::agent
