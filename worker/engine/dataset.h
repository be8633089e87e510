// Images and labels, decoded to bytes, in memory. Readers throw kernels::Error with file, what was
// found and what was expected; they never allocate more than the files justify.
#pragma once

#include <cstdint>
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
  // Of images that lie in the file.
  Dataset(MappedFile file, const kernels::ImageSet& images);
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;
  ~Dataset();

  kernels::ImageSet images() const;
  int64_t count() const;
  kernels::ValueShape shape() const;

 private:
  kernels::ValueShape shape_;
  // What images() shows: the vectors, or parts of the mapped file.
  std::span<const uint8_t> pixels_;
  std::span<const int32_t> labels_;
  std::vector<uint8_t> own_pixels_;
  std::vector<int32_t> own_labels_;
  std::unique_ptr<MappedFile> file_;
};

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
