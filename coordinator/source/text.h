// Small things about text that the spec reader and the archive checks share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trainyard::coordinator {

// Offset of the first byte that is not valid UTF-8 (overlong forms and surrogates count as
// invalid), or npos.
size_t FindInvalidUtf8(std::string_view text);

// The word of `words` nearest to `word` by edit distance, or empty if none is near.
std::string_view NearestWord(std::string_view word, const std::vector<std::string_view>& words);

// "a, b or c".
std::string JoinOr(const std::vector<std::string_view>& words);

}  // namespace trainyard::coordinator
