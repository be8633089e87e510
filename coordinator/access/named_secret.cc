#include "coordinator/access/named_secret.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "absl/status/statusor.h"
#include "coordinator/access/private_files.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kSecretBytesMax = 1024;

absl::StatusOr<std::string> FromFile(const std::filesystem::path& path) {
  struct stat info {};
  // Nobody waits for the writer of a pipe.
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError("found no regular file, expected one that holds a secret");
  }
  auto content = ReadSmallFile(path);
  if (!content.ok()) return content.status();
  // It works all the same: some file systems, and what mounts secrets, know no modes.
  if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    spdlog::warn("{}: others on this machine can read the secret in it; chmod 600 it",
                 path.string());
  }
  while (content->ends_with('\n') || content->ends_with('\r')) content->pop_back();
  return content;
}

absl::StatusOr<std::string> FromEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value != nullptr) return std::string(value);
  return absl::InvalidArgumentError(fmt::format(
      "found the name of no variable in the coordinator's environment, expected {} to be set",
      Quoted(name)));
}

// Of a secret that was found; empty: nothing is wrong with it.
std::string Flaw(const std::string& secret) {
  if (secret.size() < kSecretBytesMin || secret.size() > kSecretBytesMax) {
    return fmt::format("found a secret of {} bytes, expected {} to {}", secret.size(),
                       kSecretBytesMin, kSecretBytesMax);
  }
  const bool control = std::any_of(secret.begin(), secret.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  });
  return control ? "found control characters in the secret, expected one line of text" : "";
}

}  // namespace

void ReadNamedSecret(const Section& section, std::string_view key,
                     const std::filesystem::path& folder, std::string* out,
                     SpecProblems* problems) {
  const std::string file_key = std::string(key) + "_file", env_key = std::string(key) + "_env";
  const YamlNode* file = section.Find(file_key);
  const YamlNode* env = section.Find(env_key);
  if (file == nullptr && env == nullptr) return;
  if (file != nullptr && env != nullptr) {
    section.Problem(env_key, fmt::format("found {} beside it, expected one of them", file_key));
    return;
  }
  const std::string& used = file != nullptr ? file_key : env_key;
  std::string name;
  if (!ReadText(file != nullptr ? *file : *env, section.PathOf(used), &name, problems)) return;
  auto secret = file != nullptr ? FromFile(folder / name) : FromEnvironment(name);
  if (!secret.ok()) {
    section.Problem(used, std::string(secret.status().message()));
  } else if (const std::string flaw = Flaw(*secret); !flaw.empty()) {
    section.Problem(used, flaw);
  } else {
    *out = *std::move(secret);
  }
}

}  // namespace trainyard::coordinator
