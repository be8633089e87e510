#include "coordinator/notify/notify_file.h"

#include <fmt/format.h>

#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "coordinator/access/named_secret.h"
#include "coordinator/notify/commit_status.h"
#include "coordinator/notify/notify_parts.h"
#include "coordinator/source/config_file.h"
#include "coordinator/source/spec_values.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using Kind = YamlNode::Kind;

constexpr size_t kChannelsMax = 20;  // of each kind
constexpr size_t kRecipientsMax = 50;
constexpr size_t kSecretBytesMin = 1;  // whoever gave it to us decides
constexpr size_t kRepositoriesMax = 1'000;
constexpr int64_t kSecondMs = 1'000;
constexpr int64_t kDayMs = 86'400'000;

const std::set<NoticeEvent> kEnds = {NoticeEvent::kTargetMet, NoticeEvent::kTargetMissed,
                                     NoticeEvent::kFailed};
const std::set<NoticeEvent> kAll = {NoticeEvent::kCreated, NoticeEvent::kTargetMet,
                                    NoticeEvent::kTargetMissed, NoticeEvent::kFailed,
                                    NoticeEvent::kCancelled};

class Reader {
 public:
  Reader(fs::path folder, SpecProblems* problems)
      : folder_(std::move(folder)), problems_(*problems) {}

  NotifyConfig Read(const YamlNode& root) {
    NotifyConfig config;
    const Section file = Part(&root, "", "");
    ReadJobUrl(file, &config.job_url);
    if (const YamlNode* node = file.Find("give_up_after")) {
      ReadDuration(*node, "give_up_after", kSecondMs, 30 * kDayMs, "1s to 30d",
                   &config.give_up_after_ms, &problems_);
    }
    ForEach(file, "webhooks", "webhook",
            [&](const Section& s) { config.webhooks.push_back(ReadWebhook(s)); });
    ForEach(file, "mail", "mail", [&](const Section& s) { config.mail.push_back(ReadMail(s)); });
    ForEach(file, "commit_statuses", "commit_status",
            [&](const Section& s) { config.commit_statuses.push_back(ReadCommitStatus(s)); });
    if (root.kind == Kind::kMap && names_.empty() && problems_.list().empty()) {
      problems_.Add(root.place, "", "found no channel, expected webhooks, mail or commit_statuses");
    }
    return config;
  }

 private:
  Section Part(const YamlNode* node, std::string path, std::string_view name) {
    return Section(node, std::move(path), SectionNamed(NotifySections(), name), &problems_);
  }

  template <class Use>
  void ForEach(const Section& file, std::string_view key, std::string_view name, const Use& use) {
    const YamlNode* node = file.Find(key);
    if (node == nullptr) return;
    if (node->kind != Kind::kSequence || node->items.empty() || node->items.size() > kChannelsMax) {
      file.Problem(key,
                   fmt::format("{}, expected a list of 1 to {}", Describe(*node), kChannelsMax));
      return;
    }
    for (size_t i = 0; i < node->items.size(); ++i) {
      use(Part(&node->items[i], fmt::format("{}[{}]", key, i), name));
    }
  }

  void ReadJobUrl(const Section& file, std::string* out) {
    std::string text;
    file.Text("job_url", &text);
    if (text.empty()) return;
    const std::string sample = absl::StrReplaceAll(text, {{"{job}", "1"}, {"{commit}", "0"}});
    auto wrong = WrongUrl(sample, /*plain_http=*/true);
    if (!wrong && sample.find_first_of("{}") != sample.npos) {
      wrong = "found another place to fill in, expected {job} and {commit} only";
    }
    if (!wrong && !absl::StrContains(text, "{job}")) {
      wrong = "found no {job} in it, expected a URL such as https://ci.example/trainyard/{job}";
    }
    if (wrong) {
      file.Problem("job_url", *wrong);
    } else {
      *out = text;
    }
  }

  // What every kind has.
  void ReadChannel(const Section& section, const std::set<NoticeEvent>& defaults,
                   ChannelConfig* channel) {
    if (section.Require("name", "a name for messages")) {
      std::string name;
      section.Text("name", &name);
      if (!name.empty() && !IsPoolName(name)) {
        section.Problem("name", fmt::format("found {}, expected 1 to 63 small letters, digits or -",
                                            Quoted(name)));
      } else if (!name.empty() && !names_.insert(name).second) {
        section.Problem("name",
                        fmt::format("found {} a second time, expected another name", Quoted(name)));
      }
      channel->name = name;
    }
    channel->events = defaults;
    ReadEvents(section, defaults.contains(NoticeEvent::kCreated), &channel->events);
    section.Boolean("plain_http", &channel->connection.plain_http);
    section.Boolean("private_addresses", &channel->connection.private_addresses);
    ReadCaFile(section, "ca", folder_, &channel->connection.ca);
  }

