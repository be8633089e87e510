#include "worker/engine/dataset.h"

#include <utility>

#include "worker/engine/mapped_file.h"

namespace trainyard::engine {

Dataset::Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;
Dataset::~Dataset() = default;

Dataset::Dataset(kernels::ValueShape shape, std::vector<uint8_t> pixels,
                 std::vector<int32_t> labels)
    : shape_(shape), own_pixels_(std::move(pixels)), own_labels_(std::move(labels)) {
  // A vector's elements stay where they are when it is moved, so the spans move along.
  pixels_ = own_pixels_;
  labels_ = own_labels_;
  if (pixels_.size() != labels_.size() * static_cast<size_t>(shape_.size())) {
    throw kernels::Error("data set: found " + std::to_string(pixels_.size()) +
                         " bytes of pixels, expected " + std::to_string(labels_.size()) +
                         " images of " + std::to_string(shape_.size()) + " bytes");
  }
}

Dataset::Dataset(MappedFile file, const kernels::ImageSet& images)
    : shape_(images.shape),
      pixels_(images.pixels),
      labels_(images.labels),
      file_(std::make_unique<MappedFile>(std::move(file))) {}

kernels::ImageSet Dataset::images() const { return {pixels_, labels_, shape_}; }
int64_t Dataset::count() const { return static_cast<int64_t>(labels_.size()); }
kernels::ValueShape Dataset::shape() const { return shape_; }

}  // namespace trainyard::engine
