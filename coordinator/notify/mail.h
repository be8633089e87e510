// A notice as a mail: headers that nothing in a job's name can break out of, and plain text.
#pragma once

#include <string>
#include <string_view>

#include "coordinator/notify/notice.h"
#include "coordinator/notify/notify_config.h"

namespace trainyard::coordinator {

// Lines end with CR LF. The same notice makes the same bytes, whenever it is sent.
std::string MailMessage(const JobNotice& notice, const MailConfig& config);

// A header's text as RFC 2047 wants it: as it is where it is short and plain, else in UTF-8 words.
std::string EncodedHeader(std::string_view text);

}  // namespace trainyard::coordinator
