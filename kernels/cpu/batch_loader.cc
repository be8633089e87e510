#include "kernels/cpu/batch_loader.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "kernels/cpu/parallel.h"

namespace trainyard::kernels::cpu {
namespace {

using Clock = std::chrono::steady_clock;
using Augmentation = std::optional<AugmentationStream>;

bool Same(const Augmentation& a, const Augmentation& b) {
  if (!a || !b) return !a && !b;
  return a->seed == b->seed && a->step == b->step && a->flip == b->flip && a->shift == b->shift &&
         a->cutout == b->cutout;
}

bool SamePixels(const ImageSet& a, const ImageSet& b) {
  return a.pixels.data() == b.pixels.data() && a.pixels.size() == b.pixels.size();
}

Augmentation AugmentationOf(const StepScalars* scalars) {
  if (scalars == nullptr) return std::nullopt;
  return AugmentationStream{scalars->seed, scalars->step, scalars->flip, scalars->shift,
                            scalars->cutout};
}

bool SameShape(const ValueShape& a, const ValueShape& b) {
  return a.channels == b.channels && a.height == b.height && a.width == b.width;
}

// In whole cache lines.
int64_t BatchBytes(const ValueShape& shape, int batch_size) {
  return (batch_size * shape.size() * int64_t{sizeof(float)} + 63) / 64 * 64;
}

}  // namespace

BatchLoader::BatchLoader(const ValueShape& shape, int batch_size)
    : shape_(shape),
      batch_size_(static_cast<size_t>(batch_size)),
      memory_(2 * BatchBytes(shape, batch_size)) {
  const auto channels = static_cast<size_t>(shape.channels);
  normaliser_.emplace(std::vector<float>(channels, 0.0f), std::vector<float>(channels, 1.0f));
  char* memory = memory_.data();
  for (Batch& batch : batches_) {
    batch.pixels = reinterpret_cast<float*>(memory);
    batch.indices.reserve(batch_size_);
    memory += BatchBytes(shape, batch_size);
  }
}

BatchLoader::~BatchLoader() {
  Cancel();
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void BatchLoader::SetNormalisation(std::span<const float> mean,
                                   std::span<const float> inverse_std) {
  Cancel();
  normaliser_.emplace(mean, inverse_std);
}

void BatchLoader::Expect(const ImageSet& images, std::span<const int32_t> indices) {
  Cancel();
  // A hint is not checked like a call: what follows an index that the set has not is left out.
  const bool fits = SameShape(images.shape, shape_) &&
                    static_cast<int64_t>(images.pixels.size()) == images.count() * shape_.size();
  const auto is_there = [&](int32_t index) { return index >= 0 && index < images.count(); };
  const auto end = std::find_if_not(indices.begin(), indices.end(), is_there);
  expected_set_ = images;
  expected_.assign(indices.begin(), fits ? end : indices.begin());
  position_ = 0;
}

const float* BatchLoader::Take(const ImageSet& images, std::span<const int32_t> indices,
                               const StepScalars* scalars) {
  const Clock::time_point start = Clock::now();
  const Augmentation augmentation = AugmentationOf(scalars);
  ++waits_.taken;
  const bool expected = IsExpected(images, indices);
  if (Holds(*ahead_, images, indices, augmentation)) {
    ++waits_.ahead;
    waits_.awaited += Finish();
    std::swap(now_, ahead_);
    ahead_->indices.clear();
  } else {
    // Where the images were foreseen and their augmentation was not, the thread's are of no use.
    if (expected) Cancel();
    Fill(*now_, images, indices, augmentation);
    ParallelFor(static_cast<int64_t>(indices.size()), shape_.size(),
                [&](int64_t n) { Make(*now_, n); });
  }
  if (expected) {
    position_ += indices.size();
    MakeAhead(std::min(indices.size(), expected_.size() - position_), augmentation);
  }
  waits_.seconds += std::chrono::duration<double>(Clock::now() - start).count();
  return now_->pixels;
}

bool BatchLoader::IsExpected(const ImageSet& images, std::span<const int32_t> indices) const {
  const auto left = std::span(expected_).subspan(position_);
  return SamePixels(images, expected_set_) && indices.size() <= left.size() &&
         std::equal(indices.begin(), indices.end(), left.begin());
}

bool BatchLoader::Holds(const Batch& batch, const ImageSet& images,
                        std::span<const int32_t> indices, const Augmentation& augmentation) const {
  return !indices.empty() && SamePixels(batch.images, images) &&
         std::equal(indices.begin(), indices.end(), batch.indices.begin(), batch.indices.end()) &&
         Same(batch.augmentation, augmentation);
}

void BatchLoader::Fill(Batch& batch, const ImageSet& images, std::span<const int32_t> indices,
                       const Augmentation& augmentation) const {
  batch.images = images;
  batch.indices.assign(indices.begin(), indices.end());
  batch.augmentation = augmentation;
}

void BatchLoader::Make(const Batch& batch, int64_t n) const {
  const ImageDraws draws =
      batch.augmentation
          ? DrawAugmentation(*batch.augmentation, static_cast<int>(n), shape_.height, shape_.width)
          : ImageDraws{};
  const int64_t size = shape_.size();
  normaliser_->Load(batch.images.pixels.data() + batch.indices[static_cast<size_t>(n)] * size,
                    shape_, draws, batch.pixels + n * size);
}

void BatchLoader::MakeAhead(size_t count, Augmentation augmentation) {
  if (count == 0) return;
  if (augmentation) ++augmentation->step;
  if (!thread_.joinable()) {
    try {
      thread_ = std::thread([this] { Run(); });
    } catch (const std::system_error&) {
      return expected_.clear();  // too many threads: each step makes its own
    }
  }
  Fill(*ahead_, expected_set_, std::span(expected_).subspan(position_, count), augmentation);
  {
    const std::lock_guard lock(mutex_);
    works_ = true;
  }
  changed_.notify_all();
}

bool BatchLoader::Finish() {
  std::unique_lock lock(mutex_);
  if (!works_) return false;
  changed_.wait(lock, [this] { return !works_; });
  return true;
}

void BatchLoader::Cancel() {
  cancelled_ = true;
  Finish();
  cancelled_ = false;
  ahead_->indices.clear();
}

void BatchLoader::Run() {
  // Being woken must not take the core from the step that woke it. A wish: without it all is right.
  const sched_param none{};
  pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return works_ || ends_; });
    if (ends_) return;
    const Batch& batch = *ahead_;
    lock.unlock();
    const auto count = static_cast<int64_t>(batch.indices.size());
    for (int64_t n = 0; n < count && !cancelled_; ++n) Make(batch, n);
    lock.lock();
    works_ = false;
    changed_.notify_all();
  }
}

}  // namespace trainyard::kernels::cpu
