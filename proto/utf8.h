// What UTF-8 is, the same wherever text from elsewhere is let into a message or a log.
#pragma once

#include <cstddef>
#include <string_view>

namespace trainyard {

// Bytes of the UTF-8 character at the start of `text`, which is not empty; 0 if there is none:
// overlong forms, surrogates and what is cut off do not count (RFC 3629).
size_t Utf8Length(std::string_view text);

}  // namespace trainyard
