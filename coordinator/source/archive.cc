#include "coordinator/source/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = 256 << 10;

absl::Status SystemError(const std::string& doing) {
  int error = errno;
  std::string text = fmt::format("{}: {}", doing, std::strerror(error));
  return error == ENOSPC || error == EDQUOT ? absl::ResourceExhaustedError(text)
                                            : absl::InternalError(text);
}

// One pass over an archive.
class ArchiveReader {
 public:
  explicit ArchiveReader(const fs::path& file)
      : file_(file.string()), archive_(archive_read_new()) {
    archive_read_support_format_tar(archive_.get());
    archive_read_support_filter_gzip(archive_.get());
    if (archive_read_open_filename(archive_.get(), file_.c_str(), kBufferBytes) != ARCHIVE_OK) {
      status_ = Damaged();
    }
  }

  // The next file or link, folders left out; false at the end or on an error, see status().
  bool Next() {
    while (status_.ok()) {
      int result = archive_read_next_header(archive_.get(), &entry_);
      if (result == ARCHIVE_EOF) return false;
      // A warning is about names in another character set than the process has: bytes are what
      // counts.
      if (result != ARCHIVE_OK && result != ARCHIVE_WARN) {
        status_ = Damaged();
        return false;
      }
      if (Describe()) return status_.ok();
    }
    return false;
  }

  const ArchiveFile& entry() const { return file_entry_; }
  const absl::Status& status() const { return status_; }

  // Content of the entry: bytes read, 0 at its end.
  absl::StatusOr<size_t> Read(char* bytes, size_t size) {
    la_ssize_t got = archive_read_data(archive_.get(), bytes, size);
    if (got < 0) return Damaged();
    return static_cast<size_t>(got);
  }

 private:
  struct Free {
    void operator()(archive* a) const { archive_read_free(a); }
  };

  absl::Status Damaged() const {
    const char* why = archive_error_string(archive_.get());
    return absl::DataLossError(
        fmt::format("{}: cannot be read as tar: {}", file_, why ? why : "unknown reason"));
  }

  // False for a folder.
  bool Describe() {
    const char* name = archive_entry_pathname(entry_);
    std::string path = name ? name : "";
    while (path.starts_with("./")) path.erase(0, 2);
    auto type = archive_entry_filetype(entry_);
    const char* link = archive_entry_symlink(entry_);
    if (type == AE_IFDIR) {
      while (path.ends_with('/')) path.pop_back();
      if (!path.empty() && path != ".") status_ = CheckSnapshotPath(path);
      return false;
    }
    if (archive_entry_hardlink(entry_) != nullptr || (type != AE_IFREG && type != AE_IFLNK)) {
      status_ = absl::InvalidArgumentError(
          Quoted(path) + ": found a hard link, device or pipe, expected files and folders");
      return true;
    }
    bool is_link = type == AE_IFLNK;
    file_entry_ = {path, is_link && link ? link : "", is_link ? 0 : archive_entry_size(entry_),
                   !is_link && (archive_entry_perm(entry_) & 0100) != 0};
    status_ = CheckSnapshotPath(path);
    if (status_.ok() && is_link) status_ = CheckSnapshotLink(path, file_entry_.link);
    return true;
  }

  std::string file_;
  std::unique_ptr<archive, Free> archive_;
  archive_entry* entry_ = nullptr;
  ArchiveFile file_entry_;
  absl::Status status_;
};

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
  int fd_;
};

absl::Status WriteAll(int fd, const char* bytes, size_t size, const std::string& name) {
  while (size > 0) {
    ssize_t wrote = write(fd, bytes, size);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return SystemError("writing " + name);
    bytes += wrote;
    size -= wrote;
  }
  return absl::OkStatus();
}

