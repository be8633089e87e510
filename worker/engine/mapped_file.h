// A file's bytes in memory, read-only. On a local disk they are mapped: shared with every process
// that maps them, and readable to the end after the file was removed. Elsewhere they are read,
// since there another machine that removes the file, or a server that is gone, would end this
// process (SIGBUS) when it next looks at a page of a mapping.
//
// What remains: who cuts a mapped file short, as nobody here does, and a disk that fails under it
// end the process all the same.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trainyard::engine {

class MappedFile {
 public:
  // Nothing if the file is not there, is not a regular file, or can be neither mapped nor read.
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
