#include "cli/style.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstdlib>

#include "cli/text.h"

namespace trainyard::cli {
namespace {

constexpr int kGap = 2;         // columns between two columns of a table
constexpr int kMaxWidth = 100;  // wider lines are hard to read
constexpr int kNarrowestWrap = 16;

const char* CodeOf(Colour colour) {
  switch (colour) {
    case Colour::kPlain:
      return "0";
    case Colour::kBold:
      return "1";
    case Colour::kDim:
      return "2";
    case Colour::kRed:
      return "31";
    case Colour::kGreen:
      return "32";
    case Colour::kYellow:
      return "33";
    case Colour::kBlue:
      return "34";
    case Colour::kMagenta:
      return "35";
    case Colour::kCyan:
      return "36";
  }
  return "0";
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// True unless the locale says otherwise: terminals of today show UTF-8, also where no locale is
// set.
bool ShowsUnicode(const std::string& term) {
  if (term == "dumb" || term == "linux") return false;
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string value = Variable(name);
    if (value.empty()) continue;
    std::transform(value.begin(), value.end(), value.begin(), ::tolower);
    return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return true;
}

}  // namespace

std::string Style::Paint(Colour which, std::string_view text) const {
  if (!colour || which == Colour::kPlain || text.empty()) return std::string(text);
  return std::string("\x1b[") + CodeOf(which) + "m" + std::string(text) + "\x1b[0m";
}

Style StyleOf(int descriptor) {
  Style style;
  style.terminal = isatty(descriptor) == 1;
  if (!style.terminal) return style;
  const std::string term = Variable("TERM");
  style.colour = Variable("NO_COLOR").empty() && term != "dumb";
  style.unicode = ShowsUnicode(term);
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) style.width = size.ws_col;
  if (term == "dumb") style.terminal = false;  // it cannot redraw
  return style;
}

std::vector<int> Table::Widths(int total) const {
  std::vector<int> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    int width = Width(columns_[c].title);
    for (const auto& row : rows_) {
      for (const auto& line : Wrap(row[c].text, 1 << 20)) width = std::max(width, Width(line));
    }
    widths.push_back(width);
  }
  int sum = kGap * (static_cast<int>(columns_.size()) - 1);
  for (const int width : widths) sum += width;
  while (sum > total) {  // one column at a time, from whichever wrapping column is the widest
    int widest = -1;
    for (size_t c = 0; c < columns_.size(); ++c) {
      if (!columns_[c].wraps || widths[c] <= kNarrowestWrap) continue;
      if (widest < 0 || widths[c] > widths[widest]) widest = static_cast<int>(c);
    }
    if (widest < 0) break;
    --widths[widest];
    --sum;
  }
  return widths;
}

std::string Table::Render(const Style& style) const {
  const std::vector<int> widths = Widths(std::min(style.width, kMaxWidth));
  std::string out;
  const auto add_line = [&](const std::vector<std::pair<std::string, Colour>>& cells) {
    std::string line;
    int pending = 0;  // spaces that only count when text follows
    for (size_t c = 0; c < cells.size(); ++c) {
      const auto& [text, colour] = cells[c];
      const int padding = widths[c] - Width(text);
      if (columns_[c].right) pending += padding;
      if (!text.empty()) {
        line += std::string(std::max(0, pending), ' ') + style.Paint(colour, text);
        pending = 0;
      }
      if (!columns_[c].right || text.empty()) pending += columns_[c].right ? 0 : padding;
      pending += kGap;
    }
    out += line + "\n";
  };
  std::vector<std::pair<std::string, Colour>> titles;
  for (const auto& column : columns_) titles.emplace_back(column.title, Colour::kBold);
  add_line(titles);
  for (const auto& row : rows_) {
    assert(row.size() == columns_.size());
    std::vector<std::vector<std::string>> wrapped;
    size_t height = 1;
    for (size_t c = 0; c < row.size(); ++c) {
      wrapped.push_back(Wrap(row[c].text, columns_[c].wraps ? widths[c] : 1 << 20));
      height = std::max(height, wrapped.back().size());
    }
    for (size_t i = 0; i < height; ++i) {
      std::vector<std::pair<std::string, Colour>> cells;
      for (size_t c = 0; c < row.size(); ++c) {
        cells.emplace_back(i < wrapped[c].size() ? wrapped[c][i] : "", row[c].colour);
      }
      add_line(cells);
    }
  }
  return out;
}

}  // namespace trainyard::cli
