#include "coordinator/source/python_file.h"

#include <time.h>
#include <tree_sitter/api.h>

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

extern "C" const TSLanguage* tree_sitter_python(void);

namespace trainyard::coordinator {
namespace {

using Type = std::string_view;

constexpr int kNamePartsMax = 32;
constexpr size_t kNameBytesMax = 256;
constexpr int kArgumentsMax = 16;
constexpr size_t kStringsMax = 6;
constexpr size_t kStringBytesMax = 200;
constexpr uint32_t kStatementBytesMax = 300;

Type TypeOf(TSNode node) { return ts_node_is_null(node) ? Type() : Type(ts_node_type(node)); }

TSNode Field(TSNode node, std::string_view name) {
  return ts_node_child_by_field_name(node, name.data(), name.size());
}

// The kinds of nodes that matter, by the number that the grammar gives each.
enum class Kind : uint8_t {
  kOther,
  kComment,
  kImport,
  kPython2,
  kDefinition,
  kIf,
  kBlock,
  kText,
  kCall,
  kAssignment,
  kAugmented,
  kName,
};

Kind KindOf(TSNode node) {
  static const std::vector<Kind> kKinds = [] {
    const TSLanguage* language = tree_sitter_python();
    std::vector<Kind> kinds(ts_language_symbol_count(language));
    for (const auto& [name, kind] : std::initializer_list<std::pair<std::string_view, Kind>>{
             {"comment", Kind::kComment},
             {"import_statement", Kind::kImport},
             {"import_from_statement", Kind::kImport},
             {"print_statement", Kind::kPython2},
             {"exec_statement", Kind::kPython2},
             {"function_definition", Kind::kDefinition},
             {"class_definition", Kind::kDefinition},
             {"if_statement", Kind::kIf},
             {"block", Kind::kBlock},
             {"string_content", Kind::kText},
             {"call", Kind::kCall},
             {"assignment", Kind::kAssignment},
             {"augmented_assignment", Kind::kAugmented},
             {"attribute", Kind::kName},
             {"identifier", Kind::kName}}) {
      for (TSSymbol symbol = 0; symbol < kinds.size(); ++symbol) {
        if (name == ts_language_symbol_name(language, symbol)) kinds[symbol] = kind;
      }
    }
    return kinds;
  }();
  const TSSymbol symbol = ts_node_symbol(node);
  return symbol < kKinds.size() ? kKinds[symbol] : Kind::kOther;
}

int LineOf(TSNode node) { return static_cast<int>(ts_node_start_point(node).row) + 1; }

class Cursor {
 public:
  explicit Cursor(TSNode node) : cursor_(ts_tree_cursor_new(node)) {}
  ~Cursor() { ts_tree_cursor_delete(&cursor_); }
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;

  TSNode node() const { return ts_tree_cursor_current_node(&cursor_); }
  std::string_view field() const {
    const char* name = ts_tree_cursor_current_field_name(&cursor_);
    return name == nullptr ? std::string_view() : std::string_view(name);
  }
  bool Down() { return ts_tree_cursor_goto_first_child(&cursor_); }
  bool Next() { return ts_tree_cursor_goto_next_sibling(&cursor_); }
  bool Up() { return ts_tree_cursor_goto_parent(&cursor_); }

