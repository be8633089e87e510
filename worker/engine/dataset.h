// Images and labels, decoded to bytes, in memory. Readers throw kernels::Error with file, what was
// found and what was expected; they never allocate more than the files justify.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace trainyard::engine {

class MappedFile;

// Moves, but does not copy: it may be a gigabyte, or a mapping of a file.
class Dataset {
 public:
  Dataset();
  // pixels: labels.size() * shape.size() bytes, NCHW.
  Dataset(kernels::ValueShape shape, std::vector<uint8_t> pixels, std::vector<int32_t> labels);
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;
  ~Dataset();

  kernels::ImageSet images() const;
  int64_t count() const;
  kernels::ValueShape shape() const;

 private:
  friend Dataset CachedDataset(const std::string&, const std::string&,
                               const std::function<Dataset()>&, std::string*);

  kernels::ValueShape shape_;
  // What images() shows: the vectors, or parts of the mapped file.
  std::span<const uint8_t> pixels_;
  std::span<const int32_t> labels_;
  std::vector<uint8_t> own_pixels_;
  std::vector<int32_t> own_labels_;
  std::unique_ptr<MappedFile> file_;
};

// The data set kept in `folder` under `key`, mapped into memory, so that all processes of a host
// share its pages. If there is none, or it is damaged, it is what `read` returns, and is kept for
// the next. The key stands for everything the data set is made from (its files' hashes, its shape):
// 1 to 128 letters, digits, '-' or '_', else kernels::Error. Where it cannot be kept (disk full)
// the data set is returned all the same, and `problem`, if not null, says why.
Dataset CachedDataset(const std::string& folder, const std::string& key,
                      const std::function<Dataset()>& read, std::string* problem);

// MNIST family, gzip or not. Labels must be below `classes`.
Dataset ReadIdx(const std::string& images_file, const std::string& labels_file, int classes);

// CIFAR-10 (record: label, 3072 bytes) or CIFAR-100 (coarse label, fine label, 3072 bytes; the fine
// one counts), by `classes` 10 or 100. Gzip or not.
Dataset ReadCifar(const std::vector<std::string>& files, int classes);

// One folder per class (names in `class_names` order give the labels), PNG or JPEG inside, files in
// name order, resized to `shape` (bilinear) and converted to its 1 or 3 channels.
Dataset ReadFolder(const std::string& folder, const std::vector<std::string>& class_names,
                   kernels::ValueShape shape);

}  // namespace trainyard::engine
