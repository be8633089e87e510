#include "coordinator/launch/slurm_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNotesMax = 64 << 10;

absl::Status Trouble(std::string_view what, const std::string& path, int error) {
  const std::string message =
      absl::StrCat("cannot ", std::string(what), " ", path, ": ", strerror(error));
  if (error == ENOSPC || error == EDQUOT || error == ENFILE || error == EMFILE) {
    return absl::ResourceExhaustedError(message);
  }
  return absl::FailedPreconditionError(message);
}

// Whole or not at all, under its final name.
absl::Status WriteFile(const std::string& path, const std::string& text, mode_t mode) {
  const std::string unfinished = path + ".new";
  unlink(unfinished.c_str());
  const int fd = open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return Trouble("write", path, errno);
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t size = write(fd, text.data() + done, text.size() - done);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    done += static_cast<size_t>(size);
  }
  const int error = done < text.size() ? errno : 0;
  // A full or broken network file system may say so only here.
  if (close(fd) != 0 || error != 0) return Trouble("write", path, error != 0 ? error : errno);
  if (rename(unfinished.c_str(), path.c_str()) != 0) return Trouble("write", path, errno);
  return absl::OkStatus();
}

std::string ReadFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  std::string text(kNotesMax, '\0');
  const ssize_t size = read(fd, text.data(), text.size());
  close(fd);
  text.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return text;
}

}  // namespace

SlurmNotes ParseNotes(std::string_view text) {
  SlurmNotes notes;
  while (true) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return notes;
    const std::vector<std::string> words = absl::StrSplit(absl::string_view(text.data(), end), ' ');
    text.remove_prefix(end + 1);
    int64_t job = 0;
    if (words.size() != 3 || !absl::SimpleAtoi(words[1], &job) || job <= 0) continue;
    int status = 0;
    if (words[0] == "started" && notes.started_job == 0) {
      notes.started_job = job;
    } else if (words[0] == "ended" && !notes.status && absl::SimpleAtoi(words[2], &status)) {
      notes.status = status;
    } else if (words[0] == "memory") {
      notes.out_of_memory = true;
    } else if (words[0] == "refused") {
      notes.refused.insert(job);
    }
  }
}

bool SlurmFolder::Exists() const {
  struct stat info;
  return stat(path_.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

absl::StatusOr<bool> SlurmFolder::Make() const {
  std::error_code error;
  fs::create_directories(fs::path(path_).parent_path(), error);
  if (error) return Trouble("make", fs::path(path_).parent_path(), error.value());
  const bool made = mkdir(path_.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) return Trouble("make", path_, errno);
  // It is there before the job is, so that reading it never depends on how long a network file
  // system remembers that a file was missing.
  const std::string state = path_ + "/state";
  const int fd = open(state.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return Trouble("write", state, errno);
  close(fd);
  return made;
}

absl::Status SlurmFolder::WriteScript(const std::string& text) const {
  return WriteFile(script(), text, 0700);
}

absl::Status SlurmFolder::WriteAccess(const AccessFiles& files) const {
  const std::string folder = path_ + "/access";
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return Trouble("make", folder, errno);
  for (const auto& [name, text] : files) {
    const absl::Status status = WriteFile(absl::StrCat(folder, "/", name), text, 0400);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void SlurmFolder::DropAccess() const {
  std::error_code ignored;
  fs::remove_all(path_ + "/access", ignored);
}

absl::Status SlurmFolder::NoteJob(int64_t job) const {
  return WriteFile(path_ + "/job", absl::StrCat(job, "\n"), 0600);
}

std::optional<int64_t> SlurmFolder::ReadJob() const {
  int64_t job = 0;
  if (!absl::SimpleAtoi(ReadFile(path_ + "/job"), &job) || job <= 0) return std::nullopt;
  return job;
}

SlurmNotes SlurmFolder::ReadNotes() const { return ParseNotes(ReadFile(path_ + "/state")); }

}  // namespace trainyard::coordinator
