// Secrets that a configuration file names and never holds: `secret_file: PATH` or `secret_env:
// NAME`.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "coordinator/source/spec_section.h"

namespace trainyard::coordinator {

// Reads what KEY_file or KEY_env of the section names; `out` stays empty where neither is written.
// Relative paths start in `folder`. Problems, with the place of the key and without the secret:
// both are written, the file cannot be read, the variable is not set, the secret has fewer than
// kSecretBytesMin bytes or is more than one line. A file that others can read is warned of.
void ReadNamedSecret(const Section& section, std::string_view key,
                     const std::filesystem::path& folder, std::string* out, SpecProblems* problems);

inline constexpr size_t kSecretBytesMin = 16;

}  // namespace trainyard::coordinator
