// A file of the cache:
//   header    kHeaderBytes, see Header
//   labels    int32 each
//   pixels    count * channels * height * width bytes
//
// It is not flushed to disk: one that a crash of the machine tore has not its checksum.
//
// `lock` in the folder is locked byte by byte (open file description locks, which end with their
// holder): one for each key while it is decoded, and byte 0 while files come and go.
#include "worker/engine/dataset_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "network/arithmetic.h"
#include "network/shapes.h"
#include "worker/engine/atomic_file.h"
#include "worker/engine/hash.h"
#include "worker/engine/local_disk.h"
#include "worker/engine/mapped_file.h"

namespace trainyard::engine {
namespace {

namespace fs = std::filesystem;

constexpr char kSuffix[] = ".dataset";
constexpr off_t kFilesComeAndGo = 0;
// What is kept leaves this part of the disk to what cannot be made again.
constexpr int kDiskReserve = 20;  // a twentieth
// Whoever writes a file changes it all the time: after so long it is nobody's.
constexpr std::chrono::hours kUnfinishedMax{1};

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
  return WideHash(WideHash(Hash(kHashStart, all.substr(kCheckedFrom)), labels), pixels);
}

bool IsKey(const std::string& key) {
  return !key.empty() && key.size() <= kKeyLengthMax &&
         std::all_of(key.begin(), key.end(), [](unsigned char c) {
           return (std::isalnum(c) && c < 128) || c == '-' || c == '_';
         });
}

// The images in a file, or nothing if it is not one of ours or was damaged. All of it is read, at
// the speed of memory: a fraction of what decoding takes, and training is about to read it anyway.
std::optional<kernels::ImageSet> ImagesIn(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes) return std::nullopt;
  Header header;
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
  const std::string_view labels = rest.substr(0, static_cast<size_t>(label_bytes));
  const std::string_view pixels = rest.substr(static_cast<size_t>(label_bytes));
  if (Checksum(header, labels, pixels) != header.checksum) return std::nullopt;
  return kernels::ImageSet{
      {reinterpret_cast<const uint8_t*>(pixels.data()), pixels.size()},
      {reinterpret_cast<const int32_t*>(labels.data()), static_cast<size_t>(header.count)},
      {header.channels, header.height, header.width}};
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

// Holds one byte of the folder's lock, or nothing where the file system has no locks: then work may
// be done twice, no more. Passes on what `pause` throws, which it calls while another holds it.
class Lock {
 public:
  Lock(const std::string& folder, off_t byte, const std::function<void()>& pause)
      : file_(open((folder + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    struct flock one {};
    one.l_type = F_WRLCK;
    one.l_whence = SEEK_SET;
    one.l_start = byte;
    one.l_len = 1;
    if (file_.get() < 0) return;
    while (!(held_ = fcntl(file_.get(), F_OFD_SETLK, &one) == 0)) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EACCES) return;
      if (pause) {
        pause();
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    }
  }
  bool held() const { return held_; }

 private:
  const Descriptor file_;
  bool held_ = false;
};

// Two keys with the same byte wait for each other, which does no harm.
off_t LockByte(const std::string& key) {
  return 1 + static_cast<off_t>(Hash(kHashStart, key) >> 2);
}

void CheckKey(const std::string& folder, const std::string& key) {
  if (IsKey(key)) return;
  throw kernels::Error("data set cache " + folder + ": found key \"" +
                       key.substr(0, kKeyLengthMax) +
                       "\", expected 1 to 128 letters, digits, - or _");
}

std::string Bytes(int64_t count) { return std::to_string(count) + " bytes"; }

struct KeptFile {
  fs::file_time_type used;
  fs::path path;
  int64_t bytes;
};

// What was used longest ago comes first.
std::vector<KeptFile> KeptFiles(const std::string& folder) {
  std::vector<KeptFile> files;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.ends_with(kSuffix)) continue;
    std::error_code gone;
    const KeptFile file{at->last_write_time(gone), at->path(),
                        static_cast<int64_t>(at->file_size(gone))};
    if (!gone) files.push_back(file);
  }
  std::sort(files.begin(), files.end(),
            [](const KeptFile& a, const KeptFile& b) { return a.used < b.used; });
  return files;
}

// What writers left that died.
void RemoveUnfinished(const std::string& folder) {
  const auto old = fs::file_time_type::clock::now() - kUnfinishedMax;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code gone;
    if (IsUnfinished(at->path().filename().string()) && at->last_write_time(gone) < old && !gone) {
      fs::remove(at->path(), gone);
    }
  }
}

