#include "kernels/cpu/parameter_layout.h"

#include <algorithm>
#include <map>
#include <string>

#include "kernels/check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/layout.h"

namespace trainyard::kernels::cpu {
namespace {

using Form = ParameterLayout::Form;

// Color and its opacity: with more channels, blocks of 16 waste less.
constexpr int kFewChannels = 4;

int64_t Blocks(int64_t floats) { return (floats + kBlock - 1) / kBlock; }

Form VectorForm(int64_t size) {
  Form form;
  form.outputs = size;
  form.floats = Blocks(size) * kBlock;
  return form;
}

// (panel, tap, padded input, output)
Form TapsForm(int64_t outputs, int64_t inputs, int64_t taps) {
  Form form{outputs, inputs, taps};
  form.input = kBlock;
  form.tap = Blocks(inputs) * kBlock * kBlock;
  form.panel = taps * form.tap;
  form.floats = Blocks(outputs) * form.panel;
  return form;
}

// (panel, input, tap, output)
Form FirstForm(int64_t outputs, int64_t inputs, int64_t taps) {
  Form form{outputs, inputs, taps};
  form.tap = kBlock;
  form.input = taps * kBlock;
  form.panel = inputs * form.input;
  form.floats = Blocks(outputs) * form.panel;
  return form;
}

// (tap, padded channel)
Form DepthwiseForm(int64_t channels, int64_t taps) {
  Form form{channels, 1, taps};
  form.tap = Blocks(channels) * kBlock;
  form.floats = taps * form.tap;
  return form;
}

Form WeightForm(const Graph& graph, const Op& op, InputForm input) {
  const ValueShape &in = graph.values[op.inputs[0]], &out = graph.values[op.output];
  if (op.kind == OpKind::kLinear) {
    if (input == InputForm::kFlat && op.inputs[0] == 0) return TapsForm(out.size(), in.size(), 1);
    return TapsForm(out.size(), in.channels, int64_t{in.height} * in.width);
  }
  if (op.kind != OpKind::kConv) return VectorForm(in.channels);
  const int64_t taps = int64_t{op.kernel_h} * op.kernel_w;
  if (op.groups == 1) {
    const bool first = input == InputForm::kPlain && op.inputs[0] == 0;
    return first ? FirstForm(out.channels, in.channels, taps)
                 : TapsForm(out.channels, in.channels, taps);
  }
  if (op.groups == in.channels && op.groups == out.channels) {
    return DepthwiseForm(out.channels, taps);
  }
  return VectorForm(int64_t{out.channels} * (in.channels / op.groups) * taps);
}

struct Found {
  const Op* op = nullptr;
  const char* what = "";
  Form form;
};

int64_t CanonicalSize(const Form& form) { return form.outputs * form.inputs * form.taps; }

// By canonical offset.
class Tensors {
 public:
  void Add(const Op& op, const char* what, int64_t offset, const Form& form) {
    if (offset < 0) return;
    const auto [at, added] = found_.emplace(offset, Found{&op, what, form});
    if (!added) Fail(at->second, offset, "is " + OpLabel(op) + "'s " + what + " too");
  }

  // The form of the slice there: a vector if no op points at it.
  Form Take(int64_t offset, int64_t size) {
    const auto at = size == 0 ? found_.end() : found_.find(offset);
    if (at == found_.end()) return VectorForm(size);
    const Found tensor = at->second;
    const int64_t wanted = CanonicalSize(tensor.form);
    if (wanted != size) {
      Fail(tensor, offset,
           "has " + std::to_string(wanted) + " floats, the slice there " + std::to_string(size));
    }
    found_.erase(at);
    return tensor.form;
  }

  // Throws unless all were taken.
  void CheckTaken() const {
    if (found_.empty()) return;
    Fail(found_.begin()->second, found_.begin()->first, "lies within another tensor");
  }

