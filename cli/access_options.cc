#include "cli/access_options.h"

#include <fmt/format.h>

#include <cstdlib>

namespace trainyard::cli {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::Status Named(const char* where, const absl::Status& status) {
  return absl::Status(status.code(), fmt::format("{}: {}", where, std::string(status.message())));
}

}  // namespace

absl::StatusOr<AccessKeys> ReadKeys(const AccessOptions& options,
                                    std::vector<std::string>* warnings) {
  AccessKeys keys;
  const std::string usual = Variable("TRAINYARD_ACCESS");
  if (const std::string& folder = options.folder.empty() ? usual : options.folder;
      !folder.empty()) {
    auto read = ReadAccessFolder(folder, warnings);
    if (!read.ok()) {
      return Named(options.folder.empty() ? "TRAINYARD_ACCESS" : "--access", read.status());
    }
    keys = *std::move(read);
  }
  const std::string usual_ca = options.folder.empty() ? Variable("TRAINYARD_CA") : "";
  if (const std::string& file = options.ca_file.empty() ? usual_ca : options.ca_file;
      !file.empty()) {
    auto ca = ReadCaFile(file);
    if (!ca.ok()) return Named(options.ca_file.empty() ? "TRAINYARD_CA" : "--ca", ca.status());
    keys.ca_pem = *std::move(ca);
  }
  const std::string secret = Variable("TRAINYARD_TOKEN");
  if (!options.token_file.empty()) {
    auto token = ReadTokenFile(options.token_file, warnings);
    if (!token.ok()) return Named("--token-file", token.status());
    keys.token = *std::move(token);
  } else if (!secret.empty() && options.folder.empty()) {
    if (auto status = CheckToken(secret, "TRAINYARD_TOKEN"); !status.ok()) return status;
    keys.token = secret;
  }
  return keys;
}

}  // namespace trainyard::cli
