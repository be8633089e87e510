// The inputs of a program's calls: gathered, augmented and normalised by a thread of its own while
// the step before computes.
//
// What comes next is told by Program::Expect: images, in order. How they will be augmented is not,
// but hardly ever changes: as in the call before, one step later. Take compares all of that with
// what it is asked for, so a guess costs time where it is wrong, and never changes a byte.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "kernels/augment_draws.h"
#include "kernels/backend.h"
#include "kernels/cpu/arena.h"
#include "kernels/cpu/simd/load_image.h"

namespace trainyard::kernels::cpu {

// Used by one thread at a time.
class BatchLoader {
 public:
  // For batches of up to `batch_size` images. Throws Error where there is no memory for two.
  BatchLoader(const ValueShape& shape, int batch_size);
  ~BatchLoader();
  BatchLoader(const BatchLoader&) = delete;

  // See Program. Until then bytes become byte / 255.
  void SetNormalisation(std::span<const float> mean, std::span<const float> inverse_std);
  // Whether every byte becomes a number.
  bool finite() const { return normaliser_->finite(); }

  // See Program. The images must stay for as long as they are expected, or until the end.
  void Expect(const ImageSet& images, std::span<const int32_t> indices);

  // images[indices], at most batch_size of them, plain (n, channels, height, width): augmented as
  // `scalars` say, or not, where it is null. Valid until the next call. What was not made ahead
  // (the first batch after Expect, for one) is made now, by the threads of the caller's
  // ThreadScope.
  const float* Take(const ImageSet& images, std::span<const int32_t> indices,
                    const StepScalars* scalars);

  // What its callers waited for.
  struct Waits {
    int64_t taken = 0;    // batches
    int64_t ahead = 0;    // of these, those that were made ahead
    int64_t awaited = 0;  // of those, the ones that were not done yet
    double seconds = 0;   // in Take, altogether
  };
  const Waits& waits() const { return waits_; }
  void ResetWaits() { waits_ = {}; }

  int64_t bytes() const { return memory_.bytes(); }

 private:
  // All that the bytes of a batch depend on, and where they lie.
  struct Batch {
    ImageSet images;
    std::vector<int32_t> indices;  // empty: there is none
    std::optional<AugmentationStream> augmentation;
    float* pixels = nullptr;
  };

  void Fill(Batch& batch, const ImageSet& images, std::span<const int32_t> indices,
            const std::optional<AugmentationStream>& augmentation) const;
  bool Holds(const Batch& batch, const ImageSet& images, std::span<const int32_t> indices,
             const std::optional<AugmentationStream>& augmentation) const;
  void Make(const Batch& batch, int64_t n) const;  // its n-th image
  bool IsExpected(const ImageSet& images, std::span<const int32_t> indices) const;
  void MakeAhead(size_t count, std::optional<AugmentationStream> augmentation);
  bool Finish();  // waits for the thread; false if it was done already
  void Cancel();
  void Run();

  const ValueShape shape_;
  const size_t batch_size_;
  std::optional<Normaliser> normaliser_;
  Arena memory_;
  std::array<Batch, 2> batches_;
  Batch* now_ = &batches_[0];    // the caller's
  Batch* ahead_ = &batches_[1];  // the thread's, while it works
  // What is to be asked for, and how much of it was.
  ImageSet expected_set_;
  std::vector<int32_t> expected_;
  size_t position_ = 0;
  Waits waits_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool works_ = false, ends_ = false;
  std::atomic<bool> cancelled_ = false;
  std::thread thread_;  // once there is something to make ahead
};

}  // namespace trainyard::kernels::cpu