 private:
  TSTreeCursor cursor_;
};

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Whether the names in `text` speak of a step down a gradient.
bool NamesRateOrGradient(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (!IsNameByte(text[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < text.size() && IsNameByte(text[end])) ++end;
    std::string word(text.substr(i, end - i));
    i = end;
    std::transform(word.begin(), word.end(), word.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (word == "lr" || word == "alpha" || word == "eta" || word.ends_with("_lr") ||
        word.find("rate") != word.npos || word.find("step_size") != word.npos ||
        word.find("grad") != word.npos) {
      return true;
    }
  }
  return false;
}

bool OneOf(Type type, std::initializer_list<Type> types) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

// Walks over the tree once, without recursion: how deep code nests is up to who wrote it.
class Reader {
 public:
  Reader(std::string_view text, PythonFile* file) : text_(text), file_(file) {
    file_->scopes = {{"", 1}, {"", 1}};
  }

  void Read(TSNode root) {
    Cursor cursor(root);
    std::vector<TSNode> parents = {root};
    for (;;) {
      // A scope that was opened at some depth holds what lies deeper.
      while (!open_.empty() && open_.back().depth >= parents.size()) open_.pop_back();
      if (const TSNode node = cursor.node(); Visit(cursor, parents) && cursor.Down()) {
        parents.push_back(node);
        continue;
      }
      while (!cursor.Next()) {
        if (!cursor.Up()) return Prune();
        parents.pop_back();
      }
    }
  }

 private:
  struct Open {
    int scope;
    size_t depth;
  };

  std::string_view Text(TSNode node) const {
    const uint32_t start = ts_node_start_byte(node);
    return text_.substr(start, ts_node_end_byte(node) - start);
  }
  int scope() const { return open_.empty() ? kModuleScope : open_.back().scope; }

  // Whether to look at what is inside.
  bool Visit(const Cursor& cursor, const std::vector<TSNode>& parents) {
    const TSNode node = cursor.node();
    if ((ts_node_is_error(node) || ts_node_is_missing(node)) && file_->error_line == 0) {
      file_->error_line = LineOf(node);
    }
    switch (KindOf(node)) {
      case Kind::kComment:
        return false;
      case Kind::kImport:
        ReadImport(node);
        return false;
      case Kind::kPython2:
        if (file_->python2_line == 0) file_->python2_line = LineOf(node);
        break;
      case Kind::kDefinition:
        if (open_.empty()) {
          OpenScope(node, parents.size(), TypeOf(parents.back()) == "decorated_definition");
        }
        break;
      case Kind::kIf:
        if (open_.empty() && IsMainGuard(node)) main_block_ = Field(node, "consequence").id;
        break;
      case Kind::kBlock:
        if (node.id == main_block_) open_.push_back({kMainScope, parents.size()});
        break;
      case Kind::kText:
        if (file_->parameters_line == 0 && Text(node) == "TRAINYARD_PARAMS_FILE") {
          file_->parameters_line = LineOf(node);
        }
        break;
      case Kind::kCall:
        AddCall(node);
        break;
      case Kind::kAssignment:
        ReadAssignment(node);
        break;
      case Kind::kAugmented:
        ReadDescent(node, Field(node, "right"));
        break;
      case Kind::kName:
        if (IsUse(cursor.field(), TypeOf(parents.back()))) {
          AddUse({DottedName(node), LineOf(node), scope()});
        }
        break;
      case Kind::kOther:
        break;
    }
    return true;
  }

  // A name that is neither part of a longer one nor bound here.
  static bool IsUse(std::string_view field, Type parent) {
    if (field == "function" && parent == "call") return false;
    if (parent == "attribute" && OneOf(field, {"object", "attribute"})) return false;
    return !OneOf(field, {"name", "left", "alias"}) &&
           !OneOf(parent, {"parameters", "lambda_parameters", "typed_parameter", "pattern_list",
                           "tuple_pattern", "list_splat_pattern", "dictionary_splat_pattern"});
  }

  bool IsMainGuard(TSNode node) const {
    const std::string_view condition = Text(Field(node, "condition")).substr(0, 80);
    return condition.find("__name__") != condition.npos &&
           condition.find("__main__") != condition.npos;
  }

  void OpenScope(TSNode node, size_t depth, bool decorated) {
    if (file_->scopes.size() >= kScopesMax) return;
    open_.push_back({static_cast<int>(file_->scopes.size()), depth});
    file_->scopes.push_back({std::string(Text(Field(node, "name"))), LineOf(node), decorated});
  }

  // "a.b().c" of an expression; see PythonUse.
  std::string DottedName(TSNode node) const {
    std::vector<std::string_view> parts;
    size_t bytes = 0;
    while (parts.size() < kNamePartsMax && bytes < kNameBytesMax) {
      const Type type = TypeOf(node);
      if (type == "attribute") {
        parts.push_back(Text(Field(node, "attribute")));
        parts.push_back(".");
        node = Field(node, "object");
      } else if (type == "call") {
        parts.push_back("()");
        node = Field(node, "function");
      } else if (type == "subscript") {
        parts.push_back("[]");
        node = Field(node, "value");
      } else if (OneOf(type, {"parenthesized_expression", "await"})) {
        node = ts_node_named_child(node, 0);
        continue;
      } else {
        parts.push_back(type == "identifier" ? Text(node) : "?");
        std::string name;
        for (auto part = parts.rbegin(); part != parts.rend(); ++part) name += *part;
        return name;
      }
      bytes += parts.back().size() + 1;
    }
    return "?";
  }

  void AddUse(PythonUse use) {
    if (use.name == "?" || file_->uses.size() >= kUsesMax) return;
    if (use.strings.empty() && !seen_.emplace(use.scope, use.called, use.name).second) return;
    file_->uses.push_back(std::move(use));
  }

  void AddCall(TSNode node) {
    PythonUse use{DottedName(Field(node, "function")), LineOf(node), scope(), true,
                  StringsOf(Field(node, "arguments"))};
    if (IsImportCall(use.name) && !use.strings.empty()) {
      AddImportCall(use.strings[0], "", use.line);
    }
    AddUse(std::move(use));
  }

  static bool IsImportCall(std::string_view name) {
    return OneOf(name, {"importlib.import_module", "import_module", "__import__"});
  }

  // "models." + name: all that is in there may be meant.
  void AddImportCall(const std::string& module, std::string as, int line) {
    const size_t end = module.find_last_not_of('.');
    if (end == module.npos) return;
    const bool all = end + 1 < module.size();
    AddImport({module.substr(0, end + 1), 0, all ? "**" : "", std::move(as), line, scope()});
  }

  std::string StringOf(TSNode node) const {
    std::string text;
    Cursor cursor(node);
    for (bool more = cursor.Down(); more && text.size() < kStringBytesMax; more = cursor.Next()) {
      if (TypeOf(cursor.node()) == "interpolation") break;  // the beginning is known, no more
      if (TypeOf(cursor.node()) == "string_content") text += Text(cursor.node());
    }
    return text.substr(0, kStringBytesMax);
  }

  void AddString(TSNode node, std::vector<std::string>* strings) const {
    if (strings->size() >= kStringsMax) return;
    const Type type = TypeOf(node);
    if (type == "string") strings->push_back(StringOf(node));
    if (type == "list" && ts_node_named_child_count(node) == 0) strings->push_back("[]");
  }

  std::vector<std::string> StringsOf(TSNode arguments) const {
    std::vector<std::string> strings;
    if (TypeOf(arguments) != "argument_list") return strings;
    Cursor cursor(arguments);
    int seen = 0;
    for (bool more = cursor.Down(); more && seen < kArgumentsMax; more = cursor.Next(), ++seen) {
      const TSNode argument = cursor.node();
      const Type type = TypeOf(argument);
      if (type == "keyword_argument") {
        AddString(Field(argument, "value"), &strings);
      } else if (type == "binary_operator") {
        AddString(Field(argument, "left"), &strings);
      } else if (type == "conditional_expression") {
        AddString(ts_node_named_child(argument, 0), &strings);
        AddString(ts_node_named_child(argument, 2), &strings);
      } else {
        AddString(argument, &strings);
      }
    }
    return strings;
  }

  void ReadAssignment(TSNode node) {
    const TSNode left = Field(node, "left");
    const TSNode right = Field(node, "right");
    const Type type = TypeOf(right);
    if (TypeOf(left) == "subscript") {
      if (type != "string") return;
      const std::string name = DottedName(Field(left, "value"));
      AddUse({name + "[]=",
              LineOf(node),
              scope(),
              true,
              {StringOf(Field(left, "subscript")), StringOf(right)}});
    } else if (OneOf(TypeOf(left), {"identifier", "attribute"})) {
      if (type == "binary_operator" && Text(Field(right, "left")) == Text(left)) {
        ReadDescent(node, right);
      }
      if (!OneOf(type, {"call", "identifier", "attribute"})) return;
      const std::string name = DottedName(left);
      if (type == "call" && IsImportCall(DottedName(Field(right, "function")))) {
        const auto strings = StringsOf(Field(right, "arguments"));
        if (!strings.empty()) AddImportCall(strings[0], name, LineOf(node));
      } else if (file_->assignments.size() < kUsesMax) {
        file_->assignments.push_back({name, DottedName(right)});
      }
    }
  }

  void ReadDescent(TSNode node, TSNode right) {
    if (ts_node_end_byte(node) - ts_node_start_byte(node) > kStatementBytesMax) return;
    const TSNode sign =
        Field(TypeOf(right) == "binary_operator" && TypeOf(node) == "assignment" ? right : node,
              "operator");
    if (ts_node_is_null(sign) || !OneOf(Text(sign), {"-=", "+=", "-", "+"})) return;
    const std::string_view value = Text(right);
    if (value.find('*') == value.npos || !NamesRateOrGradient(value)) return;
    if (file_->descents.size() < kUsesMax) file_->descents.push_back({LineOf(node), scope()});
  }

  void AddImport(PythonImport import) {
    if (file_->imports.size() < kImportsMax) file_->imports.push_back(std::move(import));
  }

  void ReadImport(TSNode node) {
    PythonImport import;
    import.line = LineOf(node);
    import.scope = scope();
    const bool from = TypeOf(node) == "import_from_statement";
    Cursor cursor(node);
    for (bool more = cursor.Down(); more; more = cursor.Next()) {
      const TSNode child = cursor.node();
      if (cursor.field() == "module_name") {
        ReadModule(child, &import);
      } else if (TypeOf(child) == "wildcard_import") {
        import.name = "*";
        AddImport(import);
      } else if (cursor.field() == "name") {
        const bool aliased = TypeOf(child) == "aliased_import";
        const std::string name(Text(aliased ? Field(child, "name") : child).substr(0, 200));
        import.as = aliased ? Text(Field(child, "alias")) : std::string_view();
        if (from) {
          import.name = name;
          if (!aliased) import.as = name;
        } else {
          import.module = name;
        }
        AddImport(import);
      }
    }
  }

  void ReadModule(TSNode node, PythonImport* import) const {
    std::string_view name = Text(node).substr(0, 200);
    while (!name.empty() && OneOf(name.substr(0, 1), {".", " ", "\t"})) {
      if (name[0] == '.') ++import->level;
      name.remove_prefix(1);
    }
    import->module = std::string(name);
  }

  // Forgets plain names that nothing in the file binds: variables and what Python brings.
  void Prune() {
    std::set<std::string_view> bound = {"eval", "exec", "globals"};
    bool star = false;
    for (const PythonScope& scope : file_->scopes) bound.insert(scope.name);
    for (const PythonAssignment& assignment : file_->assignments) bound.insert(assignment.name);
    for (const PythonImport& import : file_->imports) {
      star = star || import.name == "*";
      const std::string_view module = import.module;
      bound.insert(import.as.empty() ? module.substr(0, module.find('.')) : import.as);
    }
    if (star) return;
    std::erase_if(file_->uses, [&](const PythonUse& use) {
      return use.name.find('.') == use.name.npos &&
             !bound.contains(std::string_view(use.name).substr(0, use.name.find_first_of("([")));
    });
  }

  static constexpr size_t kScopesMax = 10'000;
  static constexpr size_t kUsesMax = 50'000;
  static constexpr size_t kImportsMax = 5'000;

  const std::string_view text_;
  PythonFile* const file_;
  std::vector<Open> open_;
  const void* main_block_ = nullptr;
  std::set<std::tuple<int, bool, std::string>> seen_;
};

// Hands the text to the parser in pieces, and ends it when the time is up.
struct Input {
  static constexpr size_t kPieceBytes = 2'048;

  static const char* Read(void* self, uint32_t byte, TSPoint, uint32_t* bytes) {
    Input& input = *static_cast<Input*>(self);
    if (ThreadCpuTime() >= input.end) input.cancelled = 1;
    const std::string_view piece =
        input.text.substr(std::min<size_t>(byte, input.text.size()), kPieceBytes);
    *bytes = static_cast<uint32_t>(piece.size());
    return piece.data();
  }

  std::string_view text;
  std::chrono::microseconds end;
  size_t cancelled = 0;
};

struct Delete {
  void operator()(TSParser* parser) const { ts_parser_delete(parser); }
  void operator()(TSTree* tree) const { ts_tree_delete(tree); }
};

}  // namespace

std::chrono::microseconds ThreadCpuTime() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_nsec / 1'000);
}

bool ParsePython(std::string_view text, std::chrono::microseconds limit, PythonFile* file) {
  *file = {};
  const std::unique_ptr<TSParser, Delete> parser(ts_parser_new());
  ts_parser_set_language(parser.get(), tree_sitter_python());
  Input input{text, ThreadCpuTime() + limit};
  ts_parser_set_cancellation_flag(parser.get(), &input.cancelled);
  // What goes on for long within one piece: the parser itself knows no other clock.
  ts_parser_set_timeout_micros(parser.get(), std::max<int64_t>(1, 20 * limit.count()));
  const std::unique_ptr<TSTree, Delete> tree(
      ts_parser_parse(parser.get(), nullptr, {&input, Input::Read, TSInputEncodingUTF8}));
  if (tree == nullptr) return false;
  Reader(text, file).Read(ts_tree_root_node(tree.get()));
  return true;
}

}  // namespace trainyard::coordinator
