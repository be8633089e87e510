// Images of data sets that stay in host memory, on their way to steps: in portions, each of which
// fills one half of a staging buffer, while steps read the other half. A thread gathers a portion's
// images in pinned memory, a stream of its own copies them.
//
// Source: NVIDIA, "CUDA C++ Best Practices Guide", on overlapping transfers with computation.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/gatherer.h"
#include "kernels/cuda/placement.h"
#include "kernels/cuda/resources.h"

namespace trainyard::kernels::cuda {

bool SameSet(const ImageSet& a, const ImageSet& b);

class ImageStream {
 public:
  // Both halves: two batches at least.
  static int64_t LeastBytes(ValueShape shape, int batch_size);

  // `bytes` of device memory and as much pinned, LeastBytes or more. Throws OutOfMemory, starting
  // with `what`.
  ImageStream(const std::string& what, ValueShape shape, int batch_size, int64_t bytes);
  ~ImageStream();

  int64_t bytes() const { return staging_.bytes(); }

  // What will be asked for, in whole batches of batch_size but for the last, in place of what was
  // expected so far. What follows an index that the set has not is left out.
  void Expect(const ImageSet& images, std::span<const int32_t> indices);

  // Where as many of the batches of `batch` images lie as are there together, at least one. What
  // `stream` does next finds them there. Quick where it was expected, right in any case.
  Placement Take(const ImageSet& images, std::span<const int32_t> indices, int64_t batch,
                 const Stream& stream);

  // Everything that reads what was taken is on the stream.
  void Taken(const Stream& stream);

 private:
  struct Half {
    ImageSet set;
    std::vector<int32_t> order;  // empty: nothing is there
    size_t taken = 0;            // so many images of it
    bool sent = false;           // its copy is on its way or done
    PinnedMemory pinned;
    Event copied, read;
  };

  Half& now() { return halves_[now_]; }
  Half& next() { return halves_[1 - now_]; }
  // How many batches of those asked for come next in this half.
  static int64_t Matching(const Half& half, const ImageSet& images,
                          std::span<const int32_t> indices, int64_t batch);
  void GatherNext();
  void SendNext();
  void Turn(const Stream& stream);

  const int64_t image_bytes_;
  int64_t half_images_ = 0;
  Stream copies_;
  DeviceMemory staging_;
  char* pixels_ = nullptr;  // of both halves
  int32_t* labels_ = nullptr;
  std::array<Half, 2> halves_;
  int now_ = 0;
  // What is to be gathered after the portions of both halves.
  ImageSet expected_set_;
  std::vector<int32_t> expected_;
  size_t gathered_ = 0;  // so many of it
  Gatherer gatherer_;    // the last member: it ends before what it writes to
};

}  // namespace trainyard::kernels::cuda
