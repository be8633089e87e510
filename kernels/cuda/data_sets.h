// The data sets of a program. Each lies in device memory if it fits beside what is there, which is
// decided when it is first met; else it stays in host memory, and its images come as steps need
// them (image_stream.h).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/image_stream.h"
#include "kernels/cuda/placement.h"
#include "kernels/cuda/resources.h"

namespace trainyard::kernels::cuda {

class DataSets {
 public:
  // bytes_max: of device memory for all of them, if so much is free; 0: what is free, less a
  // reserve.
  DataSets(std::string what, ValueShape shape, int batch_size, int64_t bytes_max);

  int64_t bytes() const;  // of device memory, in use

  // The three of ImageStream, for any set. Throw OutOfMemory.
  void Expect(const ImageSet& images, std::span<const int32_t> indices);
  Placement Take(const ImageSet& images, std::span<const int32_t> indices, int64_t batch,
                 const Stream& stream);
  void Taken(const Stream& stream);

 private:
  struct Set {
    ImageSet images;
    DeviceMemory pixels, labels;  // none: it streams
    bool resident() const { return pixels.data() != nullptr; }
  };
  const Set& Find(const ImageSet& images);
  // Bytes for one more set, or for staging, with so many set aside.
  int64_t Room(int64_t aside) const;
  ImageStream& Streaming();

  const std::string what_;
  const ValueShape shape_;
  const int batch_size_;
  const int64_t bytes_max_;
  Stream uploads_;
  std::vector<Set> sets_;
  std::unique_ptr<ImageStream> stream_;  // of all sets that do not lie in device memory
};

}  // namespace trainyard::kernels::cuda
