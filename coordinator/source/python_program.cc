#include "coordinator/source/python_program.h"

#include <algorithm>
#include <utility>

namespace trainyard::coordinator {
namespace {

constexpr int kStepsMax = 32;
constexpr size_t kNameBytesMax = 512;
constexpr size_t kStarsMax = 64;

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == path.npos ? "" : path.substr(0, slash);
}

std::string Join(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

std::string_view Root(std::string_view module) { return module.substr(0, module.find('.')); }

// "a.b().c" -> "a" and ".b().c".
std::pair<std::string, std::string> SplitHead(const std::string& name) {
  size_t end = name.find_first_of(".([");
  if (name.starts_with("self.")) end = name.find_first_of(".([", 5);
  if (end == name.npos) return {name, ""};
  return {name.substr(0, end), name.substr(end)};
}

}  // namespace

PythonProgram::PythonProgram(std::map<std::string, PythonFile> files,
                             std::function<bool(std::string_view)> is_package)
    : is_package_(std::move(is_package)) {
  for (auto& [path, file] : files) {
    by_path_[path] = this->files();
    for (std::string folder = FolderOf(path); !folder.empty(); folder = FolderOf(folder)) {
      if (!folders_.insert(folder).second) break;
    }
    first_.push_back(scopes_);
    scopes_ += static_cast<Code>(file.scopes.size());
    paths_.push_back(path);
    files_.push_back(std::move(file));
  }
  edges_.resize(scopes_ + files_.size());
  wide_edges_.resize(scopes_ + files_.size());
  bindings_.resize(files_.size());
  stars_.resize(files_.size());
  closures_.resize(files_.size());
  outside_stars_.resize(files_.size());
  packages_.resize(files_.size());
  import_folders_.resize(files_.size());
  meanings_.resize(files_.size());
  for (int file = 0; file < this->files(); ++file) BindAll(file);
  for (int file = 0; file < this->files(); ++file) FollowStars(file);
  for (int file = 0; file < this->files(); ++file) Connect(file);
}

int PythonProgram::Find(const std::string& path) const {
  const auto found = by_path_.find(path);
  return found == by_path_.end() ? -1 : found->second;
}

PythonProgram::Place PythonProgram::PlaceOf(Code code) const {
  const auto after = std::upper_bound(first_.begin(), first_.end(), code);
  const int file = static_cast<int>(after - first_.begin()) - 1;
  return {file, code - first_[file]};
}

int PythonProgram::FindModule(const std::string& folder, const std::string& module) const {
  const Module found = Locate(folder, module);
  if (found.file < 0 || found.folder.empty()) return found.file;
  const int main = Find(Join(found.folder, "__main__.py"));  // what -m starts of a package
  return main >= 0 ? main : found.file;
}

int PythonProgram::FindScope(int file, std::string_view name) const {
  const std::vector<PythonScope>& scopes = files_[file].scopes;
  for (size_t i = kMainScope + 1; i < scopes.size(); ++i) {
    if (scopes[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

PythonProgram::Module PythonProgram::Locate(const std::string& base, std::string module) const {
  std::replace(module.begin(), module.end(), '.', '/');
  const std::string path = module.empty() ? base : Join(base, module);
  if (const int file = Find(path + ".py"); file >= 0 && !module.empty()) return {file};
  const int package = Find(Join(path, "__init__.py"));
  if (package >= 0 || folders_.contains(path)) return {package, path};
  return {};
}

// `base`: the folder in which it was found.
PythonProgram::Module PythonProgram::LocateFrom(int file, int level, const std::string& module,
                                                std::string* base) const {
  *base = FolderOf(paths_[file]);
  if (level > 0) {
    std::string folder = *base;
    for (int up = 1; up < level && !folder.empty(); ++up) folder = FolderOf(folder);
    return Locate(folder, module);
  }
  const auto is_it = [&](const Module& found) {
    const bool only_folder = found.file < 0 && is_package_(Root(module));
    return found.found() && found.file != file && !only_folder;
  };
  // Where Python looks: the folder of the script, and the one that it was started in.
  for (;; *base = FolderOf(*base)) {
    if (Module found = Locate(*base, module); is_it(found)) return found;
    if (base->empty()) break;
  }
  *base = "src";
  Module found = Locate(*base, module);
  return is_it(found) ? found : Module{};
}

// The file imports what lies in `base`, or, if that is its own folder, from its own package.
void PythonProgram::NoteFolder(int file, const std::string& base) {
  if (base != FolderOf(paths_[file])) import_folders_[file] = base;
}

PythonProgram::Module PythonProgram::Below(const Module& package, const std::string& name) const {
  return package.folder.empty() ? Module{} : Locate(package.folder, name);
}

void PythonProgram::Bind(int file, const std::string& name, Binding binding) {
  if (name.empty() || !bindings_[file].emplace(name, std::move(binding)).second) return;
  binders_[name].push_back(file);  // files come in ascending order
}

void PythonProgram::BindAll(int file) {
  using Kind = Binding::Kind;
  const PythonFile& code = files_[file];
  for (size_t i = kMainScope + 1; i < code.scopes.size(); ++i) {
    Bind(file, code.scopes[i].name, {Kind::kDefinition, "", {}, static_cast<int>(i)});
  }
  for (const PythonImport& import : code.imports) {
    import.name.empty() || import.name == "**" ? BindImport(file, import) : BindFrom(file, import);
  }
  for (const PythonAssignment& assignment : code.assignments) {
    if (SplitHead(assignment.value).first == assignment.name) continue;
    Bind(file, assignment.name, {Kind::kAlias, assignment.value});
  }
}

// `import a.b`, `import a.b as c`, and what is asked of importlib.
void PythonProgram::BindImport(int file, const PythonImport& import) {
  using Kind = Binding::Kind;
  const Code from = CodeOf(file, import.scope);
  std::string base;
  const Module module = LocateFrom(file, 0, import.module, &base);
  const std::string root(Root(import.module));
  if (!module.found()) {
    packages_[file].emplace(root, import.line);
    Bind(file, import.as.empty() ? root : import.as,
         {Kind::kOutside, import.as.empty() ? root : import.module});
    return;
  }
  if (module.file >= 0) AddEdge(from, CodeOf(module.file, kModuleScope), false);
  if (import.name == "**") {
    const std::string prefix = module.folder + "/";
    for (auto it = by_path_.lower_bound(prefix);
         it != by_path_.end() && it->first.starts_with(prefix); ++it) {
      ConnectWhole(from, it->second);
    }
  }
  NoteFolder(file, base);
  const bool whole = !import.as.empty();
  Bind(file, whole ? import.as : root,
       {Kind::kModule, "", whole ? module : LocateFrom(file, 0, root, &base)});
}

// `from module import name`.
void PythonProgram::BindFrom(int file, const PythonImport& import) {
  using Kind = Binding::Kind;
  const Code from = CodeOf(file, import.scope);
  std::string base;
  const Module module = LocateFrom(file, import.level, import.module, &base);
  if (!module.found()) {
    if (import.level > 0) return;
    packages_[file].emplace(std::string(Root(import.module)), import.line);
    if (import.name == "*") {
      if (is_package_(Root(import.module))) outside_stars_[file].push_back(import.module);
    } else {
      Bind(file, import.as, {Kind::kOutside, import.module + "." + import.name});
    }
    return;
  }
  if (module.file >= 0) AddEdge(from, CodeOf(module.file, kModuleScope), false);
  if (import.level > 0) {  // only a module of a package may do that
    for (int up = 0; up < import.level || Find(Join(base, "__init__.py")) >= 0; ++up) {
      if (base.empty()) break;
      base = FolderOf(base);
    }
  }
  NoteFolder(file, base);
  if (import.name == "*") {
    if (module.file >= 0) stars_[file].push_back(module.file);
    return;
  }
  if (const Module below = Below(module, import.name); below.found()) {
    if (below.file >= 0) AddEdge(from, CodeOf(below.file, kModuleScope), false);
    Bind(file, import.as, {Kind::kModule, "", below});
  } else if (module.file >= 0) {
    Bind(file, import.as, {Kind::kFrom, import.name, module});
  }
}

void PythonProgram::AddEdge(Code from, Code to, bool wide) {
  if (from != to) (wide ? wide_edges_ : edges_)[from].push_back(to);
}

void PythonProgram::Connect(int file) {
  const PythonFile& code = files_[file];
  meanings_[file].reserve(code.uses.size());
  for (const PythonUse& use : code.uses) {
    const Code from = CodeOf(file, use.scope);
    const Resolved resolved = Resolve(file, use.name);
    if (resolved.file >= 0 && resolved.scope >= 0) {
      AddEdge(from, CodeOf(resolved.file, resolved.scope), false);
    } else if (resolved.file >= 0) {
      ConnectWhole(from, resolved.file);
    } else if (use.name == "globals" || use.name == "eval" || use.name == "exec") {
      ConnectWhole(from, file);
    } else if (resolved.outside == "fire.Fire") {
      for (size_t i = kMainScope + 1; i < code.scopes.size(); ++i) {
        AddEdge(from, CodeOf(file, static_cast<int>(i)), false);
      }
    }
    meanings_[file].push_back(resolved.outside);
  }
  AddEdge(scopes_ + file, CodeOf(file, kModuleScope), true);
  for (size_t i = kMainScope + 1; i < code.scopes.size(); ++i) {
    AddEdge(scopes_ + file, CodeOf(file, static_cast<int>(i)), true);
    if (!code.scopes[i].decorated) continue;
    AddEdge(CodeOf(file, kMainScope), CodeOf(file, static_cast<int>(i)), false);
    AddEdge(CodeOf(file, kModuleScope), CodeOf(file, static_cast<int>(i)), true);
  }
}

void PythonProgram::FollowStars(int file) {
  std::vector<int>& closure = closures_[file];
  closure = {file};
  for (size_t i = 0; i < closure.size(); ++i) {
    for (const int next : stars_[closure[i]]) {
      if (closure.size() >= kStarsMax) return;
      if (std::find(closure.begin(), closure.end(), next) == closure.end()) closure.push_back(next);
    }
  }
}

// The binding of a name in a file or in those that it takes all names from; `where` is the file
// that has it. Null: none.
const PythonProgram::Binding* PythonProgram::Lookup(int file, const std::string& name, int* where,
                                                    Binding* star) const {
  const auto binders = binders_.find(name);
  for (const int next : closures_[file]) {
    if (binders == binders_.end()) break;
    const std::vector<int>& files = binders->second;
    if (!std::binary_search(files.begin(), files.end(), next)) continue;
    *where = next;
    return &bindings_[next].find(name)->second;
  }
  *where = file;
  for (const int next : closures_[file]) {
    for (const std::string& module : outside_stars_[next]) {
      *star = {Binding::Kind::kOutside, module + "." + name};
      return star;
    }
  }
  return nullptr;
}

PythonProgram::Resolved PythonProgram::Resolve(int file, std::string name) const {
  using Kind = Binding::Kind;
  int module = -1;  // that the name was last looked up in
  for (int step = 0; step < kStepsMax && name.size() <= kNameBytesMax; ++step) {
    auto [head, rest] = SplitHead(name);
    int where = file;
    Binding star;
    const Binding* binding = Lookup(file, head, &where, &star);
    if (binding == nullptr) return {"", module, -1};
    switch (binding->kind) {
      case Kind::kOutside:
        return {binding->name + rest};
      case Kind::kDefinition:
        return {"", where, binding->scope};
      case Kind::kAlias:
        file = where;
        name = binding->name + rest;
        break;
      case Kind::kFrom:
        file = binding->module.file;
        name = binding->name + rest;
        break;
      case Kind::kModule: {
        Module found = binding->module;
        std::string next;
        while (rest.starts_with('.')) {
          std::tie(next, rest) = SplitHead(rest.substr(1));
          const Module below = Below(found, next);
          if (!below.found()) break;
          found = below;
          next.clear();
        }
        module = found.file;
        if (next.empty() || found.file < 0) return {"", found.file, -1};
        file = found.file;
        name = next + rest;
      }
    }
  }
  return {};
}

std::vector<PythonProgram::Code> PythonProgram::Start(int file) const {
  return {CodeOf(file, kModuleScope), CodeOf(file, kMainScope)};
}

std::vector<PythonProgram::Code> PythonProgram::Reach(const std::vector<Code>& from,
                                                      bool wide) const {
  std::vector<bool> seen(edges_.size());
  std::vector<Code> reached;
  const auto add = [&](Code code) {
    if (seen[code]) return;
    seen[code] = true;
    reached.push_back(code);
  };
  for (const Code code : from) add(code);
  for (size_t i = 0; i < reached.size(); ++i) {
    for (const Code next : edges_[reached[i]]) add(next);
    if (!wide) continue;
    for (const Code next : wide_edges_[reached[i]]) add(next);
  }
  std::erase_if(reached, [&](Code code) { return code >= scopes_; });
  return reached;
}

std::vector<bool> PythonProgram::Reaching(const std::vector<Code>& targets) const {
  std::vector<std::vector<Code>> back(edges_.size());
  for (size_t from = 0; from < edges_.size(); ++from) {
    for (const Code to : edges_[from]) back[to].push_back(static_cast<Code>(from));
  }
  std::vector<bool> seen(edges_.size());
  std::vector<Code> queue;
  const auto add = [&](Code code) {
    if (seen[code]) return;
    seen[code] = true;
    queue.push_back(code);
  };
  for (const Code code : targets) add(code);
  for (size_t i = 0; i < queue.size(); ++i) {
    for (const Code next : back[queue[i]]) add(next);
  }
  return seen;
}

}  // namespace trainyard::coordinator
