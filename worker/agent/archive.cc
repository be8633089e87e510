#include "worker/agent/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <cerrno>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"

namespace trainyard::agent {
namespace {

namespace fs = std::filesystem;

struct CloseRead {
  void operator()(archive* a) const { archive_read_free(a); }
};
struct CloseWrite {
  void operator()(archive* a) const { archive_write_free(a); }
};

// True if `path`, taken from the archive's root, stays inside it.
bool StaysInside(const fs::path& path) {
  if (path.is_absolute()) return false;
  int depth = 0;
  for (const fs::path& part : path) {
    if (part == "..") {
      if (--depth < 0) return false;
    } else if (!part.empty() && part != ".") {
      ++depth;
    }
  }
  return true;
}

absl::Status Refuse(const std::string& name, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("source archive: \"", name, "\" ", why));
}

absl::Status CheckEntry(archive_entry* entry) {
  const char* name_or_null = archive_entry_pathname(entry);
  const std::string name = name_or_null == nullptr ? "" : name_or_null;
  const fs::path path(name);
  if (name.empty()) return Refuse(name, "is no name for a file");
  if (path.is_absolute()) return Refuse(name, "is an absolute path");
  for (const fs::path& part : path) {
    if (part == "..") return Refuse(name, "contains \"..\"");
  }
  if (const char* target = archive_entry_hardlink(entry)) {
    if (!StaysInside(target)) return Refuse(name, absl::StrCat("links out of it, to ", target));
    return absl::OkStatus();
  }
  switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
    case AE_IFDIR:
      return absl::OkStatus();
    case AE_IFLNK: {
      const char* target = archive_entry_symlink(entry);
      const bool inside = target != nullptr && fs::path(target).is_relative() &&
                          StaysInside(path.parent_path() / target);
      if (!inside) {
        return Refuse(name, absl::StrCat("links out of it, to ", target == nullptr ? "?" : target));
      }
      return absl::OkStatus();
    }
    default:
      return Refuse(name, "is neither file, folder nor link");
  }
}

absl::Status ReadError(archive* reader) {
  return absl::InvalidArgumentError(
      absl::StrCat("source archive cannot be read: ", archive_error_string(reader)));
}

absl::Status WriteError(archive* writer, const std::string& name) {
  const int error = archive_errno(writer);
  const std::string message =
      absl::StrCat("unpacking \"", name, "\": ", archive_error_string(writer));
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(absl::StrCat(message, ": disk full"));
  }
  return absl::UnavailableError(message);
}

absl::Status CopyData(archive* reader, archive* writer, const std::string& name) {
  for (;;) {
    const void* data = nullptr;
    size_t size = 0;
    la_int64_t offset = 0;
    const int result = archive_read_data_block(reader, &data, &size, &offset);
    if (result == ARCHIVE_EOF) return absl::OkStatus();
    if (result != ARCHIVE_OK) return ReadError(reader);
    if (archive_write_data_block(writer, data, size, offset) != ARCHIVE_OK) {
      return WriteError(writer, name);
    }
  }
}

}  // namespace

absl::Status ExtractArchive(const std::string& archive_path, const std::string& folder) {
  std::unique_ptr<archive, CloseRead> reader(archive_read_new());
  archive_read_support_format_tar(reader.get());
  archive_read_support_format_empty(reader.get());
  archive_read_support_filter_gzip(reader.get());
  if (archive_read_open_filename(reader.get(), archive_path.c_str(), 1 << 18) != ARCHIVE_OK) {
    return ReadError(reader.get());
  }
  // The archive's own idea of owners and modes is of no interest; links that appear only while it
  // is unpacked are caught by libarchive.
  std::unique_ptr<archive, CloseWrite> writer(archive_write_disk_new());
  archive_write_disk_set_options(writer.get(), ARCHIVE_EXTRACT_SECURE_SYMLINKS |
                                                   ARCHIVE_EXTRACT_SECURE_NODOTDOT |
                                                   ARCHIVE_EXTRACT_NO_OVERWRITE_NEWER);
  const fs::path root(folder);
  for (;;) {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(reader.get(), &entry);
    if (result == ARCHIVE_EOF) return absl::OkStatus();
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) return ReadError(reader.get());
    if (absl::Status status = CheckEntry(entry); !status.ok()) return status;

    const std::string name = archive_entry_pathname(entry);
    archive_entry_set_pathname(entry, (root / name).c_str());
    if (const char* target = archive_entry_hardlink(entry)) {
      archive_entry_set_hardlink(entry, (root / target).c_str());
    }
    if (archive_entry_filetype(entry) == AE_IFDIR) archive_entry_set_perm(entry, 0755);
    if (archive_write_header(writer.get(), entry) != ARCHIVE_OK) {
      return WriteError(writer.get(), name);
    }
    if (absl::Status status = CopyData(reader.get(), writer.get(), name); !status.ok()) {
      return status;
    }
    if (archive_write_finish_entry(writer.get()) != ARCHIVE_OK) {
      return WriteError(writer.get(), name);
    }
  }
}

absl::Status ResolveInside(const std::string& folder, const std::string& relative,
                           std::string* path) {
  if (!StaysInside(relative)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", relative, "\" leads out of the repository"));
  }
  std::error_code error;
  const fs::path root = fs::canonical(folder, error);
  const fs::path found = error ? fs::path() : fs::canonical(root / relative, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", relative, "\" in the repository: ", error.message()));
  }
  const fs::path inside = found.lexically_relative(root);
  if (inside.empty() || *inside.begin() == "..") {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", relative, "\" leads out of the repository, to ", found.string()));
  }
  *path = found.string();
  return absl::OkStatus();
}

}  // namespace trainyard::agent
