// What labels look like, the same for jobs that ask for them and for pools and workers that have
// them: `site: berlin`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace trainyard {

inline constexpr size_t kLabelsMax = 32;
inline constexpr size_t kLabelBytesMax = 63;  // of a name, and of a value

// For messages: "expected ..." one of these.
inline constexpr char kLabelNameForm[] =
    "a label's name: 1 to 63 letters, digits, - or _, a letter or digit first";
inline constexpr char kLabelValueForm[] = "a label's value: 1 to 63 letters, digits, ., - or _";

inline bool IsAsciiAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Whether `text` has 1 to kLabelBytesMax characters, each a letter, a digit or one of `others`.
inline bool IsLabelText(std::string_view text, std::string_view others) {
  return !text.empty() && text.size() <= kLabelBytesMax &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return IsAsciiAlphanumeric(c) || others.find(c) != std::string_view::npos;
         });
}

// Without dots, so that `--set resources.labels.NAME=VALUE` can name it.
inline bool IsLabelName(std::string_view name) {
  return IsLabelText(name, "-_") && IsAsciiAlphanumeric(name[0]);
}

inline bool IsLabelValue(std::string_view value) { return IsLabelText(value, ".-_"); }

}  // namespace trainyard
