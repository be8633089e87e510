#include "cli/text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <wchar.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>

namespace trainyard::cli {
namespace {

constexpr uint32_t kReplacement = 0xFFFD;

// Characters that are not seen themselves but change what is seen around them.
bool IsHidden(uint32_t code) {
  return (code >= 0x80 && code <= 0x9F) || (code >= 0x200B && code <= 0x200F) ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) ||
         code == 0xFEFF || (code & 0xFFFE) == 0xFFFE || (code >= 0xE0000 && code <= 0xE007F);
}

void AppendUtf8(uint32_t code, std::string& out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

// The character at `at` of valid UTF-8, with its length in bytes.
std::pair<uint32_t, size_t> CharacterAt(std::string_view text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  const size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (length == 1 || at + length > text.size()) return {first, 1};
  uint32_t code = first & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) code = (code << 6) | (text[at + i] & 0x3F);
  return {code, length};
}

int WidthOf(uint32_t code) {
  const int width = wcwidth(static_cast<wchar_t>(code));
  return width < 0 ? 1 : width;  // -1: the locale doesn't know it
}

std::tm LocalTime(int64_t time_ms) {
  const std::time_t seconds = time_ms / 1000;
  std::tm parts{};
  localtime_r(&seconds, &parts);
  return parts;
}

std::string CutBytes(std::string_view text, size_t max_bytes, bool one_line) {
  Cleaner cleaner;
  std::string clean = cleaner.Feed(text.substr(0, max_bytes));
  clean += cleaner.Finish();
  if (one_line) {
    for (char& c : clean) {
      if (c == '\n' || c == '\t') c = ' ';
    }
  }
  if (text.size() > max_bytes) {
    clean +=
        fmt::format("... ({} more)", FormatBytes(static_cast<int64_t>(text.size() - max_bytes)));
  }
  return clean;
}

}  // namespace

std::string Cleaner::Feed(std::string_view piece) {
  std::string out;
  out.reserve(piece.size());
  for (const char c : piece) Byte(static_cast<unsigned char>(c), out);
  return out;
}

std::string Cleaner::Finish() {
  std::string out;
  if (missing_ > 0) AppendUtf8(kReplacement, out);
  if (carriage_return_) out += '\n';
  *this = Cleaner();
  return out;
}

void Cleaner::Byte(unsigned char byte, std::string& out) {
  if (byte == '\n')
    state_ = State::kText;  // no sequence goes beyond its line, so none swallows the rest
  switch (state_) {
    case State::kText:
      return TextByte(byte, out);
    case State::kEscape:
      if (byte == '[') {
        state_ = State::kControl;
      } else if (byte == ']' || byte == 'P' || byte == 'X' || byte == '^' || byte == '_') {
        state_ = State::kString;
      } else if (byte < 0x20 || byte > 0x2F) {  // intermediates go on, all else ends the sequence
        state_ = State::kText;
      }
      return;
    case State::kControl:
      if (byte >= 0x40 && byte <= 0x7E) state_ = State::kText;
      return;
    case State::kString:
      if (byte == 0x07) state_ = State::kText;
      if (byte == 0x1B) state_ = State::kStringEscape;
      return;
    case State::kStringEscape:
      state_ = byte == '\\' ? State::kText : State::kString;
      return;
  }
}

void Cleaner::TextByte(unsigned char byte, std::string& out) {
  if (missing_ > 0) {
    if ((byte & 0xC0) == 0x80) {
      code_ = (code_ << 6) | (byte & 0x3F);
      if (--missing_ == 0) {
        const bool valid =
            code_ >= smallest_ && code_ <= 0x10FFFF && (code_ < 0xD800 || code_ > 0xDFFF);
        Character(valid ? code_ : kReplacement, out);
      }
      return;
    }
    missing_ = 0;
    Character(kReplacement, out);
  }
  if (byte < 0x80) return Character(byte, out);
  if (byte >= 0xC2 && byte <= 0xF4) {
    missing_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    smallest_ = byte < 0xE0 ? 0x80 : byte < 0xF0 ? 0x800 : 0x10000;
    code_ = byte & (0xFF >> (missing_ + 2));
    return;
  }
  Character(kReplacement, out);
}

