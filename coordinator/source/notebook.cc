#include "coordinator/source/notebook.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {
namespace {

using Json = nlohmann::json;

constexpr size_t kDepthMax = 200;

// Takes the code out of the JSON as it goes by. A cell is an object in a list called "cells"; its
// text is called "source" (or "input", before format 4) and is a string or a list of strings.
class Listener final : public nlohmann::json_sax<Json> {
 public:
  explicit Listener(size_t bytes_max) : bytes_max_(bytes_max) {}

  std::vector<std::pair<int, std::string>> TakeCells() { return std::move(code_); }
  const std::string& language() const { return language_; }
  bool has_cells() const { return has_cells_; }
  const std::string& problem() const { return problem_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }

  bool string(string_t& value) override {
    const std::string& name = open_.empty() ? kNone : open_.back();
    if (cell_depth_ != 0 && open_.size() <= cell_depth_ + 1) {
      const bool in_list = open_.size() == cell_depth_ + 1;
      const std::string& of = in_list ? name : key_;
      if (!in_list && key_ == "cell_type") type_ = value;
      if (of == "source" || of == "input") AddText(value);
    } else if (open_.size() == 3 && name == "language_info" && key_ == "name") {
      language_ = value;
    }
    return true;
  }

  bool key(string_t& value) override {
    key_ = value.substr(0, 100);
    return true;
  }
  bool start_object(size_t) override {
    const bool in_cells = !open_.empty() && open_.back() == "cells" && cell_depth_ == 0;
    if (!Open()) return false;
    if (in_cells) {
      cell_depth_ = open_.size();
      ++cell_;
      type_.clear();
      text_.clear();
    }
    return true;
  }
  bool end_object() override {
    if (open_.size() == cell_depth_) {
      cell_depth_ = 0;
      if (type_ == "code") code_.emplace_back(cell_, std::move(text_));
      text_.clear();
    }
    return Close();
  }
  bool start_array(size_t) override {
    has_cells_ = has_cells_ || key_ == "cells";
    return Open();
  }
  bool end_array() override { return Close(); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    problem_ = fmt::format("found no JSON at byte {}", position);
    return false;
  }

 private:
  // Each object and list goes by the key under which it stands.
  bool Open() {
    if (open_.size() >= kDepthMax) {
      problem_ = fmt::format("found JSON nested deeper than {} levels", kDepthMax);
      return false;
    }
    open_.push_back(std::exchange(key_, ""));
    return true;
  }
  bool Close() {
    open_.pop_back();
    key_.clear();
    return true;
  }

  void AddText(const std::string& text) {
    const size_t left = bytes_max_ - std::min(bytes_max_, bytes_);
    if (text.size() > left) return;
    text_ += text;
    bytes_ += text.size();
  }

  static inline const std::string kNone;

  const size_t bytes_max_;
  size_t bytes_ = 0;
  std::vector<std::string> open_;
  std::string key_;
  size_t cell_depth_ = 0;  // of open_ inside the cell; 0: in none
  int cell_ = 0;
  std::string type_;
  std::string text_;
  std::string language_;
  std::string problem_;
  bool has_cells_ = false;
  std::vector<std::pair<int, std::string>> code_;
};

std::string_view Stripped(std::string_view line) {
  const size_t start = line.find_first_not_of(" \t\r");
  return start == line.npos ? std::string_view() : line.substr(start);
}

// A magic at the top of a cell is for the whole cell: for most of them it holds no Python.
bool IsForeign(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\r\n");
  if (start == text.npos || !text.substr(start).starts_with("%%")) return false;
  const std::string_view magic = text.substr(start + 2);
  const std::string_view name = magic.substr(0, magic.find_first_of(" \t\r\n"));
  for (const std::string_view python : {"time", "timeit", "capture"}) {
    if (name == python) return false;
  }
  return true;
}

// Whether only Jupyter understands the line: a %magic, a !command, a question, `x = !command`.
bool IsMagic(std::string_view line) {
  if (line.empty()) return false;
  // A modulo at the start of a continued line has a space behind it.
  const bool magic = line[0] == '%' && line.size() > 1 &&
                     (line[1] == '%' || std::isalpha(static_cast<unsigned char>(line[1])));
  if (magic || line[0] == '!' || line[0] == '?') return true;
  if (line.back() == '?' && line.find('#') == line.npos) return true;
  const size_t equals = line.find('=');
  if (equals == line.npos) return false;
  // Names before it: a text with an equals sign in it is no assignment.
  const std::string_view names = line.substr(0, equals);
  const bool plain = std::all_of(names.begin(), names.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == ',' || c == ' ' || c == '\t';
  });
  if (!plain) return false;
  const std::string_view value = Stripped(line.substr(equals + 1));
  return !value.empty() && (value[0] == '%' || value[0] == '!');
}

int AppendCell(std::string_view text, std::string* python) {
  int lines = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::string_view stripped = Stripped(line);
    if (IsMagic(stripped)) {
      python->append(line.substr(0, line.size() - stripped.size()));
      python->append("pass");
    } else {
      python->append(line);
    }
    python->push_back('\n');
    ++lines;
  }
  return lines;
}

}  // namespace

NotebookCode::Cell NotebookCode::CellOf(int line) const {
  const auto after = std::upper_bound(cells.begin(), cells.end(), line,
                                      [](int l, const Cell& cell) { return l < cell.first_line; });
  return after == cells.begin() ? Cell{0, 1} : *std::prev(after);
}

absl::StatusOr<NotebookCode> ReadNotebook(std::string_view json, size_t code_bytes_max) {
  Listener listener(code_bytes_max);
  const bool parsed = Json::sax_parse(json, &listener);
  if (!parsed) {
    return absl::InvalidArgumentError(fmt::format("{}, expected a notebook", listener.problem()));
  }
  if (!listener.has_cells()) {
    return absl::InvalidArgumentError("found no cells, expected a notebook");
  }
  if (!listener.language().empty() && listener.language() != "python") {
    return absl::InvalidArgumentError(
        fmt::format("found a notebook in {}, expected python", Quoted(listener.language())));
  }
  NotebookCode code;
  int line = 1;
  for (const auto& [number, text] : listener.TakeCells()) {
    if (IsForeign(text)) continue;
    code.cells.push_back({number, line});
    line += AppendCell(text, &code.python);
  }
  return code;
}

}  // namespace trainyard::coordinator
