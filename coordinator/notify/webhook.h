// The body of a webhook: a message as Slack takes it, and Mattermost and Discord (/slack) with it;
// and beside it, under `trainyard`, the data for programs.
#pragma once

#include <string>

#include "coordinator/notify/notice.h"

namespace trainyard::coordinator {

std::string WebhookBody(const JobNotice& notice);

// "sha256=..." as GitHub signs, to be checked by the same code: HMAC-SHA256 of the body.
std::string SignatureOf(const std::string& body, const std::string& secret);

}  // namespace trainyard::coordinator
