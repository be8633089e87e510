// A file's bytes in memory, read-only, shared with every process that maps it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trainyard::engine {

class MappedFile {
 public:
  // Nothing if the file is not there, is not a regular file, or cannot be mapped.
  static std::optional<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  std::string_view bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::string_view bytes) : bytes_(bytes) {}
  std::string_view bytes_;
};

}  // namespace trainyard::engine
