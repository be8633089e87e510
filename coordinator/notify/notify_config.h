// What a notify file (docs/notifications.md) says, with secrets already read: never log or store
// any of this.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/notify/notice.h"
#include "coordinator/notify/transfer.h"

namespace trainyard::coordinator {

struct ChannelConfig {
  std::string name;  // unique, for messages
  std::set<NoticeEvent> events;
  Connection connection;
};

struct WebhookConfig : ChannelConfig {
  std::string url;     // a secret
  std::string secret;  // that bodies are signed with; empty: unsigned
};

struct MailConfig : ChannelConfig {
  std::string server;
  int port = 0;
  Mail::Encryption encryption = Mail::Encryption::kStartTls;
  std::string user, password;
  std::string from;
  std::vector<std::string> to;
};

struct CommitStatusConfig : ChannelConfig {
  std::string api = "https://api.github.com";       // without a slash at the end
  std::string host;                                 // of the repositories' URLs
  std::map<std::string, std::string> repositories;  // job's source -> "owner/name"
  std::string context = "trainyard";
  std::string token;
};

struct NotifyConfig {
  std::string job_url;  // template of links; empty: none
  int64_t give_up_after_ms = 24 * 3'600'000;
  std::vector<WebhookConfig> webhooks;
  std::vector<MailConfig> mail;
  std::vector<CommitStatusConfig> commit_statuses;
};

}  // namespace trainyard::coordinator
