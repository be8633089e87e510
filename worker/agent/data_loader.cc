#include "worker/agent/data_loader.h"

#include <filesystem>
#include <new>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/agent/archive.h"
#include "worker/agent/digest.h"
#include "worker/agent/retry.h"

namespace trainyard::agent {
namespace {

// A hash that differs means that the data changed since they were submitted: final.
absl::Status CheckHash(const v1::DataFile& file, const std::string& path, const std::string& name) {
  if (file.sha256().empty() || std::filesystem::is_directory(path)) return absl::OkStatus();
  const absl::StatusOr<std::string> found = HashOfFile(path);
  if (!found.ok()) return absl::UnavailableError(found.status().message());
  if (*found == file.sha256()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected SHA-256 ", file.sha256(), " as at submit, found ", *found));
}

// A snapshot or file that is torn at the coordinator, or missing there, may be whole again later;
// it must not be taken for a torn checkpoint.
absl::Status Transient(const absl::Status& status) {
  if (absl::IsCancelled(status) || absl::IsInvalidArgument(status)) return status;
  return absl::UnavailableError(status.message());
}

}  // namespace

DataLoader::DataLoader(BlobClient& blobs, BlobCache& cache, const HttpsOptions& https,
                       std::string folder, AttemptControl& control)
    : blobs_(blobs), cache_(cache), https_(https), folder_(std::move(folder)), control_(control) {}

absl::StatusOr<LoadedData> DataLoader::Load(const v1::JobSpec& spec,
                                            const std::string& snapshot_sha256, bool with_test) {
  if (!snapshot_sha256.empty()) {
    if (absl::Status status = UnpackSnapshot(snapshot_sha256); !status.ok()) return status;
  }
  const v1::Data& data = spec.data();
  LoadedData loaded;
  absl::StatusOr<engine::Dataset> train = Read(data, data.train(), "data.train");
  if (!train.ok()) return train.status();
  loaded.train = *std::move(train);
  if (data.has_validation()) {
    absl::StatusOr<engine::Dataset> validation = Read(data, data.validation(), "data.validation");
    if (!validation.ok()) return validation.status();
    loaded.validation = *std::move(validation);
  }
  if (with_test && data.has_test()) {
    absl::StatusOr<engine::Dataset> test = Read(data, data.test(), "data.test");
    if (!test.ok()) return test.status();
    loaded.test = *std::move(test);
  }
  return loaded;
}

absl::Status DataLoader::UnpackSnapshot(const std::string& sha256) {
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
  return ExtractArchive(path, folder_);
}

absl::StatusOr<std::string> DataLoader::Locate(const v1::DataFile& file) {
  if (control_.wish() >= Wish::kStop) return absl::CancelledError(control_.reason());
  if (!file.url().empty()) return LocateUrl(file);
  if (!file.host_path().empty()) return LocateOnHost(file);
  std::string path;
  if (absl::Status status = ResolveInside(folder_, file.path(), &path); !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckHash(file, path, file.path()); !status.ok()) return status;
  return path;
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
  if (status.ok()) return path;
  if (absl::IsCancelled(status)) return status;
  // Another hash, a refused address, 404: what the spec says is not there, for good.
  return absl::InvalidArgumentError(absl::StrCat(file.url(), ": ", status.message()));
}

absl::StatusOr<engine::Dataset> DataLoader::Read(const v1::Data& data, const v1::DataSet& set,
                                                 const std::string& which) {
  std::vector<std::string> images, labels;
  for (auto [files, paths] :
       {std::pair{&set.images(), &images}, std::pair{&set.labels(), &labels}}) {
    for (const v1::DataFile& file : *files) {
      absl::StatusOr<std::string> path = Locate(file);
      if (!path.ok()) {
        return absl::Status(path.status().code(),
                            absl::StrCat(which, ": ", path.status().message()));
      }
      paths->push_back(*std::move(path));
    }
  }
  const auto expect = [&](size_t n_images, size_t n_labels) {
    if (images.size() == n_images && labels.size() == n_labels) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(which, ": found ", images.size(), " image and ",
                                                   labels.size(), " label files, expected ",
                                                   n_images, " and ", n_labels));
  };
  try {
    engine::Dataset dataset;
    switch (data.format()) {
      case v1::DATA_FORMAT_IDX:
        if (absl::Status status = expect(1, 1); !status.ok()) return status;
        dataset = engine::ReadIdx(images[0], labels[0], data.classes());
        break;
      case v1::DATA_FORMAT_CIFAR:
        if (absl::Status status = expect(std::max<size_t>(1, images.size()), 0); !status.ok()) {
          return status;
        }
        dataset = engine::ReadCifar(images, data.classes());
        break;
      case v1::DATA_FORMAT_FOLDER:
        if (absl::Status status = expect(1, 0); !status.ok()) return status;
        dataset = engine::ReadFolder(
            images[0], {data.class_names().begin(), data.class_names().end()},
            {data.image().channels(), data.image().height(), data.image().width()});
        break;
      default:
        return absl::InvalidArgumentError(absl::StrCat(
            "data.format: found ", static_cast<int>(data.format()),
            ", which this worker does not know; it may be older than the coordinator"));
    }
    if (set.count() > 0 && dataset.count() != set.count()) {
      return absl::InvalidArgumentError(absl::StrCat(
          which, ": found ", dataset.count(), " images, expected ", set.count(), " as at submit"));
    }
    return dataset;
  } catch (const kernels::Error& error) {
    return absl::InvalidArgumentError(absl::StrCat(which, ": ", error.what()));
  }
}

}  // namespace trainyard::agent
