#include "worker/program/lines.h"

#include <algorithm>
#include <cstring>

#include "proto/utf8.h"

namespace trainyard::program {
namespace {

constexpr char kEscape = 0x1b;

// Bytes of the escape sequence at the start of `text`.
size_t EscapeLength(std::string_view text) {
  if (text.size() < 2) return text.size();
  size_t at = 2;
  if (text[1] == '[') {  // ends with a letter or one of @[\]^_`{|}~
    while (at < text.size() && (text[at] < 0x40 || text[at] > 0x7e)) ++at;
    return std::min(at + 1, text.size());
  }
  if (text[1] != ']' && text[1] != 'P' && text[1] != '_' && text[1] != '^') return 2;
  while (at < text.size() && text[at] != '\a' && text[at] != kEscape) ++at;  // titles, links
  return std::min(at + (at < text.size() && text[at] == kEscape ? 2 : 1), text.size());
}

// Where what follows the last `c` starts; 0 without one. Logs may be large, and this is fast.
size_t AfterLast(std::string_view text, char c) {
  const void* const last = memrchr(text.data(), c, text.size());
  return last == nullptr ? 0
                         : static_cast<size_t>(static_cast<const char*>(last) - text.data()) + 1;
}

}  // namespace

void LineSplitter::Feed(std::string_view bytes, const Sink& sink) {
  for (;;) {
    const size_t end = std::min(bytes.find('\n'), bytes.size());
    Write(bytes.substr(0, end));
    if (end == bytes.size()) return;
    Flush(sink);
    bytes.remove_prefix(end + 1);
  }
}

void LineSplitter::Write(std::string_view piece) {
  const size_t start = std::max(AfterLast(piece, '\r'), AfterLast(piece, '\b'));
  if (start > 0 && start == piece.size()) {  // they end it: what stands before may stay
    const size_t text = piece.find_last_not_of("\r\b");
    if (text != piece.npos) Write(piece.substr(0, text + 1));
    overwritten_ = true;
    return;
  }
  if (start == piece.size()) return;
  if (start > 0 || overwritten_) {
    line_.clear();
    cut_ = overwritten_ = false;
  }
  const size_t room = longest_ - line_.size();
  line_.append(piece.substr(start, room));
  cut_ = cut_ || piece.size() - start > room;
}

void LineSplitter::Flush(const Sink& sink) {
  if (!line_.empty()) sink(line_, cut_);
  line_.clear();
  cut_ = overwritten_ = false;
}

std::string CleanText(std::string_view text, size_t longest) {
  std::string clean;
  while (!text.empty() && clean.size() < longest) {
    const auto byte = static_cast<unsigned char>(text[0]);
    size_t length = 1;
    if (text[0] == kEscape) {
      length = EscapeLength(text);
    } else if (byte < 0x20 || byte == 0x7f) {
      clean += ' ';
    } else if (length = Utf8Length(text); length == 0) {
      clean += "\xef\xbf\xbd";
      length = 1;
    } else if (clean.size() + length <= longest) {
      clean += text.substr(0, length);
    } else {
      return clean;
    }
    text.remove_prefix(length);
  }
  return clean;
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const size_t start = text.find_first_not_of(kSpace);
  if (start == std::string_view::npos) return {};
  return text.substr(start, text.find_last_not_of(kSpace) - start + 1);
}

}  // namespace trainyard::program
