#include "worker/agent/data_loader.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "spdlog/spdlog.h"
#include "worker/agent/archive.h"
#include "worker/agent/digest.h"
#include "worker/agent/retry.h"

namespace trainyard::agent {
namespace {

namespace fs = std::filesystem;

// Part of every key: another number wherever a reader gives other images for the same files.
constexpr int kReaders = 1;

// Thrown inside this file alone, past the cache.
struct Refused {
  absl::Status status;
};

[[noreturn]] void Refuse(absl::StatusCode code, absl::string_view which, absl::string_view why) {
  throw Refused{absl::Status(code, absl::StrCat(which, ": ", why))};
}

// What changes when a file does: for those whose hash is not known.
std::string StateOf(const fs::path& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return absl::StrCat(path.string(), " missing\n");
  return absl::StrCat(path.string(), " ", info.st_ino, " ", info.st_size, " ", info.st_mtim.tv_sec,
                      ".", info.st_mtim.tv_nsec, " ", info.st_ctim.tv_sec, ".",
                      info.st_ctim.tv_nsec, "\n");
}

// Of a file, or of all that is in a folder.
std::string StateBelow(const std::string& path) {
  std::vector<std::string> states = {StateOf(path)};
  std::error_code error;
  for (fs::recursive_directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    states.push_back(StateOf(at->path()));
  }
  std::sort(states.begin(), states.end());
  return absl::StrJoin(states, "");
}

// A snapshot or file that is torn at the coordinator, or missing there, may be whole again later;
// it must not be taken for a torn checkpoint.
absl::Status Transient(const absl::Status& status) {
  if (absl::IsCancelled(status) || absl::IsInvalidArgument(status)) return status;
  return absl::UnavailableError(status.message());
}

engine::Dataset Decode(const v1::Data& data, const std::vector<std::string>& images,
                       const std::vector<std::string>& labels, const std::string& which) {
  const auto expect = [&](size_t n_images, size_t n_labels) {
    if (images.size() == n_images && labels.size() == n_labels) return;
    Refuse(absl::StatusCode::kInvalidArgument, which,
           absl::StrCat("found ", images.size(), " image and ", labels.size(),
                        " label files, expected ", n_images, " and ", n_labels));
  };
  switch (data.format()) {
    case v1::DATA_FORMAT_IDX:
      expect(1, 1);
      return engine::ReadIdx(images[0], labels[0], data.classes());
    case v1::DATA_FORMAT_CIFAR:
      expect(std::max<size_t>(1, images.size()), 0);
      return engine::ReadCifar(images, data.classes());
    case v1::DATA_FORMAT_FOLDER:
      expect(1, 0);
      return engine::ReadFolder(
          images[0], {data.class_names().begin(), data.class_names().end()},
          {data.image().channels(), data.image().height(), data.image().width()});
    default:
      Refuse(absl::StatusCode::kInvalidArgument, "data.format",
             absl::StrCat("found ", static_cast<int>(data.format()),
                          ", which this worker does not know; it may be older than the "
                          "coordinator"));
  }
}

}  // namespace

DataLoader::DataLoader(BlobClient& blobs, BlobCache& cache, const HttpsOptions& https,
                       std::string folder, AttemptControl& control)
    : blobs_(blobs), cache_(cache), https_(https), folder_(std::move(folder)), control_(control) {}

absl::StatusOr<LoadedData> DataLoader::Load(const v1::JobSpec& spec,
                                            const std::string& snapshot_sha256, bool with_test,
                                            const engine::DatasetCache& decoded) {
  snapshot_ = snapshot_sha256;
  const v1::Data& data = spec.data();
  LoadedData loaded;
  absl::StatusOr<engine::Dataset> train = Read(data, data.train(), "data.train", decoded);
  if (!train.ok()) return train.status();
  loaded.train = *std::move(train);
  if (data.has_validation()) {
    auto validation = Read(data, data.validation(), "data.validation", decoded);
    if (!validation.ok()) return validation.status();
    loaded.validation = *std::move(validation);
  }
  if (with_test && data.has_test()) {
    absl::StatusOr<engine::Dataset> test = Read(data, data.test(), "data.test", decoded);
    if (!test.ok()) return test.status();
    loaded.test = *std::move(test);
  }
  return loaded;
}

absl::Status DataLoader::UnpackSnapshot(const std::string& sha256) {
  snapshot_ = sha256;
  std::string path;
  const absl::Status status = Persist(control_, Wish::kStop, "fetching the source snapshot", [&] {
    absl::StatusOr<std::string> got = cache_.Get(
        sha256,
        [&](int64_t offset, const BlobCache::Sink& sink) {
          return blobs_.Fetch(sha256, offset, sink, control_, Wish::kStop);
        },
        control_);
    if (got.ok()) path = *std::move(got);
    return got.status();
  });
  if (!status.ok()) {
    return Transient({status.code(), absl::StrCat("source snapshot: ", status.message())});
  }
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return absl::UnavailableError(absl::StrCat(folder_, ": ", error.message()));
  const absl::Status extracted = ExtractArchive(path, folder_);
  unpacked_ = extracted.ok();
  return extracted;
}

absl::StatusOr<std::string> DataLoader::Locate(const v1::DataFile& file) {
  if (control_.wish() >= Wish::kStop) return absl::CancelledError(control_.reason());
  if (!file.url().empty()) return LocateUrl(file);
  if (!file.host_path().empty()) return LocateOnHost(file);
  if (!unpacked_ && !snapshot_.empty()) {
    if (absl::Status status = UnpackSnapshot(snapshot_); !status.ok()) return status;
  }
  std::string path;
  if (absl::Status status = ResolveInside(folder_, file.path(), &path); !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckHash(file, path, file.path()); !status.ok()) return status;
  return path;
}

// A hash that differs means that the data changed since they were submitted: final.
absl::Status DataLoader::CheckHash(const v1::DataFile& file, const std::string& path,
                                   const std::string& name) {
  if (file.sha256().empty() || std::filesystem::is_directory(path)) return absl::OkStatus();
  hashed_[path] = StateOf(path);
  const absl::StatusOr<std::string> found = HashOfFile(path);
  if (!found.ok()) return absl::UnavailableError(found.status().message());
  if (*found == file.sha256()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected SHA-256 ", file.sha256(), " as at submit, found ", *found));
}

absl::StatusOr<std::string> DataLoader::LocateOnHost(const v1::DataFile& file) {
  std::error_code error;
  if (std::filesystem::exists(file.host_path(), error)) {
    if (absl::Status status = CheckHash(file, file.host_path(), file.host_path()); !status.ok()) {
      return status;
    }
    return file.host_path();
  }
  // Another host may have it mounted, so this is not final.
  return absl::UnavailableError(absl::StrCat(
      file.host_path(), ": ", error ? error.message() : "no such file or folder on this host"));
}

absl::StatusOr<std::string> DataLoader::LocateUrl(const v1::DataFile& file) {
  std::string path;
  const absl::Status status = Persist(control_, Wish::kStop, "fetching " + file.url(), [&] {
    absl::StatusOr<std::string> got = cache_.Get(
        file.sha256(),
        [&](int64_t offset, const BlobCache::Sink& sink) {
          return FetchHttps(file.url(), offset, sink, https_, control_);
        },
        control_);
    if (got.ok()) path = *std::move(got);
    return got.status();
  });
  if (status.ok()) {
    hashed_[path] = StateOf(path);  // the cache replaces its files, and changes none
    return path;
  }
  if (absl::IsCancelled(status)) return status;
  // Another hash, a refused address, 404: what the spec says is not there, for good.
  return absl::InvalidArgumentError(absl::StrCat(file.url(), ": ", status.message()));
}

// Names the bytes that are read and how: by their hash where that is known, as of files, else by
// the snapshot they are in, else by when and where they were last changed on this host.
std::string DataLoader::KeyOf(const v1::Data& data, const v1::DataSet& set) const {
  std::string text = absl::StrCat("readers ", kReaders, "\nformat ", data.format(), " classes ",
                                  data.classes(), "\n");
  const bool folders = data.format() == v1::DATA_FORMAT_FOLDER;
  if (folders) {
    const v1::Image& image = data.image();
    absl::StrAppend(&text, image.channels(), "x", image.height(), "x", image.width(), "\n");
    for (const std::string& name : data.class_names()) {
      absl::StrAppend(&text, name.size(), " ", name, "\n");
    }
  }
  for (const auto* files : {&set.images(), &set.labels()}) {
    absl::StrAppend(&text, files->size(), " files\n");
    for (const v1::DataFile& file : *files) {
      if (!file.sha256().empty() && !folders) {
        absl::StrAppend(&text, "hash ", file.sha256(), "\n");
      } else if (!file.path().empty()) {
        absl::StrAppend(&text, "in ", snapshot_, " ", file.path(), "\n");
      } else {
        absl::StrAppend(&text, StateBelow(file.host_path()));
      }
    }
  }
  return HashOf(text);
}

absl::StatusOr<engine::Dataset> DataLoader::Read(const v1::Data& data, const v1::DataSet& set,
                                                 const std::string& which,
                                                 const engine::DatasetCache& decoded) {
  try {
    std::string problem;
    Files files;
    bool told = false;
    const auto read = [&]() -> engine::Dataset {
      try {
        engine::Dataset dataset = Decode(data, files.images, files.labels, which);
        ExpectUnchanged(files, which);
        return dataset;
      } catch (const kernels::Error&) {
        ExpectUnchanged(files, which);  // or nothing is wrong with it but the time
        throw;
      }
    };
    engine::Dataset dataset = decoded.Get({.key = [&] { return KeyOf(data, set); },
                                           .fetch = [&] { files = LocateAll(set, which); },
                                           .read = read,
                                           .pause = [&] { AwaitDecoder(which, &told); }},
                                          &problem);
    if (!problem.empty()) spdlog::warn("{}: {}", which, problem);
    if (set.count() > 0 && dataset.count() != set.count()) {
      return absl::InvalidArgumentError(absl::StrCat(
          which, ": found ", dataset.count(), " images, expected ", set.count(), " as at submit"));
    }
    return dataset;
  } catch (const Refused& refused) {
    return refused.status;
  } catch (const kernels::Error& error) {
    return absl::InvalidArgumentError(absl::StrCat(which, ": ", error.what()));
  }
}

DataLoader::Files DataLoader::LocateAll(const v1::DataSet& set, const std::string& which) {
  Files located;
  for (auto [files, paths] :
       {std::pair{&set.images(), &located.images}, std::pair{&set.labels(), &located.labels}}) {
    for (const v1::DataFile& file : *files) {
      absl::StatusOr<std::string> path = Locate(file);
      if (!path.ok()) Refuse(path.status().code(), which, path.status().message());
      paths->push_back(*std::move(path));
    }
  }
  return located;
}

// What was read is what was hashed only as long as the file is the same. The next try finds another
// hash, or the file at rest.
void DataLoader::ExpectUnchanged(const Files& files, const std::string& which) const {
  for (const auto* paths : {&files.images, &files.labels}) {
    for (const std::string& path : *paths) {
      const auto hashed = hashed_.find(path);
      if (hashed == hashed_.end() || hashed->second == StateOf(path)) continue;
      Refuse(absl::StatusCode::kUnavailable, which,
             absl::StrCat(path, ": changed while it was read"));
    }
  }
}

void DataLoader::AwaitDecoder(const std::string& which, bool* told) {
  if (!std::exchange(*told, true)) {
    spdlog::info("{}: waits for another worker, which decodes the same or keeps what it decoded",
                 which);
  }
  if (control_.Sleep(std::chrono::milliseconds(50), Wish::kStop)) return;
  throw Refused{absl::CancelledError(control_.reason())};
}

}  // namespace trainyard::agent
