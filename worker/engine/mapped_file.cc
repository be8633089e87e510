#include "worker/engine/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "worker/engine/local_disk.h"

namespace trainyard::engine {
namespace {

bool ReadAll(int file, char* out, size_t size) {
  while (size > 0) {
    const ssize_t count = read(file, out, size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;  // it was cut short meanwhile, for one
    out += count;
    size -= static_cast<size_t>(count);
  }
  return true;
}

// Pages with the file's bytes, to be unmapped either way, or MAP_FAILED.
void* PagesOf(int file, size_t size) {
  if (IsLocal(file)) return mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
  void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED || ReadAll(file, static_cast<char*>(pages), size)) return pages;
  munmap(pages, size);
  return MAP_FAILED;
}

}  // namespace

std::optional<MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  struct stat status {};
  void* pages = MAP_FAILED;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
    pages = PagesOf(fd, static_cast<size_t>(status.st_size));
  }
  close(fd);
  if (pages == MAP_FAILED) return std::nullopt;
  return MappedFile({static_cast<const char*>(pages), static_cast<size_t>(status.st_size)});
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

}  // namespace trainyard::engine
