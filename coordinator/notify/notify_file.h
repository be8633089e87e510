// The notify file (docs/notifications.md) -> NotifyConfig, read as strictly as trainyard.yaml, with
// the secrets that it points to. No message repeats a secret, nor what may be one.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/notify/notify_config.h"
#include "coordinator/source/spec_keys.h"

namespace trainyard::coordinator {

// INVALID_ARGUMENT with a line for each problem, and for files that cannot be read.
absl::StatusOr<NotifyConfig> ReadNotify(const std::string& path);

// From the file's text. `path` is for messages, and its folder is where relative paths start.
absl::StatusOr<NotifyConfig> ReadNotifyText(const std::string& text, const std::string& path);

// Every key that the file may have; docs/notify.schema.json has the same sections.
const std::vector<SpecSection>& NotifySections();

}  // namespace trainyard::coordinator
