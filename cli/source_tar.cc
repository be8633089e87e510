// Writing a SourceTree as a tar archive.
#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <git2.h>

#include <cstring>
#include <fstream>

#include "cli/source_tree.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

using Archive = std::unique_ptr<archive, int (*)(archive*)>;
using Entry = std::unique_ptr<archive_entry, void (*)(archive_entry*)>;

// Collects what libarchive writes into pieces for the sink.
struct Pieces {
  size_t piece_bytes;
  const std::function<absl::Status(std::string_view)>& sink;
  std::string waiting;
  absl::Status status;

  absl::Status Flush() {
    if (status.ok() && !waiting.empty()) status = sink(waiting);
    waiting.clear();
    return status;
  }
};

la_ssize_t TakeBytes(archive*, void* data, const void* buffer, size_t length) {
  auto& pieces = *static_cast<Pieces*>(data);
  std::string_view rest(static_cast<const char*>(buffer), length);
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, pieces.piece_bytes - pieces.waiting.size());
    pieces.waiting.append(part);
    rest.remove_prefix(part.size());
    if (pieces.waiting.size() == pieces.piece_bytes && !pieces.Flush().ok()) return -1;
  }
  return static_cast<la_ssize_t>(length);
}

absl::Status ArchiveError(archive* tar, const Pieces& pieces, const std::string& path) {
  if (!pieces.status.ok()) return pieces.status;
  const char* text = archive_error_string(tar);
  return absl::InternalError(
      fmt::format("{}: {}", CleanLine(path), text == nullptr ? "cannot be archived" : text));
}

absl::Status Changed(const SourceFile& file) {
  return absl::InvalidArgumentError(
      fmt::format("{}: changed or became unreadable while it was uploaded; submit again",
                  CleanLine(file.path)));
}

absl::Status WriteFromDisk(archive* tar, const SourceFile& file, const Pieces& pieces) {
  std::ifstream in(file.on_disk, std::ios::binary);
  std::string buffer(256 << 10, '\0');
  int64_t left = file.bytes;
  while (left > 0) {
    const auto want =
        static_cast<std::streamsize>(std::min<int64_t>(left, static_cast<int64_t>(buffer.size())));
    if (!in.read(buffer.data(), want)) return Changed(file);
    if (archive_write_data(tar, buffer.data(), static_cast<size_t>(want)) != want) {
      return ArchiveError(tar, pieces, file.path);
    }
    left -= want;
  }
  if (!in || in.peek() != std::ifstream::traits_type::eof()) return Changed(file);
  return absl::OkStatus();
}

absl::Status WriteFromGit(archive* tar, git_repository* repository, const SourceFile& file,
                          const Pieces& pieces) {
  git_oid id;
  git_blob* blob = nullptr;
  if (git_oid_fromstr(&id, file.blob.c_str()) != 0 ||
      git_blob_lookup(&blob, repository, &id) != 0) {
    return Changed(file);
  }
  const la_ssize_t written =
      archive_write_data(tar, git_blob_rawcontent(blob), static_cast<size_t>(file.bytes));
  git_blob_free(blob);
  return written == file.bytes ? absl::OkStatus() : ArchiveError(tar, pieces, file.path);
}

}  // namespace

absl::Status WriteTar(const SourceTree& tree, size_t piece_bytes,
                      const std::function<absl::Status(std::string_view)>& sink) {
  Pieces pieces{piece_bytes, sink, {}, absl::OkStatus()};
  const Archive tar(archive_write_new(), archive_write_free);
  archive_write_set_format_pax_restricted(tar.get());
  archive_write_set_options(tar.get(),
                            "hdrcharset=BINARY");  // names are bytes here, as they are on disk
  archive_write_set_bytes_in_last_block(tar.get(), 1);
  if (archive_write_open(tar.get(), &pieces, nullptr, TakeBytes, nullptr) != ARCHIVE_OK) {
    return ArchiveError(tar.get(), pieces, "archive");
  }
  for (const SourceFile& file : tree.files) {
    const Entry entry(archive_entry_new(), archive_entry_free);
    archive_entry_set_pathname(entry.get(), file.path.c_str());
    if (file.link.empty()) {
      archive_entry_set_filetype(entry.get(), AE_IFREG);
      archive_entry_set_perm(entry.get(), file.executable ? 0755 : 0644);
      archive_entry_set_size(entry.get(), file.bytes);
    } else {
      archive_entry_set_filetype(entry.get(), AE_IFLNK);
      archive_entry_set_perm(entry.get(), 0777);
      archive_entry_set_symlink(entry.get(), file.link.c_str());
      archive_entry_set_size(entry.get(), 0);
    }
    archive_entry_set_mtime(entry.get(), 0, 0);
    if (archive_write_header(tar.get(), entry.get()) != ARCHIVE_OK) {
      return ArchiveError(tar.get(), pieces, file.path);
    }
    if (!file.link.empty()) continue;
    const absl::Status status = file.blob.empty()
                                    ? WriteFromDisk(tar.get(), file, pieces)
                                    : WriteFromGit(tar.get(), tree.repository.get(), file, pieces);
    if (!status.ok()) return status;
  }
  if (archive_write_close(tar.get()) != ARCHIVE_OK)
    return ArchiveError(tar.get(), pieces, "archive");
  return pieces.Flush();
}

}  // namespace trainyard::cli
