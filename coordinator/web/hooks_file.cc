#include "coordinator/web/hooks_file.h"

#include <fmt/format.h>

#include <filesystem>
#include <optional>

#include "coordinator/access/named_secret.h"
#include "coordinator/access/secrets.h"
#include "coordinator/source/config_file.h"
#include "coordinator/source/spec_section.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using Kind = YamlNode::Kind;

// Each is tried on a body, before anything else is known about it.
constexpr size_t kHooksMax = 100;
constexpr size_t kSecretBytesMin = 16;

Hook ReadHook(const YamlNode& node, const std::string& path, const fs::path& folder,
              SpecProblems* problems) {
  Hook hook;
  const Section section(&node, path, SectionNamed(HookSections(), "hook"), problems);
  section.Text("project", &hook.project);
  ReadNamedSecret(section, "secret", folder, kSecretBytesMin, &hook.secret);
  std::string token;
  ReadNamedSecret(section, "token", folder, kSecretBytesMin, &token);
  if (!token.empty()) hook.token_sha256 = HashOfSecret(token);
  bool any = false;
  for (const char* key : {"secret_file", "secret_env", "token_file", "token_env"}) {
    any = any || section.Find(key) != nullptr;
  }
  if (!any && !problems->Has(node.place)) {
    problems->Add(node.place, path,
                  "found neither a secret nor a token, expected secret_file, secret_env, "
                  "token_file or token_env");
  }
  if (!token.empty() && token == hook.secret) {
    problems->Add(node.place, path,
                  "found the same secret and token, expected two: a token is sent as it is");
  }
  return hook;
}

std::vector<Hook> ReadRoot(const YamlNode& root, const fs::path& folder, SpecProblems* problems) {
  std::vector<Hook> hooks;
  const Section file(&root, "", SectionNamed(HookSections(), ""), problems);
  if (root.kind != Kind::kMap || !file.Require("hooks", "a list of hooks")) return hooks;
  const YamlNode& list = *file.Find("hooks");
  if (list.kind != Kind::kSequence || list.items.empty() || list.items.size() > kHooksMax) {
    const std::string found = list.kind == Kind::kSequence
                                  ? fmt::format("found {} hooks", list.items.size())
                                  : Describe(list);
    problems->Add(list.place, "hooks",
                  fmt::format("{}, expected a list of 1 to {}", found, kHooksMax));
    return hooks;
  }
  for (size_t i = 0; i < list.items.size(); ++i) {
    hooks.push_back(ReadHook(list.items[i], fmt::format("hooks[{}]", i), folder, problems));
  }
  return hooks;
}

}  // namespace

const std::vector<SpecSection>& HookSections() {
  static const auto* sections = new std::vector<SpecSection>{
      {"", {"hooks"}},
      {"hook", {"project", "secret_file", "secret_env", "token_file", "token_env"}},
  };
  return *sections;
}

absl::StatusOr<std::vector<Hook>> ReadHooksText(const std::string& text, const std::string& path) {
  const fs::path folder = fs::absolute(path).parent_path();
  return ParseConfig<std::vector<Hook>>(text, path, "a list of hooks",
                                        [&](const YamlNode& root, SpecProblems* problems) {
                                          return ReadRoot(root, folder, problems);
                                        });
}

absl::StatusOr<std::vector<Hook>> ReadHooks(const std::string& path) {
  const auto text = ReadConfigFile(path, "a file of hooks");
  if (!text.ok()) return text.status();
  return ReadHooksText(*text, path);
}

}  // namespace trainyard::coordinator
