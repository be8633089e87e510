// WriteFileAtomically and reading a file whole.
#include "worker/engine/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <utility>

#include "worker/engine/checkpoint.h"

namespace trainyard::engine {
namespace {

using kernels::Error;

[[noreturn]] void Fail(const std::string& path, const std::string& what) {
  throw Error(path + ": " + what + ": " + std::strerror(errno));
}

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags, const char* what)
      : path_(path), fd_(open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (fd_ < 0) Fail(path, what);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }

  void Sync() {
    if (fsync(fd_) != 0) Fail(path_, "cannot be flushed to disk");
  }

  // A full network disk may say so only here.
  void Close() {
    const int fd = std::exchange(fd_, -1);
    if (close(fd) != 0) Fail(path_, "cannot be closed");
  }

 private:
  std::string path_;
  int fd_;
};

void WriteAll(const std::string& path, int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0)
      Fail(path, "cannot be written, " + std::to_string(bytes.size()) + " bytes left");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

constexpr std::string_view kUnfinished = ".tmp-";

// Nobody else's: processes that share the folder may be on several hosts, or in containers where
// they have the same numbers.
std::string TemporaryName(const std::string& path) {
  std::random_device random;
  char number[17];
  std::snprintf(number, sizeof number, "%08x%08x", random(), random());
  return path + std::string(kUnfinished) + number;
}

void WriteNew(Descriptor& file, const std::string& path, std::span<const std::string_view> pieces,
              Durable durable) {
  for (std::string_view piece : pieces) WriteAll(path, file.get(), piece);
  if (durable == Durable::kYes) file.Sync();
  file.Close();
}

}  // namespace

void WriteFileAtomically(const std::string& path, std::string_view bytes) {
  WritePiecesAtomically(path, {&bytes, 1}, Durable::kYes);
}

bool IsUnfinished(std::string_view file_name) {
  return file_name.find(kUnfinished) != std::string_view::npos;
}

void WritePiecesAtomically(const std::string& path, std::span<const std::string_view> pieces,
                           Durable durable) {
  const std::string temporary = TemporaryName(path);
  Descriptor file(temporary, O_WRONLY | O_CREAT | O_EXCL, "cannot be created");
  try {
    WriteNew(file, temporary, pieces, durable);
    if (rename(temporary.c_str(), path.c_str()) != 0) Fail(path, "cannot be renamed to");
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
  if (durable == Durable::kNo) return;
  const std::string folder = std::filesystem::path(path).parent_path().string();
  Descriptor(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY, "cannot be opened").Sync();
}

Checkpoint ReadCheckpoint(const std::string& path) {
  Descriptor file(path, O_RDONLY, "cannot be opened");
  struct stat status {};
  if (fstat(file.get(), &status) != 0) Fail(path, "has no size");
  if (!S_ISREG(status.st_mode)) throw Error(path + ": expected a regular file");
  std::string bytes(static_cast<size_t>(status.st_size), '\0');
  size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t count = read(file.get(), bytes.data() + size, bytes.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail(path, "cannot be read");
    if (count == 0) break;
    size += static_cast<size_t>(count);
  }
  bytes.resize(size);
  try {
    return ParseCheckpoint(bytes);
  } catch (const Error& error) {
    throw Error(path + ": " + error.what());
  }
}

}  // namespace trainyard::engine
