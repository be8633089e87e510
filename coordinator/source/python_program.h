// The Python files of one repository together: what a name means across files, and which code runs
// when one of them is started.
//
//   PythonProgram program(files, IsMachineLearning);
//   program.Meaning(file, use)            // "keras.layers.Conv2D", whatever it is called there
//   program.Reach(program.Start(file))    // all code that starting the file may run
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "coordinator/source/python_file.h"

namespace trainyard::coordinator {

class PythonProgram {
 public:
  // Code by number: all scopes of all files, file by file.
  using Code = int;
  struct Place {
    int file = 0;
    int scope = 0;
  };

  // `files` by path, relative to the repository. `is_package`: whether a module of this name is
  // likely to be installed, so that a mere folder of that name is not meant.
  PythonProgram(std::map<std::string, PythonFile> files,
                std::function<bool(std::string_view)> is_package);

  int files() const { return static_cast<int>(files_.size()); }
  const std::string& path(int file) const { return paths_[file]; }
  const PythonFile& file(int file) const { return files_[file]; }
  int Find(const std::string& path) const;  // -1: none

  Code CodeOf(int file, int scope) const { return first_[file] + scope; }
  Place PlaceOf(Code code) const;

  // What a use of the file means outside of the repository, by its full name; empty: nothing known.
  const std::string& Meaning(int file, size_t use) const { return meanings_[file][use]; }
  // The packages from outside that the file imports, with the line of the first import.
  const std::map<std::string, int>& Packages(int file) const { return packages_[file]; }
  // The file that `module` ("pkg.train") is when Python is started in `folder`; -1: none.
  int FindModule(const std::string& folder, const std::string& module) const;
  // The function or class of this name; -1: none.
  int FindScope(int file, std::string_view name) const;
  // The folder that Python must look for modules in, besides the file's own, for the file's imports
  // to work; nothing: its own will do.
  const std::optional<std::string>& ImportFolder(int file) const { return import_folders_[file]; }

  // What runs first when the file is started.
  std::vector<Code> Start(int file) const;
  // All that may run after `from`, itself included, nearest first. `wide`: also what is registered
  // by decorators or looked up by name.
  std::vector<Code> Reach(const std::vector<Code>& from, bool wide) const;
  // All code from which code of `targets` may run, themselves included.
  std::vector<bool> Reaching(const std::vector<Code>& targets) const;

 private:
  struct Module {
    int file = -1;            // -1: a folder without __init__.py
    std::string folder = {};  // of a package
    bool found() const { return file >= 0 || !folder.empty(); }
  };
  struct Binding {
    enum class Kind { kOutside, kModule, kFrom, kDefinition, kAlias };
    Kind kind = Kind::kOutside;
    std::string name = {};  // outside: full name; from: name in `module`; alias: what it stands for
    Module module = {};
    int scope = 0;
  };
  struct Resolved {
    std::string outside = {};
    int file = -1;   // of the repository: where it leads to
    int scope = -1;  // -1: the module as a whole
  };

  Module Locate(const std::string& base, std::string module) const;
  Module LocateFrom(int file, int level, const std::string& module, std::string* base) const;
  void NoteFolder(int file, const std::string& base);
  Module Below(const Module& package, const std::string& name) const;
  void Bind(int file, const std::string& name, Binding binding);
  void BindAll(int file);
  void BindImport(int file, const PythonImport& import);
  void BindFrom(int file, const PythonImport& import);
  void FollowStars(int file);
  void Connect(int file);
  void ConnectWhole(Code from, int file) { AddEdge(from, scopes_ + file, true); }
  void AddEdge(Code from, Code to, bool wide);
  const Binding* Lookup(int file, const std::string& name, int* where, Binding* star) const;
  Resolved Resolve(int file, std::string name) const;

  std::vector<std::string> paths_;
  std::vector<PythonFile> files_;
  const std::function<bool(std::string_view)> is_package_;
  std::map<std::string, int, std::less<>> by_path_;
  std::set<std::string, std::less<>> folders_;
  std::vector<Code> first_;
  Code scopes_ = 0;  // of all files; what follows stands for all that a file has
  std::vector<std::map<std::string, Binding>> bindings_;
  std::vector<std::vector<int>> stars_;     // files from which all names come
  std::vector<std::vector<int>> closures_;  // the file itself, and all that its stars lead to
  std::unordered_map<std::string, std::vector<int>> binders_;  // the files that bind a name
  std::vector<std::vector<std::string>> outside_stars_;        // modules from which all names come
  std::vector<std::map<std::string, int>> packages_;
  std::vector<std::optional<std::string>> import_folders_;
  std::vector<std::vector<std::string>> meanings_;
  std::vector<std::vector<Code>> edges_;
  std::vector<std::vector<Code>> wide_edges_;
};

}  // namespace trainyard::coordinator