  void ReadEvents(const Section& section, bool creations, std::set<NoticeEvent>* out) {
    const YamlNode* node = section.Find("events");
    if (node == nullptr) return;
    std::vector<std::string_view> words;
    std::vector<NoticeEvent> events;
    for (const NoticeEvent event : kAll) {
      if (event == NoticeEvent::kCreated && !creations) continue;
      words.push_back(Name(event));
      events.push_back(event);
    }
    if (node->kind != Kind::kSequence || node->items.empty()) {
      section.Problem("events", Describe(*node) + ", expected a list with at least one event");
      return;
    }
    out->clear();
    for (size_t i = 0; i < node->items.size(); ++i) {
      const int word = ReadWord(node->items[i], fmt::format("{}[{}]", section.PathOf("events"), i),
                                words, &problems_);
      if (word >= 0) out->insert(events[static_cast<size_t>(word)]);
    }
  }

  WebhookConfig ReadWebhook(const Section& section) {
    WebhookConfig webhook;
    ReadChannel(section, kEnds, &webhook);
    ReadNamedSecret(section, "secret", folder_, kSecretBytesMin, &webhook.secret);
    const char* key = section.Find("url_file")  ? "url_file"
                      : section.Find("url_env") ? "url_env"
                                                : "url";
    const YamlNode* url = section.Find("url");
    if (url != nullptr && std::string_view(key) != "url") {
      section.Problem("url", fmt::format("found {} beside it, expected one of them", key));
      return webhook;
    }
    if (url != nullptr) {
      webhook.url = url->kind == Kind::kScalar ? url->text : "";
    } else if (std::string_view(key) == "url") {
      section.Require("url", "url_file, url_env or url");
      return webhook;
    } else if (!ReadNamedSecret(section, "url", folder_, kSecretBytesMin, &webhook.url)) {
      return webhook;
    }
    if (const auto wrong = WrongUrl(webhook.url, webhook.connection.plain_http)) {
      section.Problem(key, *wrong);
    }
    return webhook;
  }