void Cleaner::Character(uint32_t code, std::string& out) {
  if (carriage_return_) {
    carriage_return_ = false;
    if (code != '\n') out += '\n';
  }
  if (code == 0x1B) {
    state_ = State::kEscape;
  } else if (code == '\r') {
    carriage_return_ = true;
  } else if (code == '\n' || code == '\t' || (code >= 0x20 && code != 0x7F && !IsHidden(code))) {
    AppendUtf8(code, out);
  }
}

std::string CleanLine(std::string_view text, size_t max_bytes) {
  return CutBytes(text, max_bytes, true);
}

std::string CleanLines(std::string_view text, size_t max_bytes) {
  return CutBytes(text, max_bytes, false);
}

int Width(std::string_view text) {
  int width = 0;
  for (size_t at = 0; at < text.size();) {
    const auto [code, length] = CharacterAt(text, at);
    width += WidthOf(code);
    at += length;
  }
  return width;
}

std::string Cut(std::string_view text, int width) {
  if (Width(text) <= width) return std::string(text);
  const int room = std::max(0, width - 3);
  int used = 0;
  size_t at = 0;
  while (at < text.size()) {
    const auto [code, length] = CharacterAt(text, at);
    if (used + WidthOf(code) > room) break;
    used += WidthOf(code);
    at += length;
  }
  return std::string(text.substr(0, at)) + std::string(std::min(3, std::max(0, width)), '.');
}

std::vector<std::string> Wrap(std::string_view text, int width) {
  width = std::max(1, width);
  std::vector<std::string> lines;
  std::string line;
  int used = 0;
  size_t last_space = std::string::npos;  // in `line`
  for (size_t at = 0; at < text.size();) {
    const auto [code, length] = CharacterAt(text, at);
    const int columns = WidthOf(code);
    if (code == '\n' || (code == ' ' && used >= width)) {
      lines.push_back(line);
      line.clear();
      used = 0;
      last_space = std::string::npos;
      at += length;
      continue;
    }
    if (used + columns > width && !line.empty()) {
      std::string rest;
      if (last_space != std::string::npos) {
        rest = line.substr(last_space + 1);
        line.resize(last_space);
      } else if (const size_t end = line.find_last_of(".]");  // of a part of a path
                 end != std::string::npos && end >= line.size() / 2) {
        rest = line.substr(end + 1);
        line.resize(end + 1);
      }
      lines.push_back(line);
      line = rest;
      used = Width(line);
      last_space = std::string::npos;
    }
    if (code == ' ') last_space = line.size();
    line.append(text.substr(at, length));
    used += columns;
    at += length;
  }
  if (!line.empty() || lines.empty()) lines.push_back(line);
  return lines;
}

std::string PadRight(std::string_view text, int width) {
  return std::string(text) + std::string(std::max(0, width - Width(text)), ' ');
}

std::string PadLeft(std::string_view text, int width) {
  return std::string(std::max(0, width - Width(text)), ' ') + std::string(text);
}

std::string FormatDuration(int64_t milliseconds) {
  const int64_t seconds = std::max<int64_t>(0, milliseconds) / 1000;
  if (milliseconds < 10'000)
    return fmt::format("{:.1f} s", std::max<int64_t>(0, milliseconds) / 1000.0);
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
  if (seconds < 48 * 3600) return fmt::format("{} h {:02} min", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{} d {:02} h", seconds / 86400, seconds / 3600 % 24);
}

std::string FormatClock(int64_t time_ms) { return fmt::format("{:%H:%M:%S}", LocalTime(time_ms)); }

std::string FormatDate(int64_t time_ms) {
  return time_ms == 0 ? "-" : fmt::format("{:%Y-%m-%d %H:%M:%S}", LocalTime(time_ms));
}

std::string FormatCount(int64_t count) {
  std::string digits = std::to_string(count);
  const int first = count < 0 ? 1 : 0;
  for (int at = static_cast<int>(digits.size()) - 3; at > first; at -= 3) digits.insert(at, ",");
  return digits;
}

std::string FormatBytes(int64_t bytes) {
  constexpr std::array kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} bytes", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string FormatMetric(double value) {
  return std::isfinite(value) && std::abs(value) >= 1e5 ? fmt::format("{:.3e}", value)
                                                        : fmt::format("{:.4f}", value);
}

}  // namespace trainyard::cli
