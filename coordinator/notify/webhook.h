// The body of a webhook: a message as Slack takes it, and Mattermost and Discord (/slack) with it;
// and beside it, under `trainyard`, the data for programs.
#pragma once

#include <string>

#include "coordinator/notify/notice.h"

namespace trainyard::coordinator {

std::string WebhookBody(const JobNotice& notice);

}  // namespace trainyard::coordinator