  MailConfig ReadMail(const Section& section) {
    MailConfig mail;
    ReadChannel(section, kEnds, &mail);
    using Encryption = Mail::Encryption;
    section.Word<Encryption>("encryption",
                             {{"starttls", Encryption::kStartTls},
                              {"tls", Encryption::kTls},
                              {"none", Encryption::kNone}},
                             &mail.encryption);
    mail.port = mail.encryption == Encryption::kTls        ? 465
                : mail.encryption == Encryption::kStartTls ? 587
                                                           : 25;
    section.Integer("port", 1, 65'535, &mail.port);
    if (section.Require("server", "the name of a mail server")) {
      section.Text("server", &mail.server);
      if (!mail.server.empty() && !IsServerName(mail.server)) {
        section.Problem("server", fmt::format("found {}, expected a host name or address",
                                              Quoted(mail.server)));
      }
    }
    ReadLogin(section, &mail);
    if (section.Require("from", "the sender's address")) {
      ReadAddress(section.Find("from"), section.PathOf("from"), &mail.from);
    }
    if (section.Require("to", "a list of addresses")) ReadRecipients(section, &mail.to);
    return mail;
  }

  void ReadLogin(const Section& section, MailConfig* mail) {
    section.Text("user", &mail->user);
    const bool user = section.Find("user") != nullptr;
    const bool password = section.Find("password_file") || section.Find("password_env");
    ReadNamedSecret(section, "password", folder_, kSecretBytesMin, &mail->password);
    if (user != password) {
      section.Problem(user                            ? "user"
                      : section.Find("password_file") ? "password_file"
                                                      : "password_env",
                      user ? "found a user without a password, expected password_file or "
                             "password_env beside it"
                           : "found a password without a user, expected user beside it");
    } else if (user && mail->encryption == Mail::Encryption::kNone) {
      section.Problem(
          "encryption",
          "found none beside a password, expected starttls or tls: everybody on the way "
          "could read it");
    }
  }

  void ReadAddress(const YamlNode* node, const std::string& path, std::string* out) {
    if (node->kind == Kind::kScalar && IsMailAddress(node->text)) {
      *out = node->text;
    } else {
      problems_.Add(node->place, path,
                    Describe(*node) + ", expected an address such as you@example.com");
    }
  }

  void ReadRecipients(const Section& section, std::vector<std::string>* out) {
    const YamlNode& node = *section.Find("to");
    if (node.kind != Kind::kSequence || node.items.empty() || node.items.size() > kRecipientsMax) {
      section.Problem("to", fmt::format("{}, expected a list of 1 to {} addresses", Describe(node),
                                        kRecipientsMax));
      return;
    }
    for (size_t i = 0; i < node.items.size(); ++i) {
      ReadAddress(&node.items[i], fmt::format("{}[{}]", section.PathOf("to"), i),
                  &out->emplace_back());
    }
  }

  CommitStatusConfig ReadCommitStatus(const Section& section) {
    CommitStatusConfig status;
    ReadChannel(section, kAll, &status);
    section.Text("api", &status.api);
    auto wrong = WrongUrl(status.api, status.connection.plain_http);
    if (!wrong && absl::StrContains(status.api, "?")) {
      wrong = "found a ? in the URL, expected none";
    }
    if (wrong) section.Problem("api", *wrong);
    while (absl::EndsWith(status.api, "/")) status.api.pop_back();
    // What GitHub calls its API's host.
    const std::string api_host = wrong ? "" : HostOfUrl(status.api);
    status.host = std::string(absl::StripPrefix(api_host, "api."));
    section.Text("host", &status.host);
    section.Text("context", &status.context);
    if (!ReadNamedSecret(section, "token", folder_, kSecretBytesMin, &status.token)) {
      if (!section.Find("token_env")) section.Require("token_file", "token_file or token_env");
    } else if (status.token.find_first_not_of(kTokenCharacters) != std::string::npos) {
      section.Problem(
          section.Find("token_file") ? "token_file" : "token_env",
          "found something else in it, expected a token of letters, digits and ._~+/=-");
    }
    ReadRepositories(section, &status.repositories);
    return status;
  }

  void ReadRepositories(const Section& section, std::map<std::string, std::string>* out) {
    const YamlNode* node = section.Find("repositories");
    if (node == nullptr) return;
    if (node->kind != Kind::kMap || node->entries.size() > kRepositoriesMax) {
      section.Problem("repositories",
                      fmt::format("{}, expected a map of at most {} from sources to owner/name",
                                  Describe(*node), kRepositoriesMax));
      return;
    }
    for (const YamlEntry& entry : node->entries) {
      if (entry.value.kind == Kind::kScalar && IsRepositoryName(entry.value.text)) {
        (*out)[entry.key] = entry.value.text;
      } else {
        problems_.Add(entry.value.place, section.PathOf("repositories"),
                      Describe(entry.value) + ", expected owner/name");
      }
    }
  }

  static constexpr char kTokenCharacters[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~+/=-";

  const fs::path folder_;
  SpecProblems& problems_;
  std::set<std::string> names_;
};

}  // namespace

const std::vector<SpecSection>& NotifySections() {
  static const auto* sections = new std::vector<SpecSection>{
      {"", {"job_url", "give_up_after", "webhooks", "mail", "commit_statuses"}},
      {"webhook",
       {"name", "events", "url", "url_file", "url_env", "secret_file", "secret_env", "plain_http",
        "private_addresses", "ca"}},
      {"mail",
       {"name", "events", "server", "port", "encryption", "user", "password_file", "password_env",
        "from", "to", "private_addresses", "ca"}},
      {"commit_status",
       {"name", "events", "api", "host", "repositories", "context", "token_file", "token_env",
        "plain_http", "private_addresses", "ca"}},
  };
  return *sections;
}

absl::StatusOr<NotifyConfig> ReadNotifyText(const std::string& text, const std::string& path) {
  const fs::path folder = fs::absolute(path).parent_path();
  return ParseConfig<NotifyConfig>(text, path, "webhooks, mail or commit_statuses",
                                   [&](const YamlNode& root, SpecProblems* problems) {
                                     return Reader(folder, problems).Read(root);
                                   });
}

absl::StatusOr<NotifyConfig> ReadNotify(const std::string& path) {
  const auto text = ReadConfigFile(path, "a notify file");
  if (!text.ok()) return text.status();
  return ReadNotifyText(*text, path);
}

}  // namespace trainyard::coordinator
