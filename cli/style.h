// How output looks: colours, symbols and width of where it goes, and tables.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trainyard::cli {

enum class Colour { kPlain, kBold, kDim, kRed, kGreen, kYellow, kBlue, kMagenta, kCyan };

struct Style {
  bool terminal = false;  // a person watches: lines are wrapped, and a view may redraw itself
  bool colour = false;
  bool unicode = false;
  int width = 100;  // columns

  std::string Paint(Colour colour, std::string_view text) const;
};

// Of the file descriptor that output goes to; obeys NO_COLOR, TERM and the locale.
Style StyleOf(int descriptor);

struct Cell {
  Cell(std::string text) : text(std::move(text)) {}
  Cell(const char* text) : text(text) {}
  Cell(std::string text, Colour colour) : text(std::move(text)), colour(colour) {}
  std::string text;  // may have several lines
  Colour colour = Colour::kPlain;
};

// Rows under titles. Columns are as wide as they need to be; what exceeds the style's width is
// taken from the columns that may wrap.
class Table {
 public:
  struct Column {
    std::string title;
    bool right = false;
    bool wraps = false;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // One cell a column.
  void Add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  std::string Render(const Style& style) const;

 private:
  std::vector<int> Widths(int total) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace trainyard::cli
