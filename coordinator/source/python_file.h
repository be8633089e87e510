// What one Python file says, as far as detection needs it: which names it imports, defines and
// uses, and where. The text is parsed, never run; text that is no Python gives what could be read
// of it.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace trainyard::coordinator {

// Code that runs together: the file's own statements, those under `if __name__ == "__main__"`, or
// one function or class of the file with all that is inside.
struct PythonScope {
  std::string name;  // of a function or class
  int line = 0;
  bool decorated = false;  // somebody may call it without naming it here
};
inline constexpr int kModuleScope = 0;
inline constexpr int kMainScope = 1;

struct PythonImport {
  std::string module;  // "keras.layers"; may be empty where `level` is not 0
  int level = 0;       // dots before it
  std::string name;    // `from module import name`; "*": all; empty: the module itself
  std::string as;      // the name that it binds; empty: none
  int line = 0;
  int scope = kModuleScope;
};

// A name that is used, with its attributes: "tf.keras.Sequential". A call inside it is "()", an
// index "[]": "Sequential().fit". What no name begins begins with "?".
struct PythonUse {
  std::string name;
  int line = 0;
  int scope = kModuleScope;
  bool called = false;
  std::vector<std::string> strings =
      {};  // the first texts among its arguments; "[]": an empty list
};

// `name = value`, where the value is a name, or a call and then ends in "()".
struct PythonAssignment {
  std::string name;
  std::string value;
};

// `w -= rate * gradient`, in whatever form.
struct PythonDescent {
  int line = 0;
  int scope = kModuleScope;
};

struct PythonFile {
  std::vector<PythonScope> scopes;
  std::vector<PythonImport> imports;
  std::vector<PythonUse> uses;
  std::vector<PythonAssignment> assignments;
  std::vector<PythonDescent> descents;
  int parameters_line = 0;  // where it names TRAINYARD_PARAMS_FILE
  int python2_line = 0;     // where it prints as Python 2 does
  int error_line = 0;       // the first that is no Python
};

inline constexpr size_t kPythonBytesMax = 512 << 10;

// What this thread has computed so far: a busy machine makes it neither more nor less.
std::chrono::microseconds ThreadCpuTime();

// False: it took more computing than `limit`, and `file` says nothing. `text` has at most
// kPythonBytesMax.
bool ParsePython(std::string_view text, std::chrono::microseconds limit, PythonFile* file);

}  // namespace trainyard::coordinator
