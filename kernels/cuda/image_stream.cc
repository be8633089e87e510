#include "kernels/cuda/image_stream.h"

#include <algorithm>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/check.h"

namespace trainyard::kernels::cuda {
namespace {

constexpr int64_t kLabelBytes = sizeof(int32_t);
// Numbers of images in both halves are 32 bits.
constexpr int64_t kHalfImagesMax = int64_t{1} << 29;

// In a half that is rounded up to whole 256 bytes.
int64_t PixelBytes(int64_t images, int64_t image_bytes) {
  return RoundUp<256>(images * image_bytes);
}

}  // namespace

bool SameSet(const ImageSet& a, const ImageSet& b) {
  return a.pixels.data() == b.pixels.data() && a.pixels.size() == b.pixels.size() &&
         a.labels.data() == b.labels.data() && a.labels.size() == b.labels.size();
}

int64_t ImageStream::LeastBytes(ValueShape shape, int batch_size) {
  const int64_t images = 2 * int64_t{batch_size};
  return PixelBytes(images, shape.size()) + images * kLabelBytes;
}

ImageStream::ImageStream(const std::string& what, ValueShape shape, int batch_size, int64_t bytes)
    : image_bytes_(shape.size()) {
  const int64_t least = LeastBytes(shape, batch_size);
  const int64_t batches = std::clamp<int64_t>(bytes / least, 1, kHalfImagesMax / batch_size);
  half_images_ = batches * batch_size;
  const int64_t pixel_bytes = PixelBytes(2 * half_images_, image_bytes_);
  staging_ = DeviceMemory(what, pixel_bytes + 2 * half_images_ * kLabelBytes);
  pixels_ = staging_.data();
  labels_ = reinterpret_cast<int32_t*>(staging_.data() + pixel_bytes);
  for (Half& half : halves_) {
    half.pinned = PinnedMemory(PixelBytes(half_images_, image_bytes_) + half_images_ * kLabelBytes);
  }
}

// A copy may be under way, from pinned memory that is about to be freed. One that was lost ends
// too.
ImageStream::~ImageStream() { cudaStreamSynchronize(copies_.get()); }

void ImageStream::Expect(const ImageSet& images, std::span<const int32_t> indices) {
  gatherer_.Cancel();
  for (Half& half : halves_) half.order.clear();
  const auto is_there = [&](int32_t index) { return index >= 0 && index < images.count(); };
  const auto end = std::find_if_not(indices.begin(), indices.end(), is_there);
  expected_set_ = images;
  expected_.assign(indices.begin(), end);
  gathered_ = 0;
  GatherNext();
}

// Into the half that no step will read any more.
void ImageStream::GatherNext() {
  Half& half = next();
  const size_t count = std::min(static_cast<size_t>(half_images_), expected_.size() - gathered_);
  const auto first = expected_.begin() + static_cast<std::ptrdiff_t>(gathered_);
  half.set = expected_set_;
  half.order.assign(first, first + static_cast<std::ptrdiff_t>(count));
  half.taken = 0;
  half.sent = false;
  gathered_ += count;
  if (count == 0) return;
  half.copied.Synchronize();  // what was in its pinned memory has left
  char* pixels = half.pinned.data();
  gatherer_.Start({half.set, half.order, pixels,
                   reinterpret_cast<int32_t*>(pixels + PixelBytes(half_images_, image_bytes_))});
}

void ImageStream::SendNext() {
  Half& half = next();
  gatherer_.Wait();
  half.read.HoldBack(copies_);
  const int64_t first = (1 - now_) * half_images_, count = static_cast<int64_t>(half.order.size());
  const auto copy = [&](const char* host, int64_t bytes, void* device) {
    CheckCuda(cudaMemcpyAsync(device, host, static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                              copies_.get()),
              "copying images to the device");
  };
  const char* pinned = half.pinned.data();
  copy(pinned, count * image_bytes_, pixels_ + first * image_bytes_);
  copy(pinned + PixelBytes(half_images_, image_bytes_), count * kLabelBytes, labels_ + first);
  half.copied.Record(copies_);
  half.sent = true;
}

void ImageStream::Turn(const Stream& stream) {
  if (!next().sent) SendNext();
  next().copied.HoldBack(stream);
  now_ = 1 - now_;
  GatherNext();
}

int64_t ImageStream::Matching(const Half& half, const ImageSet& images,
                              std::span<const int32_t> indices, int64_t batch) {
  if (half.order.empty() || !SameSet(half.set, images)) return 0;
  const auto left = std::span(half.order).subspan(half.taken);
  const auto [end, _] = std::mismatch(left.begin(), left.end(), indices.begin(), indices.end());
  return (end - left.begin()) / batch;
}

Placement ImageStream::Take(const ImageSet& images, std::span<const int32_t> indices, int64_t batch,
                            const Stream& stream) {
  int64_t batches = Matching(now(), images, indices, batch);
  if (batches == 0) {
    if (Matching(next(), images, indices, batch) == 0) Expect(images, indices);
    Turn(stream);
    batches = Matching(now(), images, indices, batch);
  }
  Placement placement;
  placement.source = {reinterpret_cast<const uint8_t*>(pixels_), labels_};
  placement.batches = batches;
  placement.side_by_side = true;
  placement.first = now_ * half_images_ + static_cast<int64_t>(now().taken);
  now().taken += static_cast<size_t>(batches * batch);
  return placement;
}

void ImageStream::Taken(const Stream& stream) {
  now().read.Record(stream);
  // The copy of the next portion runs beside these steps. Where they are the portion's last, it is
  // needed next, so waiting for its gathering costs nothing.
  if (next().order.empty() || next().sent) return;
  const bool last = !now().order.empty() && now().taken == now().order.size();
  if (last || gatherer_.Done()) SendNext();
}

}  // namespace trainyard::kernels::cuda
