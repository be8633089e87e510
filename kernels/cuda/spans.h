// The order of the flat spans in device memory. Every tensor starts at a multiple of kSpanBlock
// elements, so that it can be read as vectors and weight decay is decided by the block; weights of
// convolutions and linear layers lie as kernels want them, KRSC, and not as state crosses the
// interface, KCRS. The two orders meet on the host, in ToDevice and ToCanonical.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/graph.h"

namespace trainyard::kernels::cuda {

// One tensor: (rows, channels, pixels) canonically, (rows, pixels, channels) on the device. What is
// not turned has one channel.
struct SpanTensor {
  int64_t canonical = 0, device = 0;  // where it starts, in floats
  int64_t rows = 1, channels = 1, pixels = 1;
  int64_t size() const { return rows * channels * pixels; }
};

class DeviceSpan {
 public:
  // Tensors without a place on the device yet, one after another without gaps canonically.
  explicit DeviceSpan(std::vector<SpanTensor> tensors);

  int64_t canonical_count() const { return canonical_count_; }
  int64_t count() const { return count_; }  // on the device; a multiple of kSpanBlock
  const std::vector<SpanTensor>& tensors() const { return tensors_; }

  // Where the tensor starts on the device that starts at `canonical`; -1 for -1.
  int64_t Place(int64_t canonical) const;

  // What lies between tensors on the device is zero. `canonical` may be empty: all zeros.
  std::vector<float> ToDevice(std::span<const float> canonical) const;
  void ToCanonical(std::span<const float> device, std::span<float> canonical) const;

 private:
  std::vector<SpanTensor> tensors_;
  int64_t canonical_count_ = 0, count_ = 0;
};

// The spans of a graph's parameters (and gradients, and moments) and running statistics.
class SpanLayout {
 public:
  // Throws Error, naming the op, where one of its tensors is not a slice of its own: gradients of
  // shared weights would not be added.
  explicit SpanLayout(const Graph& graph);

  const DeviceSpan& parameters() const { return parameters_; }
  const DeviceSpan& statistics() const { return statistics_; }
  // By block of kSpanBlock parameters: whether weight decay holds there.
  const std::vector<uint8_t>& decays() const { return decays_; }

 private:
  DeviceSpan parameters_, statistics_;
  std::vector<uint8_t> decays_;
};

}  // namespace trainyard::kernels::cuda
