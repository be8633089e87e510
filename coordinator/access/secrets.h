// Secrets that let somebody in: how they are drawn, compared, and derived from a launch's number.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainyard::coordinator {

// 256 random bits behind "ty_", by which people and scanners know it for a secret of ours.
absl::StatusOr<std::string> NewSecret();

// SHA-256 in hex: of a secret this is all that is kept. Secrets are random in full, so that there
// is nothing to guess from it.
std::string HashOfSecret(std::string_view secret);

// HMAC-SHA256: 32 bytes, not in hex.
std::string HmacSha256(std::string_view key, std::string_view text);

// Compares in a time that does not tell where they differ.
bool SameSecret(std::string_view a, std::string_view b);

// 16 hex digits that are this coordinator's for good, and no secret: drawn once, kept in the file.
absl::StatusOr<std::string> LastingId(const std::filesystem::path& file);

// The token of a launched worker: its launch's number under a key that only this coordinator has,
// "tyl_17_...". Nothing has to be stored for it; whether the launch lives is another question.
class LaunchTokens {
 public:
  // Reads the key, or draws it where there is none.
  static absl::StatusOr<LaunchTokens> Open(const std::filesystem::path& key_file);

  std::string Issue(int64_t launch) const;
  // The launch that it names; nothing: it was not issued here.
  std::optional<int64_t> Check(std::string_view token) const;
  // Whether it has the form of one.
  static bool LooksLikeOne(std::string_view token);

 private:
  explicit LaunchTokens(std::string key) : key_(std::move(key)) {}
  std::string key_;
};

}  // namespace trainyard::coordinator
