// Lines out of a stranger's stream of bytes, each bounded, whatever comes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace trainyard::program {

// Calls back for each line as a terminal would leave it: what stands before a carriage return or a
// backspace is overwritten by what follows, so that a progress bar is its last state. Of a line
// longer than `longest` bytes the start is handed on and the rest dropped.
class LineSplitter {
 public:
  using Sink = std::function<void(std::string_view line, bool cut)>;

  explicit LineSplitter(size_t longest) : longest_(longest) {}

  void Feed(std::string_view bytes, const Sink& sink);
  // What has no end of its own.
  void Flush(const Sink& sink);

 private:
  void Write(std::string_view piece);  // without line ends

  const size_t longest_;
  std::string line_;
  bool cut_ = false;
  bool overwritten_ = false;  // by the next character, unless that ends the line
};

// Text that is safe to log and to show: terminal escapes taken out, other control characters as
// spaces, bytes that are no UTF-8 as U+FFFD; at most `longest` bytes.
std::string CleanText(std::string_view text, size_t longest);

// Without spaces at either end.
std::string_view Trim(std::string_view text);

}  // namespace trainyard::program
