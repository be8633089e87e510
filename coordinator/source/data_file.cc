#include "coordinator/source/data_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "coordinator/source/digest.h"

namespace trainyard::coordinator {
namespace {

constexpr unsigned kBufferBytes = 256 << 10;

// A descriptor of a regular file: opening a pipe or device could block for ever.
int OpenRegular(const std::string& path, const std::string& name) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw DataError(name + ": cannot be opened: " + std::strerror(errno));
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    throw DataError(name + ": found something other than a file, expected a file");
  }
  return fd;
}

}  // namespace

DataStream::DataStream(const std::string& path, std::string name) : name_(std::move(name)) {
  int fd = OpenRegular(path, name_);
  file_ = gzdopen(fd, "rb");
  if (file_ == nullptr) {
    close(fd);
    throw DataError(name_ + ": cannot be read: out of memory");
  }
  gzbuffer(file_, kBufferBytes);
}

DataStream::~DataStream() { gzclose_r(file_); }

size_t DataStream::Read(unsigned char* bytes, size_t size) {
  size_t total = 0;
  while (total < size) {
    unsigned part = static_cast<unsigned>(std::min<size_t>(size - total, 1 << 30));
    int got = gzread(file_, bytes + total, part);
    int error = Z_OK;
    const char* why = gzerror(file_, &error);
    if (error == Z_BUF_ERROR) {
      Fail("found the end of the compressed data too early (after " + std::to_string(offset_) +
           " bytes unpacked): the file is cut off");
    }
    if (got < 0 || error != Z_OK) {
      Fail("cannot be unpacked after " + std::to_string(offset_) + " bytes: " + why);
    }
    if (got == 0) break;
    total += got;
    offset_ += got;
  }
  return total;
}

uint32_t DataStream::ReadBigEndian(const char* what) {
  unsigned char b[4];
  if (Read(b, 4) != 4) {
    Fail("found its end after " + std::to_string(offset_) + " bytes, expected " + what);
  }
  return uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 | uint32_t{b[2]} << 8 | b[3];
}

int64_t DataStream::Drain(int64_t most) {
  std::vector<unsigned char> buffer(kBufferBytes);
  int64_t start = offset_;
  while (offset_ - start <= most) {
    size_t part = std::min<int64_t>(buffer.size(), most - (offset_ - start) + 1);
    if (Read(buffer.data(), part) < part) break;
  }
  return offset_ - start;
}

void DataStream::Fail(const std::string& message) const { throw DataError(name_ + ": " + message); }

std::string HashFile(const std::string& path, const std::string& name) {
  int fd = OpenRegular(path, name);
  Sha256 hash;
  std::vector<char> buffer(kBufferBytes);
  ssize_t got;
  while ((got = read(fd, buffer.data(), buffer.size())) > 0) {
    hash.Add({buffer.data(), static_cast<size_t>(got)});
  }
  int error = errno;
  close(fd);
  if (got < 0) throw DataError(name + ": cannot be read: " + std::strerror(error));
  return hash.Hex();
}

}  // namespace trainyard::coordinator
