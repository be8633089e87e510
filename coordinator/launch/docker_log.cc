#include "coordinator/launch/docker_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kHeader = 8;                  // stream, three zeros, length
constexpr size_t kFrameMax = size_t{1} << 20;  // the engine splits lines at 16 KiB
constexpr size_t kTimestamp = 30;              // "2024-05-01T12:00:00.123456789Z"
constexpr char kStart[] = "0000-00-00T00:00:00.000000000Z";

absl::Status Failed(const std::string& path) {
  return absl::UnavailableError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
}

bool IsTimestamp(std::string_view text) {
  return text.size() == kTimestamp && text[10] == 'T' && text[19] == '.' && text.back() == 'Z';
}

// The wall clock's seconds and nanoseconds, with a point between; "0" if it is no time.
std::string ToSeconds(const std::string& timestamp) {
  std::tm time = {};
  if (strptime(timestamp.c_str(), "%Y-%m-%dT%H:%M:%S", &time) == nullptr) return "0";
  const std::time_t seconds = timegm(&time);
  if (seconds <= 0) return "0";
  return absl::StrCat(seconds, timestamp.substr(19, 10));
}

// The length that a frame's header names; more than kFrameMax: it is no header.
size_t FrameSize(std::string_view header) {
  size_t size = 0;
  for (size_t i = 4; i < kHeader; ++i) size = size << 8 | static_cast<unsigned char>(header[i]);
  return static_cast<unsigned char>(header[0]) <= 2 ? size : kFrameMax + 1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ContainerLog>> ContainerLog::Open(const std::string& path,
                                                                 const std::string& container,
                                                                 int64_t bytes_max) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return Failed(path);
  const std::string note = path + ".at";
  const int note_fd = open(note.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (note_fd < 0) {
    const absl::Status status = Failed(note);
    close(fd);
    return status;
  }
  std::unique_ptr<ContainerLog> log(new ContainerLog(path, container, bytes_max, fd, note_fd));
  if (auto status = log->Continue(); !status.ok()) return status;
  return log;
}

ContainerLog::ContainerLog(std::string path, std::string container, int64_t bytes_max, int fd,
                           int note_fd)
    : path_(std::move(path)),
      container_(std::move(container)),
      bytes_max_(bytes_max),
      fd_(fd),
      note_fd_(note_fd),
      latest_(kStart) {}

ContainerLog::~ContainerLog() {
  close(fd_);
  close(note_fd_);
}

absl::Status ContainerLog::Continue() {
  struct stat info = {};
  if (fstat(fd_, &info) != 0) return Failed(path_);
  size_ = info.st_size;
  char text[256];
  const ssize_t length = pread(note_fd_, text, sizeof(text), 0);
  const std::vector<std::string> parts =
      absl::StrSplit(std::string(text, length > 0 ? length : 0), absl::ByAnyChar(" \n"));
  int64_t noted = 0;
  if (parts.size() >= 3 && parts[0] == container_ && IsTimestamp(parts[1]) &&
      absl::SimpleAtoi(parts[2], &noted)) {
    latest_ = parts[1];
    if (noted < size_ && ftruncate(fd_, noted) != 0) return Failed(path_);
    size_ = std::min(size_, noted);
  }
  return WriteNote();
}

std::string ContainerLog::BeginStream() {
  pending_.clear();
  skip_upto_ = latest_;
  return ToSeconds(latest_);
}

absl::Status ContainerLog::Feed(std::string_view bytes) {
  pending_.append(bytes.data(), bytes.size());
  std::string text;
  size_t at = 0;
  while (pending_.size() - at >= kHeader) {
    const size_t size = FrameSize(std::string_view(pending_).substr(at, kHeader));
    if (size > kFrameMax) {
      return absl::DataLossError(
          absl::StrCat(path_, ": the log stream is broken: expected the header of a frame"));
    }
    if (pending_.size() - at - kHeader < size) break;
    std::string_view entry = std::string_view(pending_).substr(at + kHeader, size);
    at += kHeader + size;
    if (entry.size() > kTimestamp && IsTimestamp(entry.substr(0, kTimestamp))) {
      const std::string time(entry.substr(0, kTimestamp));
      if (time <= skip_upto_) continue;
      // Standard output and error are not quite in the order of their times.
      latest_ = std::max(latest_, time);
      entry.remove_prefix(kTimestamp + 1);
    }
    text.append(entry.data(), entry.size());
  }
  pending_.erase(0, at);
  return text.empty() ? absl::OkStatus() : Write(text);
}

absl::Status ContainerLog::Write(std::string_view text) {
  if (full()) return absl::OkStatus();
  std::string last;
  if (size_ + static_cast<int64_t>(text.size()) >= bytes_max_) {
    last = absl::StrCat(std::string(text.substr(0, bytes_max_ - size_)), "\n[more than ",
                        bytes_max_, " bytes: the rest of this log is not kept]\n");
    text = last;
  }
  while (!text.empty()) {
    const ssize_t written = write(fd_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Failed(path_);
    size_ += written;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return WriteNote();
}

absl::Status ContainerLog::WriteNote() {
  // Always of the same length, and in one write: what is read is an old note or a new one.
  const std::string note = absl::StrFormat("%s %s %020d\n", container_, latest_, size_);
  if (pwrite(note_fd_, note.data(), note.size(), 0) != static_cast<ssize_t>(note.size())) {
    return Failed(path_ + ".at");
  }
  return absl::OkStatus();
}

void ContainerLog::Finish() { unlink((path_ + ".at").c_str()); }

}  // namespace trainyard::coordinator
