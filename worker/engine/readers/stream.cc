#include "worker/engine/readers/stream.h"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>

#include "kernels/backend.h"

namespace trainyard::engine {
namespace {

// Deflate makes at most 258 bytes of two bits.
constexpr uint64_t kDeflateFactorMax = 1032;
constexpr size_t kPieceBytes = size_t{1} << 20;

gzFile Handle(void* file) { return static_cast<gzFile>(file); }

}  // namespace

InputStream::InputStream(const std::string& path) : path_(path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) Fail(std::string("cannot be opened: ") + strerror(errno));
  if (!S_ISREG(status.st_mode)) Fail("found something else, expected a regular file");
  errno = 0;
  file_ = gzopen(path.c_str(), "rbe");
  if (file_ == nullptr) {
    Fail(std::string("cannot be opened: ") + (errno != 0 ? strerror(errno) : "out of memory"));
  }
  gzbuffer(Handle(file_), 1 << 17);
  const auto size = static_cast<uint64_t>(status.st_size);
  size_max_ = gzdirect(Handle(file_)) ? size : size * kDeflateFactorMax;
}

InputStream::~InputStream() {
  if (file_ != nullptr) gzclose_r(Handle(file_));
}

void InputStream::Fail(const std::string& text) const { throw kernels::Error(path_ + ": " + text); }

size_t InputStream::ReadSome(std::span<uint8_t> out) {
  size_t size = 0;
  while (size < out.size()) {
    const auto piece = static_cast<unsigned>(std::min(kPieceBytes, out.size() - size));
    const int count = gzread(Handle(file_), out.data() + size, piece);
    int error = Z_OK;
    const char* message = gzerror(Handle(file_), &error);
    if (count < 0 || (error != Z_OK && error != Z_STREAM_END)) {
      Fail("byte " + std::to_string(position_ + size) +
           ": the gzip data is damaged or cut off: " + message);
    }
    if (count == 0) break;
    size += static_cast<size_t>(count);
  }
  position_ += size;
  return size;
}

void InputStream::Read(std::span<uint8_t> out, const std::string& what) {
  const uint64_t begin = position_;
  const size_t count = ReadSome(out);
  if (count == out.size()) return;
  Fail("byte " + std::to_string(begin) + ": found " + std::to_string(count) + " bytes of " + what +
       ", expected " + std::to_string(out.size()));
}

uint32_t InputStream::ReadBigEndian32(const std::string& what) {
  uint8_t bytes[4];
  Read(bytes, what);
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

std::vector<uint8_t> InputStream::ReadBytes(uint64_t count, const std::string& what) {
  const uint64_t left = size_max_ > position_ ? size_max_ - position_ : 0;
  if (count > left) {
    Fail("byte " + std::to_string(position_) + ": found at most " + std::to_string(left) +
         " bytes of " + what + ", expected " + std::to_string(count));
  }
  std::vector<uint8_t> bytes;
  try {
    bytes.resize(count);
  } catch (const std::exception&) {
    Fail(std::to_string(count) + " bytes of " + what + " don't fit into memory");
  }
  Read(bytes, what);
  return bytes;
}

std::vector<uint8_t> InputStream::ReadRest() {
  std::vector<uint8_t> bytes;
  for (size_t count = kPieceBytes; count == kPieceBytes;) {
    const size_t begin = bytes.size();
    bytes.resize(begin + kPieceBytes);
    count = ReadSome(std::span(bytes).subspan(begin));
    bytes.resize(begin + count);
  }
  return bytes;
}

void InputStream::ExpectEnd(const std::string& expected) {
  uint8_t byte;
  const uint64_t end = position_;
  if (ReadSome({&byte, 1}) > 0) {
    Fail("byte " + std::to_string(end) + ": found more bytes, expected the end behind " + expected);
  }
}

}  // namespace trainyard::engine