class Disk {
 public:
  explicit Disk(const std::string& folder) {
    std::error_code error;
    const fs::space_info space = fs::space(folder, error);
    if (error) return;  // then writing shows whether there is room
    capacity_ = static_cast<int64_t>(space.capacity);
    available_ = static_cast<int64_t>(space.available);
    known_ = true;
  }
  // How much more has to be free for so many bytes; <= 0: enough is.
  int64_t Lacks(int64_t bytes) const {
    return known_ ? bytes + capacity_ / kDiskReserve - available_ : 0;
  }
  [[noreturn]] void Refuse(int64_t bytes) const {
    throw kernels::Error(Bytes(bytes) + ", but the disk has only " + std::to_string(available_) +
                         " of " + Bytes(capacity_) + " left");
  }

 private:
  int64_t capacity_ = 0, available_ = 0;
  bool known_ = false;
};

}  // namespace

DatasetCache::DatasetCache(std::string folder, int64_t bytes_max)
    : folder_(std::move(folder)), bytes_max_(bytes_max) {}

Dataset DatasetCache::Get(const DatasetSource& source, std::string* problem) const {
  const std::string key = source.key();
  CheckKey(folder_, key);
  if (bytes_max_ > 0) {
    if (std::optional<Dataset> kept = Find(key, nullptr)) return *std::move(kept);
  }
  if (source.fetch) source.fetch();
  if (bytes_max_ <= 0) return source.read();
  std::error_code ignored;  // what is wrong with the folder shows when a file is made
  fs::create_directories(folder_, ignored);
  const Lock lock(folder_, LockByte(key), source.pause);
  // Another may have decoded it meanwhile.
  std::string trouble;
  if (std::optional<Dataset> kept = Find(key, &trouble)) return *std::move(kept);
  unlink(PathOf(key).c_str());  // damaged, if it is there
  Dataset dataset = source.read();
  try {
    if (source.key() != key) {
      throw kernels::Error("what it is made from changed while it was read");
    }
    Keep(key, dataset, source.pause);
    // From here on its pages are the file's, which other processes share.
    if (IsLocal(PathOf(key))) {
      if (std::optional<Dataset> kept = Find(key, nullptr)) dataset = *std::move(kept);
    }
  } catch (const kernels::Error& error) {
    trouble = PathOf(key) + ": not kept: " + error.what();
  }
  if (problem != nullptr) *problem = trouble;
  return dataset;
}

// Being used is what it was last changed by: that tells which was used longest ago.
std::optional<Dataset> DatasetCache::Find(const std::string& key, std::string* problem) const {
  const std::string path = PathOf(key);
  std::optional<MappedFile> file = MappedFile::Open(path);
  if (!file) return std::nullopt;
  const std::optional<kernels::ImageSet> images = ImagesIn(file->bytes());
  if (!images) {
    if (problem != nullptr) *problem = path + ": damaged, so it is decoded anew";
    return std::nullopt;
  }
  utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
  return Dataset(*std::move(file), *images);
}

void DatasetCache::Keep(const std::string& key, const Dataset& dataset,
                        const std::function<void()>& pause) const {
  const kernels::ImageSet images = dataset.images();
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.count = images.count();
  header.channels = images.shape.channels;
  header.height = images.shape.height;
  header.width = images.shape.width;
  const std::string_view labels = BytesOf(images.labels), pixels = BytesOf(images.pixels);
  header.checksum = Checksum(header, labels, pixels);
  const std::string_view pieces[] = {BytesOf(std::span<const Header>(&header, 1)), labels, pixels};
  const Lock lock(folder_, kFilesComeAndGo, pause);
  MakeRoom(static_cast<int64_t>(kHeaderBytes + labels.size() + pixels.size()), lock.held());
  WritePiecesAtomically(PathOf(key), pieces, Durable::kNo);
}

// So that `bytes` more are within the limit, and the disk keeps its reserve. Nothing goes where
// that cannot be. `alone`: nobody else writes now.
void DatasetCache::MakeRoom(int64_t bytes, bool alone) const {
  if (bytes > bytes_max_) {
    throw kernels::Error(Bytes(bytes) + ", more than the limit of " + Bytes(bytes_max_));
  }
  if (alone) RemoveUnfinished(folder_);
  const std::vector<KeptFile> files = KeptFiles(folder_);
  int64_t total = 0;
  for (const KeptFile& file : files) total += file.bytes;
  const Disk disk(folder_);
  int64_t needed = std::max(total + bytes - bytes_max_, disk.Lacks(bytes));
  if (needed > total) disk.Refuse(bytes);
  for (const KeptFile& file : files) {
    if (needed <= 0) break;
    std::error_code gone;
    fs::remove(file.path, gone);
    needed -= file.bytes;
  }
  // What is still mapped somewhere makes room later.
  if (disk.Lacks(bytes) <= 0) return;
  const Disk now(folder_);
  if (now.Lacks(bytes) > 0) now.Refuse(bytes);
}

}  // namespace trainyard::engine
