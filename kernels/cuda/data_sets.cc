#include "kernels/cuda/data_sets.h"

#include <algorithm>
#include <utility>

namespace trainyard::kernels::cuda {
namespace {

// A copy should take much longer than it takes to start; more gains nothing.
constexpr int64_t kStagingBytesMax = int64_t{512} << 20;
// Of what is free: data sets that follow, and smaller batches' plans, want some of it.
constexpr int64_t kStagingShare = 4;

}  // namespace

DataSets::DataSets(std::string what, ValueShape shape, int batch_size, int64_t bytes_max)
    : what_(std::move(what)), shape_(shape), batch_size_(batch_size), bytes_max_(bytes_max) {}

int64_t DataSets::bytes() const {
  int64_t bytes = stream_ == nullptr ? 0 : stream_->bytes();
  for (const Set& set : sets_) bytes += set.pixels.bytes() + set.labels.bytes();
  return bytes;
}

int64_t DataSets::Room(int64_t aside) const {
  const auto [free, total] = DeviceMemoryNow();
  const int64_t room = free - DeviceReserve(total) - aside;
  return bytes_max_ > 0 ? std::min(room, bytes_max_ - bytes()) : room;
}

const DataSets::Set& DataSets::Find(const ImageSet& images) {
  for (const Set& set : sets_) {
    if (SameSet(set.images, images)) return set;
  }
  Set set{images, {}, {}};
  const auto pixels = static_cast<int64_t>(images.pixels.size_bytes());
  const auto labels = static_cast<int64_t>(images.labels.size_bytes());
  // A set that streams must find its place later.
  const int64_t staging = stream_ != nullptr ? 0 : ImageStream::LeastBytes(shape_, batch_size_);
  if (pixels + labels <= Room(staging)) {
    set.pixels = DeviceMemory(what_ + ": the images", pixels);
    set.labels = DeviceMemory(what_ + ": the labels", labels);
    CopyToDevice(uploads_, images.pixels.data(), pixels, set.pixels.data());
    CopyToDevice(uploads_, images.labels.data(), labels, set.labels.data());
  }
  sets_.push_back(std::move(set));
  return sets_.back();
}

ImageStream& DataSets::Streaming() {
  if (stream_ == nullptr) {
    const int64_t least = ImageStream::LeastBytes(shape_, batch_size_);
    const int64_t most = std::max(least, kStagingBytesMax);
    const int64_t share = bytes_max_ > 0 ? Room(0) : Room(0) / kStagingShare;
    stream_ = std::make_unique<ImageStream>(what_ + ": images on their way", shape_, batch_size_,
                                            std::clamp(share, least, most));
  }
  return *stream_;
}

void DataSets::Expect(const ImageSet& images, std::span<const int32_t> indices) {
  if (!Find(images).resident()) Streaming().Expect(images, indices);
}

Placement DataSets::Take(const ImageSet& images, std::span<const int32_t> indices, int64_t batch,
                         const Stream& stream) {
  const Set& set = Find(images);
  if (!set.resident()) return Streaming().Take(images, indices, batch, stream);
  Placement placement;
  placement.source = {reinterpret_cast<const uint8_t*>(set.pixels.data()),
                      reinterpret_cast<const int32_t*>(set.labels.data())};
  placement.batches = static_cast<int64_t>(indices.size()) / batch;
  return placement;
}

void DataSets::Taken(const Stream& stream) {
  if (stream_ != nullptr) stream_->Taken(stream);
}

}  // namespace trainyard::kernels::cuda
