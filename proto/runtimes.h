// What runs an attempt: "native", or for a program of the user's "program-" and its framework.
#pragma once

#include <string>
#include <string_view>

namespace trainyard {

// Of the programs that detection and specs know; a pool may offer others.
inline constexpr const char* kFrameworks[] = {"keras", "torch", "sklearn", "other"};

inline std::string ProgramRuntime(std::string_view framework) {
  return "program-" + std::string(framework);
}

}  // namespace trainyard
