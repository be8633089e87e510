// A data file as a stream of bytes, gzip or not, for the header checks of data_reader.cc.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace trainyard::coordinator {

// "FILE: found ..., expected ...".
struct DataError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class DataStream {
 public:
  // `name` is the file as people know it. Throws DataError if it is not a readable regular file.
  DataStream(const std::string& path, std::string name);
  ~DataStream();
  DataStream(const DataStream&) = delete;
  DataStream& operator=(const DataStream&) = delete;

  // Up to `size` bytes; fewer only at the end. Throws where compressed data is damaged or cut off.
  size_t Read(unsigned char* bytes, size_t size);
  uint32_t ReadBigEndian(const char* what);
  // Reads to the end, or until more than `most` bytes have passed, and returns their number.
  int64_t Drain(int64_t most);
  [[noreturn]] void Fail(const std::string& message) const;
  int64_t offset() const { return offset_; }

 private:
  std::string name_;
  gzFile file_ = nullptr;
  int64_t offset_ = 0;
};

// SHA-256 of the file's bytes as they lie on disk, in hex.
std::string HashFile(const std::string& path, const std::string& name);

}  // namespace trainyard::coordinator
