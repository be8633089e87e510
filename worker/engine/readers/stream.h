// A data file read from front to back, decompressed if it is gzip. Every error names the file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace trainyard::engine {

class InputStream {
 public:
  // Throws kernels::Error if it is not a readable regular file.
  explicit InputStream(const std::string& path);
  ~InputStream();

  const std::string& path() const { return path_; }

  // The largest number of bytes that can come out of this file: its size, or what gzip can make of
  // that at best. Nothing larger needs to be allocated on the word of a header.
  uint64_t SizeMax() const { return size_max_; }

  // Fills `out` or throws, saying how many bytes were found of `what`.
  void Read(std::span<uint8_t> out, const std::string& what);
  uint32_t ReadBigEndian32(const std::string& what);

  // `count` bytes, refused before anything is allocated if the file cannot hold them.
  std::vector<uint8_t> ReadBytes(uint64_t count, const std::string& what);

  // All that is left.
  std::vector<uint8_t> ReadRest();

  // Throws if anything is left; for gzip this checks length and CRC as well.
  void ExpectEnd(const std::string& expected);

  // kernels::Error: "<path>: <text>".
  [[noreturn]] void Fail(const std::string& text) const;

 private:
  // As many bytes as there are, up to out.size().
  size_t ReadSome(std::span<uint8_t> out);

  std::string path_;
  void* file_ = nullptr;  // gzFile
  uint64_t size_max_ = 0;
  uint64_t position_ = 0;  // bytes read, decompressed
};

}  // namespace trainyard::engine
