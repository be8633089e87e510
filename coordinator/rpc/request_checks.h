// What every call checks before it looks closer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace trainyard::coordinator {

// INVALID_ARGUMENT, naming the field, if the text is longer than a sensible one or has a NUL.
absl::Status CheckTextSize(std::string_view field, std::string_view text);

// INVALID_ARGUMENT unless the id is 1 or more.
absl::Status CheckId(std::string_view field, int64_t id);

// INVALID_ARGUMENT unless it is 64 lower-case hex digits.
absl::Status CheckSha256(std::string_view field, std::string_view sha256);

// Text from outside in a message for people: quoted, cut, with nothing that a terminal acts on.
std::string ForPeople(std::string_view text);

// A log line as a terminal may show it: escape sequences and control characters made visible, not
// UTF-8 replaced, cut where it is absurdly long. Without the line end.
std::string CleanLine(std::string_view line);

}  // namespace trainyard::coordinator