  // Floats of the tensor at `offset`, or, where there is none, up to the next one or the end.
  int64_t SizeAt(int64_t offset, int64_t end) const {
    const auto at = found_.lower_bound(offset);
    if (at == found_.end()) return end - offset;
    return at->first == offset ? CanonicalSize(at->second.form) : at->first - offset;
  }

 private:
  [[noreturn]] static void Fail(const Found& tensor, int64_t offset, const std::string& what) {
    throw Error(OpLabel(*tensor.op) + ": its " + tensor.what + " at " + std::to_string(offset) +
                " " + what);
  }

  std::map<int64_t, Found> found_;
};

// Calls line(offset of a row in the panel, j) for every element j of an output's run.
template <typename Line>
void ForRows(const Form& form, int64_t begin, int64_t end, const Line& line) {
  int64_t input = begin / form.taps, tap = begin % form.taps;
  for (int64_t j = begin; j < end; ++j) {
    line(input * form.input + tap * form.tap, j - begin);
    if (++tap == form.taps) {
      tap = 0;
      ++input;
    }
  }
}

// A panel is walked in runs of this many elements of each of its outputs, by way of a square in the
// first cache: runs of different outputs may lie a multiple of 4096 bytes apart, and read element
// by element they would push each other out.
struct Square {
  float at[kBlock][kBlock] = {};
};

// Of the panel whose first output's run is at `canonical`, `outputs` of them there.
void PackPanel(const Form& form, int64_t outputs, const float* canonical, float* packed) {
  const int64_t run = form.inputs * form.taps;
  Square square;
  for (int64_t begin = 0; begin < run; begin += kBlock) {
    const int64_t end = std::min(run, begin + kBlock);
    for (int64_t o = 0; o < outputs; ++o) {
      const float* from = canonical + o * run;
      std::copy(from + begin, from + end, square.at[o]);
    }
    ForRows(form, begin, end, [&](int64_t offset, int64_t j) {
      for (int o = 0; o < kBlock; ++o) packed[offset + o] = square.at[o][j];
    });
  }
}

void UnpackPanel(const Form& form, int64_t outputs, const float* packed, float* canonical) {
  const int64_t run = form.inputs * form.taps;
  Square square;
  for (int64_t begin = 0; begin < run; begin += kBlock) {
    const int64_t end = std::min(run, begin + kBlock);
    ForRows(form, begin, end, [&](int64_t offset, int64_t j) {
      for (int o = 0; o < kBlock; ++o) square.at[o][j] = packed[offset + o];
    });
    for (int64_t o = 0; o < outputs; ++o) {
      std::copy_n(square.at[o], end - begin, canonical + o * run + begin);
    }
  }
}

bool IsVector(const Form& form) { return form.inputs * form.taps == 1 && form.panel == kBlock; }

// body(panel, outputs in it, offset of its first output in the canonical tensor)
template <typename Body>
void ForPanels(const Form& form, const Body& body) {
  const int64_t run = form.inputs * form.taps;
  ParallelFor(Blocks(form.outputs), run * kBlock, [&](int64_t p) {
    body(p, std::min<int64_t>(kBlock, form.outputs - p * kBlock), p * kBlock * run);
  });
}

void Copy(const float* from, int64_t count, float* to) {
  ParallelSpans(
      count, [&](int64_t begin, int64_t end) { std::copy(from + begin, from + end, to + begin); });
}

void Fill(float* to, int64_t count) {
  ParallelSpans(count, [&](int64_t begin, int64_t end) { std::fill(to + begin, to + end, 0.0f); });
}

}  // namespace

InputForm InputFormOf(const Graph& graph) {
  bool plain = graph.values[0].channels <= kFewChannels, flat = true;
  for (const Op& op : graph.ops) {
    if (std::find(op.inputs.begin(), op.inputs.end(), 0) == op.inputs.end()) continue;
    plain = plain && op.kind == OpKind::kConv && op.groups == 1;
    flat = flat && op.kind == OpKind::kLinear;
  }
  return plain ? InputForm::kPlain : flat ? InputForm::kFlat : InputForm::kChannelsLast;
}

ParameterLayout::ParameterLayout(const Graph& graph) : input_form_(InputFormOf(graph)) {
  Tensors parameters, statistics;
  for (const Op& op : graph.ops) {
    const ParameterOffsets& offsets = op.offsets;
    const Form vector = VectorForm(graph.values[op.output].channels);
    parameters.Add(op, "weight", offsets.weight, WeightForm(graph, op, input_form_));
    parameters.Add(op, "bias", offsets.bias, vector);
    statistics.Add(op, "running mean", offsets.running_mean, vector);
    statistics.Add(op, "running variance", offsets.running_var, vector);
  }
  for (const Graph::Slice& slice : graph.slices) {
    parameters_.Append(slice.size, slice.decays, parameters.Take(slice.offset, slice.size));
  }
  parameters.CheckTaken();
  // Statistics have no slices but those that ops point at.
  for (int64_t at = 0; at < graph.statistic_count;) {
    const int64_t size = statistics.SizeAt(at, graph.statistic_count);
    statistics_.Append(size, false, statistics.Take(at, size));
    at += size;
  }
  statistics.CheckTaken();
}

void ParameterLayout::Span::Append(int64_t canonical_size, bool decays, const Form& form) {
  slices.push_back({canonical(), canonical_size, floats, form.floats, decays});
  forms.push_back(form);
  floats += form.floats;
}

int64_t ParameterLayout::Span::Packed(int64_t canonical) const {
  if (canonical < 0) return -1;
  // The last of those that begin there: empty ones come before.
  const auto after =
      std::upper_bound(slices.begin(), slices.end(), canonical,
                       [](int64_t offset, const Slice& slice) { return offset < slice.canonical; });
  if (after == slices.begin() || std::prev(after)->canonical != canonical) {
    throw Error("cpu: no tensor begins at offset " + std::to_string(canonical));
  }
  return std::prev(after)->packed;
}

void ParameterLayout::Span::Pack(std::span<const float> canonical, float* packed) const {
  for (size_t s = 0; s < slices.size(); ++s) {
    const Slice& slice = slices[s];
    const Form& form = forms[s];
    const float* from = canonical.data() + slice.canonical;
    float* to = packed + slice.packed;
    if (slice.packed_size != slice.canonical_size) Fill(to, slice.packed_size);
    if (IsVector(form)) {
      Copy(from, slice.canonical_size, to);
      continue;
    }
    ForPanels(form, [&](int64_t p, int64_t outputs, int64_t first) {
      PackPanel(form, outputs, from + first, to + p * form.panel);
    });
  }
}

void ParameterLayout::Span::Unpack(const float* packed, std::span<float> canonical) const {
  for (size_t s = 0; s < slices.size(); ++s) {
    const Form& form = forms[s];
    const float* from = packed + slices[s].packed;
    float* to = canonical.data() + slices[s].canonical;
    if (IsVector(form)) {
      Copy(from, slices[s].canonical_size, to);
      continue;
    }
    ForPanels(form, [&](int64_t p, int64_t outputs, int64_t first) {
      UnpackPanel(form, outputs, from + p * form.panel, to + first);
    });
  }
}

void ParameterLayout::PackParameters(std::span<const float> canonical, float* packed) const {
  parameters_.Pack(canonical, packed);
}

void ParameterLayout::UnpackParameters(const float* packed, std::span<float> canonical) const {
  parameters_.Unpack(packed, canonical);
}

void ParameterLayout::PackStatistics(std::span<const float> canonical, float* packed) const {
  statistics_.Pack(canonical, packed);
}

void ParameterLayout::UnpackStatistics(const float* packed, std::span<float> canonical) const {
  statistics_.Unpack(packed, canonical);
}

}  // namespace trainyard::kernels::cpu
