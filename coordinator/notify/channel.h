// A way by which people are told: one webhook, one mailing, or the commit statuses of one server.
#pragma once

#include <memory>
#include <string>

#include "coordinator/notify/notice.h"
#include "coordinator/notify/notify_config.h"
#include "coordinator/notify/transfer.h"

namespace trainyard::coordinator {

class Channel {
 public:
  explicit Channel(const ChannelConfig& config) : config_(config) {}
  virtual ~Channel() = default;

  const std::string& name() const { return config_.name; }
  // Whether this notice is for this channel.
  bool Wants(const JobNotice& notice) const {
    return config_.events.contains(notice.event) && Applies(notice);
  }
  // One attempt. On a thread of the channel's own; again after UNAVAILABLE.
  virtual Outcome Deliver(const JobNotice& notice, const Cancelled& cancelled) = 0;

 private:
  virtual bool Applies(const JobNotice&) const { return true; }
  const ChannelConfig config_;
};

std::unique_ptr<Channel> MakeWebhook(WebhookConfig config);            // webhook.cc
std::unique_ptr<Channel> MakeMail(MailConfig config);                  // mail.cc
std::unique_ptr<Channel> MakeCommitStatus(CommitStatusConfig config);  // commit_status.cc

}  // namespace trainyard::coordinator
