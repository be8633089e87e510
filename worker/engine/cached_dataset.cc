// CachedDataset: a data set kept decoded, as one file:
//   header    kHeaderBytes, see Header
//   labels    int32 each
//   pixels    count * channels * height * width bytes
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <utility>

#include "network/arithmetic.h"
#include "network/shapes.h"
#include "worker/engine/atomic_file.h"
#include "worker/engine/dataset.h"
#include "worker/engine/hash.h"
#include "worker/engine/mapped_file.h"

namespace trainyard::engine {
namespace {

constexpr char kMagic[8] = {'t', 'r', 'y', 'd', 'a', 't', 'a', '1'};
constexpr size_t kKeyLengthMax = 128;

struct Header {
  char magic[8];
  uint64_t checksum;  // of everything behind itself
  int64_t count;
  int32_t channels, height, width;
  int32_t unused;
};
constexpr size_t kHeaderBytes = sizeof(Header);
static_assert(kHeaderBytes == 40, "no padding, and labels aligned");
constexpr size_t kCheckedFrom = 16;  // behind magic and checksum

template <class T>
std::string_view BytesOf(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

uint64_t Checksum(const Header& header, std::string_view labels, std::string_view pixels) {
  const std::string_view all(reinterpret_cast<const char*>(&header), kHeaderBytes);
  return Hash(Hash(Hash(kHashStart, all.substr(kCheckedFrom)), labels), pixels);
}

bool IsKey(const std::string& key) {
  return !key.empty() && key.size() <= kKeyLengthMax &&
         std::all_of(key.begin(), key.end(), [](unsigned char c) {
           return (std::isalnum(c) && c < 128) || c == '-' || c == '_';
         });
}

struct Parts {
  Header header;
  std::string_view labels, pixels;
};

// The parts of a file, or nothing if it is not one of ours or was damaged.
std::optional<Parts> Verify(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes) return std::nullopt;
  Parts parts;
  Header& header = parts.header;
  std::memcpy(&header, bytes.data(), kHeaderBytes);
  const bool meaningful = std::memcmp(header.magic, kMagic, sizeof kMagic) == 0 &&
                          header.count > 0 && header.channels > 0 && header.height > 0 &&
                          header.width > 0;
  if (!meaningful) return std::nullopt;
  const int64_t label_bytes = network::SaturatingMultiply(header.count, sizeof(int32_t));
  int64_t pixel_bytes = header.count;
  for (int32_t side : {header.channels, header.height, header.width}) {
    pixel_bytes = network::SaturatingMultiply(pixel_bytes, side);
  }
  const std::string_view rest = bytes.substr(kHeaderBytes);
  if (network::SaturatingAdd(label_bytes, pixel_bytes) != static_cast<int64_t>(rest.size())) {
    return std::nullopt;
  }
  parts.labels = rest.substr(0, static_cast<size_t>(label_bytes));
  parts.pixels = rest.substr(static_cast<size_t>(label_bytes));
  if (Checksum(header, parts.labels, parts.pixels) != header.checksum) return std::nullopt;
  return parts;
}

void Store(const std::string& path, const kernels::ImageSet& images) {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.count = images.count();
  header.channels = images.shape.channels;
  header.height = images.shape.height;
  header.width = images.shape.width;
  const std::string_view labels = BytesOf(images.labels), pixels = BytesOf(images.pixels);
  header.checksum = Checksum(header, labels, pixels);
  const std::string_view pieces[] = {BytesOf(std::span<const Header>(&header, 1)), labels, pixels};
  std::error_code ignored;  // what is wrong with the folder shows when the file is made
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  WritePiecesAtomically(path, pieces);
}

}  // namespace

std::optional<MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  struct stat status {};
  void* memory = MAP_FAILED;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
    memory = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, fd, 0);
  }
  close(fd);
  if (memory == MAP_FAILED) return std::nullopt;
  return MappedFile({static_cast<const char*>(memory), static_cast<size_t>(status.st_size)});
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

Dataset CachedDataset(const std::string& folder, const std::string& key,
                      const std::function<Dataset()>& read, std::string* problem) {
  if (!IsKey(key)) {
    throw kernels::Error("data set cache " + folder + ": found key \"" +
                         key.substr(0, kKeyLengthMax) +
                         "\", expected 1 to 128 letters, digits, - or _");
  }
  const std::string path = folder + "/" + key + ".dataset";
  const auto map = [&path](Dataset* dataset) {
    std::optional<MappedFile> file = MappedFile::Open(path);
    const std::optional<Parts> parts = file ? Verify(file->bytes()) : std::nullopt;
    if (!parts) return false;
    const Header& header = parts->header;
    Dataset mapped;
    mapped.shape_ = {header.channels, header.height, header.width};
    mapped.labels_ = {reinterpret_cast<const int32_t*>(parts->labels.data()),
                      static_cast<size_t>(header.count)};
    mapped.pixels_ = {reinterpret_cast<const uint8_t*>(parts->pixels.data()), parts->pixels.size()};
    mapped.file_ = std::make_unique<MappedFile>(*std::move(file));
    *dataset = std::move(mapped);
    return true;
  };
  Dataset dataset;
  if (map(&dataset)) return dataset;
  dataset = read();
  try {
    Store(path, dataset.images());
    // From here on the pages are the file's, which other processes share.
    map(&dataset);
  } catch (const kernels::Error& error) {
    if (problem != nullptr) *problem = error.what();
  }
  return dataset;
}

}  // namespace trainyard::engine
