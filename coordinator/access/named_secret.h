// Secrets that a configuration file names and never holds: `secret_file: PATH` or
// `secret_env: NAME`.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "coordinator/source/spec_section.h"

namespace trainyard::coordinator {

inline constexpr size_t kSecretBytesMax = 4'096;

// Reads what KEY_file or KEY_env of the section names; relative paths start in `folder`. False:
// neither is written, or there is a problem with it, and `out` is left alone. Problems: both are
// written, the file cannot be read, the variable is not set, the secret has fewer than `bytes_min`
// or more than kSecretBytesMax bytes, or is more than one line. They have the place of the key, and
// repeat neither the secret nor what names it: the secret may stand there by mistake.
bool ReadNamedSecret(const Section& section, std::string_view key,
                     const std::filesystem::path& folder, size_t bytes_min, std::string* out);

}  // namespace trainyard::coordinator
