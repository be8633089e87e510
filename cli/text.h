// Text for people: made harmless for a terminal, measured, wrapped, and numbers as people read
// them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trainyard::cli {

// Makes text from elsewhere harmless, in pieces of any size and with constant memory: drops
// terminal escape sequences, control characters and characters that reorder or hide text; invalid
// UTF-8 becomes U+FFFD. Newlines and tabs stay; a lone carriage return (a program's progress bar)
// becomes a newline.
class Cleaner {
 public:
  // The harmless form of `piece`, following on from the pieces before it.
  std::string Feed(std::string_view piece);
  // What an incomplete character at the very end stands for.
  std::string Finish();

 private:
  enum class State { kText, kEscape, kControl, kString, kStringEscape };
  void Byte(unsigned char byte, std::string& out);
  void TextByte(unsigned char byte, std::string& out);
  void Character(uint32_t code, std::string& out);

  State state_ = State::kText;
  bool carriage_return_ = false;  // the last byte was one
  uint32_t code_ = 0;             // of the character being put together
  uint32_t smallest_ = 0;         // that a character of this length may have
  int missing_ = 0;               // bytes of it that are still to come
};

// `text` made harmless, on one line: newlines and tabs become spaces. Longer than `max_bytes` is
// cut, and the cut named.
std::string CleanLine(std::string_view text, size_t max_bytes = 4096);
// `text` made harmless, lines kept.
std::string CleanLines(std::string_view text, size_t max_bytes = 65536);

// Columns on a terminal; escape sequences must not be in `text`.
int Width(std::string_view text);
// The first `width` columns, ending in "..." where something was cut.
std::string Cut(std::string_view text, int width);
// Lines of at most `width` columns, broken at spaces where possible. Never empty.
std::vector<std::string> Wrap(std::string_view text, int width);
// `text` filled with spaces up to `width` columns.
std::string PadRight(std::string_view text, int width);
std::string PadLeft(std::string_view text, int width);

std::string FormatDuration(int64_t milliseconds);  // "41 s", "4 min 12 s", "2 h 05 min"
std::string FormatClock(int64_t time_ms);          // local "12:04:31"
std::string FormatDate(int64_t time_ms);           // local "2024-05-01 12:04:31", "-" for 0
std::string FormatCount(int64_t count);            // "60,000"
std::string FormatBytes(int64_t bytes);            // "1.2 MiB"
std::string FormatMetric(double value);            // "0.9123"

}  // namespace trainyard::cli