absl::Status ExtractFile(ArchiveReader* reader, const fs::path& target) {
  std::error_code error;
  fs::create_directories(target.parent_path(), error);
  if (error) {
    errno = error.value();
    return SystemError("creating " + target.parent_path().string());
  }
  int mode = reader->entry().executable ? 0755 : 0644;
  Descriptor file(open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (file.get() < 0) return SystemError("creating " + target.string());
  std::vector<char> buffer(kBufferBytes);
  for (;;) {
    auto got = reader->Read(buffer.data(), buffer.size());
    if (!got.ok()) return got.status();
    if (*got == 0) return absl::OkStatus();
    absl::Status status = WriteAll(file.get(), buffer.data(), *got, target.string());
    if (!status.ok()) return status;
  }
}

// OUT_OF_RANGE: it has more than `bytes_max` bytes.
absl::StatusOr<std::string> ReadContent(ArchiveReader* reader, int64_t bytes_max) {
  std::string content;
  std::vector<char> buffer(kBufferBytes);
  for (;;) {
    auto got = reader->Read(buffer.data(), buffer.size());
    if (!got.ok()) return got.status();
    if (*got == 0) return content;
    content.append(buffer.data(), *got);
    if (static_cast<int64_t>(content.size()) > bytes_max) return absl::OutOfRangeError("too long");
  }
}

// The contents of an archive in one unnamed file, to be read again in another order.
class Spool {
 public:
  absl::Status Open(const fs::path& folder) {
    std::string name = (folder / "upload-XXXXXX").string();
    fd_.emplace(mkstemp(name.data()));
    if (fd_->get() < 0) return SystemError("creating a temporary file in " + folder.string());
    unlink(name.c_str());
    return absl::OkStatus();
  }

  // Appends the reader's entry; `size_max` bounds what it really holds, whatever its header says.
  absl::StatusOr<int64_t> Append(ArchiveReader* reader, int64_t size_max) {
    std::vector<char> buffer(kBufferBytes);
    int64_t size = 0;
    for (;;) {
      auto got = reader->Read(buffer.data(), buffer.size());
      if (!got.ok()) return got.status();
      if (*got == 0) break;
      size += *got;
      if (size > size_max) {
        return absl::InvalidArgumentError(
            fmt::format("{}: found a file or files of more than {} bytes, expected fewer",
                        Quoted(reader->entry().path), size_max));
      }
      absl::Status status = WriteAll(fd_->get(), buffer.data(), *got, "a temporary file");
      if (!status.ok()) return status;
    }
    end_ += size;
    return size;
  }
  int64_t end() const { return end_; }

  absl::StatusOr<size_t> ReadAt(char* bytes, size_t size, int64_t offset) const {
    ssize_t got = pread(fd_->get(), bytes, size, offset);
    if (got < 0) return SystemError("reading a temporary file");
    return static_cast<size_t>(got);
  }

 private:
  std::optional<Descriptor> fd_;
  int64_t end_ = 0;
};

struct Spooled {
  ArchiveFile file;
  int64_t offset = 0;
};

absl::Status WriteSpooled(const std::map<std::string, Spooled>& files, const Spool& spool,
                          SnapshotWriter* writer) {
  for (const auto& [path, spooled] : files) {
    absl::Status status;
    if (!spooled.file.link.empty()) {
      status = writer->AddLink(path, spooled.file.link);
    } else {
      int64_t offset = spooled.offset;
      status = writer->AddFile(path, spooled.file.executable, spooled.file.size,
                               [&](char* bytes, size_t size) {
                                 auto got = spool.ReadAt(bytes, size, offset);
                                 if (got.ok()) offset += *got;
                                 return got;
                               });
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// The first folder of `path` that is a file or link in `files`, or null.
const std::string* FileAbove(const std::map<std::string, Spooled>& files, const std::string& path) {
  for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
    auto above = files.find(path.substr(0, slash));
    if (above != files.end()) return &above->first;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<std::vector<ArchiveFile>> ListArchive(const fs::path& archive) {
  ArchiveReader reader(archive);
  std::vector<ArchiveFile> files;
  while (reader.Next()) files.push_back(reader.entry());
  if (!reader.status().ok()) return reader.status();
  return files;
}

absl::StatusOr<std::string> ReadArchiveFile(const fs::path& archive, const std::string& path,
                                            int64_t bytes_max) {
  ArchiveReader reader(archive);
  while (reader.Next()) {
    if (reader.entry().path != path || !reader.entry().link.empty()) continue;
    auto content = ReadContent(&reader, bytes_max);
    if (content.ok() || !absl::IsOutOfRange(content.status())) return content;
    return absl::InvalidArgumentError(
        fmt::format("{}: found more than {} bytes, expected at most that many", path, bytes_max));
  }
  if (!reader.status().ok()) return reader.status();
  return absl::NotFoundError("found no file " + Quoted(path) + " in the source");
}

absl::Status VisitArchive(const fs::path& archive,
                          const std::function<bool(const ArchiveFile&)>& wants,
                          const std::function<void(const std::string&, std::string)>& take) {
  ArchiveReader reader(archive);
  while (reader.Next()) {
    if (!wants(reader.entry()) || !reader.entry().link.empty()) continue;
    auto content = ReadContent(&reader, reader.entry().size);
    if (!content.ok()) return content.status();
    take(reader.entry().path, *std::move(content));
  }
  return reader.status();
}

absl::Status ExtractArchive(const fs::path& archive, const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error || !fs::is_empty(folder, error) || error) {
    return absl::FailedPreconditionError(folder.string() + ": expected an empty folder");
  }
  std::vector<ArchiveFile> links;
  ArchiveReader reader(archive);
  while (reader.Next()) {
    if (!reader.entry().link.empty()) {
      links.push_back(reader.entry());
      continue;
    }
    absl::Status status = ExtractFile(&reader, folder / reader.entry().path);
    if (!status.ok()) return status;
  }
  if (!reader.status().ok()) return reader.status();
  for (const ArchiveFile& link : links) {
    fs::path target = folder / link.path;
    fs::create_directories(target.parent_path(), error);
    if (symlink(link.link.c_str(), target.c_str()) != 0) {
      return SystemError("linking " + target.string());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SnapshotInfo> NormaliseArchive(const fs::path& archive, const fs::path& scratch,
                                              const SnapshotLimits& limits, const ByteSink& sink) {
  Spool spool;
  absl::Status status = spool.Open(scratch);
  if (!status.ok()) return status;
  std::map<std::string, Spooled> files;
  ArchiveReader reader(archive);
  while (reader.Next()) {
    Spooled spooled{reader.entry(), spool.end()};
    const std::string& path = spooled.file.path;
    if (static_cast<int64_t>(files.size()) >= limits.files) {
      return absl::InvalidArgumentError(
          fmt::format("{}: found more than {} files, expected fewer", Quoted(path), limits.files));
    }
    auto size =
        spool.Append(&reader, std::min(limits.file_bytes, limits.total_bytes - spool.end()));
    if (!size.ok()) return size.status();
    spooled.file.size = *size;
    if (!files.emplace(path, spooled).second) {
      return absl::InvalidArgumentError(Quoted(path) + ": found it twice, expected it once");
    }
  }
  if (!reader.status().ok()) return reader.status();
  for (const auto& [path, spooled] : files) {
    if (const std::string* above = FileAbove(files, path)) {
      return absl::InvalidArgumentError(Quoted(path) + ": found it below " + Quoted(*above) +
                                        ", which is a file or link, expected a folder");
    }
  }
  SnapshotWriter writer(limits, sink);
  status = WriteSpooled(files, spool, &writer);
  if (!status.ok()) return status;
  return writer.Finish();
}

}  // namespace trainyard::coordinator
