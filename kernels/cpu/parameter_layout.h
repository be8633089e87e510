// How the cpu backend keeps parameters, gradients, moments and statistics: in the form that its
// matrix products read and write, for the optimizer does not mind. Canonical spans (backend.h) are
// converted only when state goes in or out. Padding is zeros, and stays so under every update.
//
//   vectors (biases, batch norm)   padded to whole blocks of 16
//   convolutions                   (panel of 16 outputs, tap, input, output in the panel); inputs
//                                  padded, but for the network's first layer, where a run is
//                                  (panel, channel, tap, output in the panel)
//   convolutions with groups       canonical, padded at the end; depthwise with one output a
//                                  channel: (tap, padded channels)
//   linear layers                  (panel of 16 outputs, pixel, input channel padded, output in the
//                                  panel): convolutions whose taps are the input's pixels; of a
//                                  flat network input one tap
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/graph.h"

namespace trainyard::kernels::cpu {

// How the network's first layers read its input (batch, channels, height, width).
enum class InputForm {
  kPlain,         // as it comes: all are dense convolutions, and there are few channels
  kFlat,          // as one vector, padded: all are linear layers
  kChannelsLast,  // as every other value
};
InputForm InputFormOf(const Graph& graph);

class ParameterLayout {
 public:
  // The graph has passed CheckGraph. Throws Error, naming the op, where an op's tensor is not a
  // whole slice of its own.
  explicit ParameterLayout(const Graph& graph);

  InputForm input_form() const { return input_form_; }

  // A tensor: where it lies in the canonical span and in ours.
  struct Slice {
    int64_t canonical = 0, canonical_size = 0;
    int64_t packed = 0, packed_size = 0;  // whole blocks of 16
    bool decays = false;
  };
  const std::vector<Slice>& slices() const { return parameters_.slices; }  // in order
  int64_t parameter_floats() const { return parameters_.floats; }
  int64_t statistic_floats() const { return statistics_.floats; }
  int64_t canonical_parameters() const { return parameters_.canonical(); }
  int64_t canonical_statistics() const { return statistics_.canonical(); }

  // From an offset of ops (ParameterOffsets) to ours; -1 stays -1.
  int64_t Parameter(int64_t canonical) const { return parameters_.Packed(canonical); }
  int64_t Statistic(int64_t canonical) const { return statistics_.Packed(canonical); }

  // Spread over threads. Packing writes the padding too.
  void PackParameters(std::span<const float> canonical, float* packed) const;
  void UnpackParameters(const float* packed, std::span<float> canonical) const;
  void PackStatistics(std::span<const float> canonical, float* packed) const;
  void UnpackStatistics(const float* packed, std::span<float> canonical) const;

  // Every form is one map: of a canonical tensor (outputs, inputs, taps), element (o, i, t) lies at
  // o / 16 * panel + i * input + t * tap + o % 16. The default is a vector.
  struct Form {
    int64_t outputs = 0, inputs = 1, taps = 1;
    int64_t panel = 16, input = 0, tap = 0;
    int64_t floats = 0;
  };

 private:
  struct Span {
    std::vector<Slice> slices;
    std::vector<Form> forms;  // by slice
    int64_t floats = 0;

    int64_t canonical() const {
      return slices.empty() ? 0 : slices.back().canonical + slices.back().canonical_size;
    }
    void Append(int64_t canonical_size, bool decays, const Form& form);
    int64_t Packed(int64_t canonical) const;
    void Pack(std::span<const float> canonical, float* packed) const;
    void Unpack(const float* packed, std::span<float> canonical) const;
  };

  const InputForm input_form_;
  Span parameters_, statistics_;
};

}  // namespace trainyard::kernels::cpu
