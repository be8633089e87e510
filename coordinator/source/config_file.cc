#include "coordinator/source/config_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {

absl::StatusOr<std::string> ReadConfigFile(const std::string& path, std::string_view what) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: found {}, expected {}", path,
        error ? "nothing that can be read (" + error.message() + ")" : "no regular file", what));
  }
  std::ifstream file(path, std::ios::binary);
  std::string text(kSpecBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} cannot be read: {}", path, what, std::strerror(errno)));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

}  // namespace trainyard::coordinator
