#include "coordinator/access/named_secret.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "absl/status/statusor.h"
#include "coordinator/access/private_files.h"

namespace trainyard::coordinator {
namespace {

absl::StatusOr<std::string> FromEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value != nullptr) return std::string(value);
  return absl::InvalidArgumentError(
      "found no such variable in the coordinator's environment, expected the name of one");
}

// Of a secret that was found; empty: nothing is wrong with it.
std::string Flaw(const std::string& secret, size_t bytes_min) {
  if (secret.size() < bytes_min || secret.size() > kSecretBytesMax) {
    return fmt::format("found a secret of {} bytes, expected {} to {}", secret.size(), bytes_min,
                       kSecretBytesMax);
  }
  const bool control =
      std::ranges::any_of(secret, [](unsigned char c) { return c < 0x20 || c == 0x7F; });
  return control ? "found control characters in the secret, expected one line of text" : "";
}

}  // namespace

bool ReadNamedSecret(const Section& section, std::string_view key,
                     const std::filesystem::path& folder, size_t bytes_min, std::string* out) {
  const std::string file_key = std::string(key) + "_file", env_key = std::string(key) + "_env";
  const YamlNode* file = section.Find(file_key);
  const YamlNode* env = section.Find(env_key);
  if (file == nullptr && env == nullptr) return false;
  if (file != nullptr && env != nullptr) {
    section.Problem(env_key, fmt::format("found {} beside it, expected one of them", file_key));
    return false;
  }
  const std::string& used = file != nullptr ? file_key : env_key;
  const YamlNode& node = file != nullptr ? *file : *env;
  if (node.kind != YamlNode::Kind::kScalar || node.text.empty()) {
    section.Problem(used, Describe(node) + ", expected text");
    return false;
  }
  auto secret = file != nullptr ? ReadSecretFile(folder / node.text) : FromEnvironment(node.text);
  const std::string problem =
      secret.ok() ? Flaw(*secret, bytes_min) : std::string(secret.status().message());
  if (!problem.empty()) {
    section.Problem(used, problem);
    return false;
  }
  *out = *std::move(secret);
  return true;
}

}  // namespace trainyard::coordinator
