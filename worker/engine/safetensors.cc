#include "worker/engine/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/backend.h"
#include "network/arithmetic.h"
#include "worker/engine/hash.h"

namespace trainyard::engine {
namespace {

using kernels::Error;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "tensors are copied as they are");

constexpr size_t kLengthBytes = 8;
constexpr size_t kHeaderBytesMax = size_t{64} << 20;
constexpr size_t kDimsMax = 8;
// Every file of ours starts like this behind the length, so the checksum is always at one place.
constexpr std::string_view kPrefix = R"({"__metadata__":{"checksum":")";
constexpr size_t kChecksumDigits = 16;
constexpr size_t kChecksumBegin = kLengthBytes + kPrefix.size();
constexpr size_t kDataBegin = kChecksumBegin + kChecksumDigits;

std::string ChecksumOf(std::string_view file) {
  uint64_t hash = Hash(kHashStart, file.substr(0, kChecksumBegin));
  hash = Hash(hash, file.substr(kDataBegin));
  std::string digits(kChecksumDigits, '0');
  for (size_t i = 0; i < kChecksumDigits; ++i) {
    digits[kChecksumDigits - 1 - i] = "0123456789abcdef"[hash >> (4 * i) & 15];
  }
  return digits;
}

std::string Quoted(const std::string& text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string Header(const std::vector<TensorView>& tensors, const Metadata& metadata) {
  std::string header(kPrefix);
  header += std::string(kChecksumDigits, '0') + '"';
  for (const auto& [key, value] : metadata) header += "," + Quoted(key) + ":" + Quoted(value);
  header += "}";
  size_t offset = 0;
  for (const TensorView& tensor : tensors) {
    header += "," + Quoted(tensor.name) + R"(:{"dtype":"F32","shape":[)";
    for (size_t i = 0; i < tensor.dims.size(); ++i) {
      header += (i > 0 ? "," : "") + std::to_string(tensor.dims[i]);
    }
    const size_t end = offset + tensor.values.size_bytes();
    header += R"(],"data_offsets":[)" + std::to_string(offset) + "," + std::to_string(end) + "]}";
    offset = end;
  }
  header += "}";
  // Padding to a multiple of 8 keeps the tensors aligned for readers that map the file.
  header.append((8 - header.size() % 8) % 8, ' ');
  return header;
}

// Receives the header's JSON piece by piece and accepts exactly its three levels. Nothing nested
// deeper is ever built, so a hostile header costs no more than its own size.
class HeaderHandler : public nlohmann::json_sax<json> {
 public:
  explicit HeaderHandler(SafetensorsFile* file) : file_(*file) {}

  bool null() override { Fail("null"); }
  bool boolean(bool) override { Fail("a boolean"); }
  bool number_integer(number_integer_t value) override {
    Fail("the number " + std::to_string(value));
  }
  bool number_float(number_float_t, const string_t& text) override { Fail("the number " + text); }
  bool binary(binary_t&) override { Fail("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (level_ != Level::kArray || numbers_->size() >= kDimsMax) {
      Fail("the number " + std::to_string(value));
    }
    constexpr uint64_t kNumberMax = uint64_t{1} << 62;
    if (value > kNumberMax) Fail("the number " + std::to_string(value));
    numbers_->push_back(static_cast<int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (level_ == Level::kMetadata) {
      if (!file_.metadata.emplace(key_, value).second) Fail("the key twice");
    } else if (level_ == Level::kTensor && key_ == "dtype" && value == "F32" && !has_type_) {
      has_type_ = true;
    } else {
      Fail("\"" + value.substr(0, 40) + "\"");
    }
    return true;
  }

  bool key(string_t& key) override {
    key_ = key;
    if (level_ == Level::kRoot) tensor_ = key;
    return true;
  }

  bool start_object(std::size_t) override {
    if (level_ == Level::kStart) {
      level_ = Level::kRoot;
    } else if (level_ == Level::kRoot) {
      if (!names_.insert(key_).second) Fail("the name twice");
      level_ = key_ == "__metadata__" ? Level::kMetadata : Level::kTensor;
      has_type_ = false;
      shape_.clear();
      offsets_.clear();
    } else {
      Fail("an object");
    }
    return true;
  }

  bool end_object() override {
    if (level_ == Level::kTensor) AddTensor();
    level_ = level_ == Level::kRoot ? Level::kEnd : Level::kRoot;
    return true;
  }

  bool start_array(std::size_t) override {
    if (level_ != Level::kTensor || (key_ != "shape" && key_ != "data_offsets")) Fail("an array");
    numbers_ = key_ == "shape" ? &shape_ : &offsets_;
    if (!numbers_->empty()) Fail("the key twice");
    level_ = Level::kArray;
    return true;
  }

  bool end_array() override {
    level_ = Level::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    throw Error("safetensors: header byte " + std::to_string(kLengthBytes + position) +
                " of the file: expected JSON: " + error.what());
  }

 private:
  enum class Level { kStart, kRoot, kMetadata, kTensor, kArray, kEnd };

  [[noreturn]] void Fail(const std::string& found) const {
    throw Error("safetensors: header, tensor \"" + tensor_.substr(0, 80) + "\", key \"" +
                key_.substr(0, 80) + "\": found " + found +
                R"(, expected {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]})");
  }

  void AddTensor() {
    key_.clear();
    if (!has_type_) Fail("no dtype");
    if (offsets_.size() != 2) Fail(std::to_string(offsets_.size()) + " data_offsets");
    if (shape_.empty()) Fail("an empty shape");
    file_.tensors.push_back(
        {tensor_, shape_, static_cast<size_t>(offsets_[0]), static_cast<size_t>(offsets_[1])});
  }

  SafetensorsFile& file_;
  Level level_ = Level::kStart;
  std::string key_, tensor_;
  std::set<std::string> names_;
  bool has_type_ = false;
  std::vector<int64_t> shape_, offsets_;
  std::vector<int64_t>* numbers_ = nullptr;
};

size_t HeaderLength(std::string_view bytes) {
  if (bytes.size() < kLengthBytes) {
    throw Error("safetensors: found " + std::to_string(bytes.size()) +
                " bytes, expected at least 8 for the header's length");
  }
  uint64_t length;
  std::memcpy(&length, bytes.data(), sizeof length);
  const uint64_t room = std::min<uint64_t>(bytes.size() - kLengthBytes, kHeaderBytesMax);
  if (length > room) {
    throw Error("safetensors: byte 0: found a header length of " + std::to_string(length) +
                ", expected at most " + std::to_string(room));
  }
  return static_cast<size_t>(length);
}

void CheckChecksum(std::string_view bytes, Checksum checksum) {
  if (bytes.size() < kDataBegin || bytes.substr(kLengthBytes, kPrefix.size()) != kPrefix) {
    if (checksum == Checksum::kIfThere) return;
    throw Error("safetensors: byte 8: expected the header to start with " + std::string(kPrefix));
  }
  const std::string expected = ChecksumOf(bytes);
  const std::string_view found = bytes.substr(kChecksumBegin, kChecksumDigits);
  if (found != expected) {
    throw Error("safetensors: byte " + std::to_string(kChecksumBegin) + ": found checksum " +
                json(std::string(found)).dump(-1, ' ', true, json::error_handler_t::replace) +
                ", expected " + expected + " by the rest of the file; it was altered");
  }
}

// Tensors, relative to the data section of `size` bytes, become ranges of the file in order.
void PlaceTensors(size_t data_begin, size_t size, std::vector<TensorEntry>* tensors) {
  std::sort(tensors->begin(), tensors->end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  size_t next = 0;
  for (TensorEntry& tensor : *tensors) {
    const std::string where = "safetensors: tensor \"" + tensor.name.substr(0, 80) + "\": ";
    if (tensor.begin != next || tensor.end < tensor.begin || tensor.end > size) {
      throw Error(where + "found data_offsets " + std::to_string(tensor.begin) + " to " +
                  std::to_string(tensor.end) + ", expected them to start at " +
                  std::to_string(next) + " and to end by " + std::to_string(size));
    }
    int64_t bytes = sizeof(float);
    for (int64_t dim : tensor.dims) bytes = network::SaturatingMultiply(bytes, dim);
    if (static_cast<uint64_t>(bytes) != tensor.end - tensor.begin || bytes == 0) {
      throw Error(where + "found " + std::to_string(tensor.end - tensor.begin) +
                  " bytes of data at byte " + std::to_string(data_begin + tensor.begin) +
                  ", expected " + std::to_string(bytes) + " by its shape, and more than none");
    }
    next = tensor.end;
    tensor.begin += data_begin;
    tensor.end += data_begin;
  }
  if (next != size) {
    throw Error("safetensors: byte " + std::to_string(data_begin + next) + ": found " +
                std::to_string(size - next) + " bytes behind the last tensor, expected none");
  }
}

}  // namespace

std::string WriteSafetensors(const std::vector<TensorView>& tensors, const Metadata& metadata) {
  const std::string header = Header(tensors, metadata);
  size_t size = kLengthBytes + header.size();
  for (const TensorView& tensor : tensors) size += tensor.values.size_bytes();
  std::string file;
  file.reserve(size);
  const uint64_t length = header.size();
  file.append(reinterpret_cast<const char*>(&length), sizeof length);
  file += header;
  for (const TensorView& tensor : tensors) {
    file.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size_bytes());
  }
  file.replace(kChecksumBegin, kChecksumDigits, ChecksumOf(file));
  return file;
}

SafetensorsFile ParseSafetensors(std::string_view bytes, Checksum checksum) {
  const size_t header_length = HeaderLength(bytes);
  CheckChecksum(bytes, checksum);
  SafetensorsFile file;
  HeaderHandler handler(&file);
  const std::string_view header = bytes.substr(kLengthBytes, header_length);
  json::sax_parse(header.begin(), header.end(), &handler);
  const size_t data_begin = kLengthBytes + header_length;
  PlaceTensors(data_begin, bytes.size() - data_begin, &file.tensors);
  return file;
}

void AppendValues(std::string_view bytes, const TensorEntry& tensor, std::vector<float>* out) {
  const size_t count = (tensor.end - tensor.begin) / sizeof(float);
  const size_t at = out->size();
  out->resize(at + count);
  std::memcpy(out->data() + at, bytes.data() + tensor.begin, count * sizeof(float));
}

}  // namespace trainyard::engine
