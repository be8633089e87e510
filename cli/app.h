// The whole program but its main: arguments in, exit code out. Tests run it in process.
#pragma once

#include <cstdint>
#include <functional>
#include <ostream>

#include "cli/style.h"

namespace trainyard::cli {

// What the program touches of the world around it.
struct Environment {
  std::ostream& out;
  std::ostream& err;
  Style out_style;
  Style err_style;
  std::function<int64_t()> now_ms;  // wall clock, milliseconds since 1970
};

// Runs `argv` (with the program's name first); returns one of ExitCode.
int Run(int argc, const char* const* argv, const Environment& environment);

}  // namespace trainyard::cli
