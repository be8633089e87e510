// Logs to stderr: one line each, whatever a stranger's message holds.
#pragma once

#include <string>
#include <string_view>

namespace trainyard::agent {

// Control characters as \xNN, cut at 4,000 bytes: no line breaks, no terminal escapes.
std::string OneLine(std::string_view text);

// spdlog's default logger from now on: "2024-05-01 12:00:00.123 info worker 4711: ...".
void SetUpLogging(bool verbose);

}  // namespace trainyard::agent
