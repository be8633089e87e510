#include "coordinator/source/detect_files.h"

#include <utility>

#include "coordinator/source/archive.h"

namespace trainyard::coordinator {
namespace {

class ArchiveFiles final : public SourceFiles {
 public:
  explicit ArchiveFiles(std::filesystem::path archive) : archive_(std::move(archive)) {}

  absl::Status List(const std::function<void(const std::string&, int64_t)>& visit) const override {
    return VisitArchive(
        archive_,
        [&](const ArchiveFile& file) {
          if (file.link.empty()) visit(file.path, file.size);
          return false;
        },
        [](const std::string&, std::string) {});
  }

  absl::Status Read(
      const std::set<std::string>& paths,
      const std::function<void(const std::string&, std::string)>& take) const override {
    if (paths.empty()) return absl::OkStatus();
    return VisitArchive(
        archive_, [&](const ArchiveFile& file) { return paths.contains(file.path); }, take);
  }

 private:
  const std::filesystem::path archive_;
};

}  // namespace

std::unique_ptr<SourceFiles> FilesOfArchive(std::filesystem::path archive) {
  return std::make_unique<ArchiveFiles>(std::move(archive));
}

}  // namespace trainyard::coordinator
