// Convolutions of any kernel, stride, padding and groups as products over taps. A line of output
// pixels, and the input pixels that one tap reads for it, are rows of matrices where they lie, so
// nothing is copied:
//   forward     out line  = sum over taps of (input line at the tap) w[tap]
//   data        input gradient's line at the tap += (dy line) w[tap]^T, tap after tap
//   weights     dw[tap]  += (input lines at the tap)^T (dy lines)
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/conv_core.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/layout.h"

namespace trainyard::kernels::cpu {
namespace {

// Pixels whose input and gradient stay in L1 while the weights' gradient takes them in, tap after
// tap.
constexpr int64_t kBandPixels = 256;
// Weights that stay in L2 while lines pass by.
constexpr int64_t kBlockFloats = 64 * 1024;
// A pack has so many pixels of output where its staged images stay within so many floats.
constexpr int64_t kPackPixels = 256, kPackFloats = 256 * 1024;
// Packs are cut so that there are at least so many, for threads to share.
constexpr int kPacks = 16;

// Neighbouring panels of 16 columns that take the same channels of the other side.
struct Block {
  int panel = 0, panels = 0;
  int first = 0, depth = 0;  // of the other side's channels
};

// Weights as (panel of columns, tap, channel of the other side, column in the panel). Columns are
// the outputs forwards, the inputs backwards. Without groups every panel takes all channels. With
// groups it takes those from its first column's group to its last one's, which lie side by side;
// weights between different groups are zeros there.
struct Panels {
  Panels(int columns, int others, int groups, int taps);

  int columns, others, groups, taps;
  int pitch = 0;  // channels of a tap; those that a block lacks are not used
  std::vector<Block> blocks;
  std::vector<int64_t> tap_offsets;

  int count() const { return Padded(columns) / kBlock; }
  int64_t panel_floats() const { return int64_t{taps} * pitch * kBlock; }
  int64_t floats() const { return count() * panel_floats(); }
  bool WorthThreads() const { return floats() >= kWorthThreads; }
  // Calls body(index here, column, other, tap) for every pair of channels in one group of panel p.
  template <typename Body>
  void ForEach(int panel, const Body& body) const;
};

Panels::Panels(int columns, int others, int groups, int taps)
    : columns(columns), others(others), groups(groups), taps(taps) {
  const int own = columns / groups, other = others / groups;
  for (int p = 0; p < count(); ++p) {
    const int last = std::min((p + 1) * kBlock, columns) - 1;
    const int first = p * kBlock / own * other;
    const int depth = (last / own + 1) * other - first;
    pitch = std::max(pitch, groups == 1 ? Padded(depth) : depth);
    Block* block = blocks.empty() ? nullptr : &blocks.back();
    // An even number: the micro-kernel takes panels in pairs.
    const int64_t most =
        std::max<int64_t>(1, kBlockFloats / (int64_t{taps} * depth * kBlock * 2)) * 2;
    const bool joins =
        block != nullptr && block->first == first && block->depth == depth && block->panels < most;
    if (joins) {
      ++block->panels;
    } else {
      blocks.push_back({p, 1, first, depth});
    }
  }
  for (int t = 0; t < taps; ++t) tap_offsets.push_back(int64_t{t} * pitch * kBlock);
}

template <typename Body>
void Panels::ForEach(int panel, const Body& body) const {
  const int own = columns / groups, other = others / groups;
  const int begin = panel * kBlock, end = std::min(begin + kBlock, columns);
  const int first = begin / own * other;
  for (int column = begin; column < end; ++column) {
    const int group = column / own;
    for (int tap = 0; tap < taps; ++tap) {
      for (int o = group * other; o < (group + 1) * other; ++o) {
        const int64_t row = panel * panel_floats() + tap_offsets[tap] + (o - first) * kBlock;
        body(row + column - begin, column, o, tap);
      }
    }
  }
}

class DirectCore : public ConvCore {
 public:
  explicit DirectCore(const ConvGeometry& geometry);

  std::string name() const override {
    return groups_ > 1 ? "direct groups" : taps() == 1 ? "direct 1x1" : "direct";
  }
  void Pack(const float* weights, float* packed) const override;
  void PackBackward(const float* weights, const float* packed, float* backward) const override;
  void Forward(int images, const float* in, const float* packed, float* scratch,
               float* out) const override;
  void Backward(int images, const float* in, const float* dy, const float* backward, float* scratch,
                float* dx, float* sums) const override;
  void Finish(const float* sums, float* dw) const override;

 private:
  // Pixels of output, from `first` in each of `lines` lines.
  struct Band {
    int64_t line = 0, lines = 0, first = 0, pixels = 0;
  };

  int taps() const { return static_cast<int>(tap_offsets_.size()); }
  // Of `images`: all is one line where input and output pixels lie alike.
  int64_t Lines(int images) const { return joined_ ? 1 : int64_t{images} * out_.height; }
  int64_t LinePixels(int images) const { return joined_ ? images * plane_ : out_.width; }
  template <typename Body>
  void ForEachBand(int images, const Body& body) const;
  int64_t CanonicalIndex(int output, int input, int tap) const;
  void AddDataGradient(const Band& band, const float* dy, const float* backward, float* dx) const;
  void AddWeightGradient(const Band& band, const float* in, const float* dy, float* sums) const;
  void ChoosePack(int batch);

  const ValueShape in_, out_;
  const int groups_;
  const int in_pitch_, out_pitch_;  // floats from pixel to pixel
  const int64_t plane_;
  int64_t step_ = 0;          // floats between the input pixels of neighbouring output pixels
  bool joined_ = false;       // 1x1 with stride 1 on whole images
  bool overlaps_ = true;      // an input pixel may have several taps
  bool covers_ = false;       // every pixel of the frame has one
  int64_t input_floats_ = 0;  // of a frame
  std::vector<int64_t> tap_offsets_;         // in the input frame
  std::vector<int64_t> line_in_, line_out_;  // where lines of a pack begin
  const Panels forward_, backward_;
};

DirectCore::DirectCore(const ConvGeometry& geometry)
    : in_(geometry.in),
      out_(geometry.out),
      groups_(geometry.op->groups),
      in_pitch_(Padded(in_.channels)),
      out_pitch_(Padded(out_.channels)),
      plane_(int64_t{out_.height} * out_.width),
      forward_(out_.channels, in_.channels, groups_, geometry.op->kernel_h * geometry.op->kernel_w),
      backward_(in_.channels, out_.channels, groups_, forward_.taps) {
  const Op& op = *geometry.op;
  input_frame_ = InputFrame(geometry);
  output_frame_ = OutputFrame(geometry);
  step_ = int64_t{op.stride_w} * in_pitch_;
  joined_ = forward_.taps == 1 && op.stride_h == 1 && op.stride_w == 1 &&
            input_frame_.height == out_.height && input_frame_.width == out_.width;
  overlaps_ = op.kernel_h > op.stride_h || op.kernel_w > op.stride_w;
  covers_ = op.kernel_h == op.stride_h && op.kernel_w == op.stride_w &&
            input_frame_.height == out_.height * op.stride_h &&
            input_frame_.width == out_.width * op.stride_w;
  input_floats_ = int64_t{input_frame_.height} * input_frame_.width * in_pitch_;
  ChoosePack(geometry.batch);

  const int64_t row = int64_t{input_frame_.width} * in_pitch_;
  for (int t = 0; t < forward_.taps; ++t) {
    tap_offsets_.push_back(t / op.kernel_w * row + int64_t{t % op.kernel_w} * in_pitch_);
  }
  for (int64_t line = 0; line < int64_t{pack_} * out_.height; ++line) {
    const int64_t image = line / out_.height, y = line % out_.height;
    line_in_.push_back((image * input_frame_.height + y * op.stride_h) * row);
    line_out_.push_back(line * out_.width * out_pitch_);
  }
  packed_floats_ = groups_ == 1 ? 0 : forward_.floats();
  packed_backward_floats_ = backward_.floats();
  sum_floats_ = forward_.floats();
}

void DirectCore::ChoosePack(int batch) {
  const int64_t frames = input_floats_ + plane_ * out_pitch_;
  const int64_t wanted = std::min((kPackPixels + plane_ - 1) / plane_, kPackFloats / frames);
  pack_ = static_cast<int>(std::clamp<int64_t>(wanted, 1, std::max(1, batch / kPacks)));
}

int64_t DirectCore::CanonicalIndex(int output, int input, int tap) const {
  const int inputs = in_.channels / groups_;
  return (int64_t{output} * inputs + input % inputs) * taps() + tap;
}

void DirectCore::Pack(const float* weights, float* packed) const {
  if (groups_ == 1) return;
#pragma omp parallel for schedule(static) if (forward_.WorthThreads())
  for (int panel = 0; panel < forward_.count(); ++panel) {
    std::fill_n(packed + panel * forward_.panel_floats(), forward_.panel_floats(), 0.0f);
    forward_.ForEach(panel, [&](int64_t index, int output, int input, int tap) {
      packed[index] = weights[CanonicalIndex(output, input, tap)];
    });
  }
}

void DirectCore::PackBackward(const float* weights, const float* /*packed*/,
                              float* backward) const {
#pragma omp parallel for schedule(static) if (backward_.WorthThreads())
  for (int panel = 0; panel < backward_.count(); ++panel) {
    if (groups_ > 1) {
      std::fill_n(backward + panel * backward_.panel_floats(), backward_.panel_floats(), 0.0f);
      backward_.ForEach(panel, [&](int64_t index, int input, int output, int tap) {
        backward[index] = weights[CanonicalIndex(output, input, tap)];
      });
      continue;
    }
    for (int tap = 0; tap < taps(); ++tap) {  // squares of 16 are without gaps on both sides
      for (int from = 0; from < forward_.count(); ++from) {
        TransposePanels(weights + from * forward_.panel_floats() + forward_.tap_offsets[tap] +
                            panel * kBlock * kBlock,
                        kBlock, kBlock,
                        backward + panel * backward_.panel_floats() + backward_.tap_offsets[tap] +
                            from * kBlock * kBlock);
      }
    }
  }
}

void DirectCore::Forward(int images, const float* in, const float* packed, float* /*scratch*/,
                         float* out) const {
  for (const Block& block : forward_.blocks) {
    for (int64_t line = 0; line < Lines(images); ++line) {
      Multiply({.rows = static_cast<int>(LinePixels(images)),
                .panels = block.panels,
                .depth = block.depth,
                .segments = taps(),
                .a_offsets = tap_offsets_.data(),
                .b_offsets = forward_.tap_offsets.data(),
                .a = in + line_in_[line] + block.first,
                .a_row = step_,
                .b = packed + block.panel * forward_.panel_floats(),
                .b_panel = forward_.panel_floats(),
                .c = out + line_out_[line] + block.panel * kBlock,
                .c_row = out_pitch_});
    }
  }
}

template <typename Body>
void DirectCore::ForEachBand(int images, const Body& body) const {
  const int64_t all = Lines(images), pixels = LinePixels(images);
  const int64_t lines = std::max<int64_t>(1, kBandPixels / pixels);
  for (int64_t line = 0; line < all; line += lines) {
    for (int64_t first = 0; first < pixels; first += kBandPixels) {
      body(Band{line, std::min(lines, all - line), first, std::min(kBandPixels, pixels - first)});
    }
  }
}

void DirectCore::Backward(int images, const float* in, const float* dy, const float* backward,
                          float* /*scratch*/, float* dx, float* sums) const {
  if (dx != nullptr && !covers_) std::fill_n(dx, images * input_floats_, 0.0f);
  ForEachBand(images, [&](const Band& band) {
    AddWeightGradient(band, in, dy, sums);
    if (dx != nullptr) AddDataGradient(band, dy, backward, dx);
  });
}

void DirectCore::AddDataGradient(const Band& band, const float* dy, const float* backward,
                                 float* dx) const {
  for (const Block& block : backward_.blocks) {
    for (int64_t line = band.line; line < band.line + band.lines; ++line) {
      for (int tap = 0; tap < taps(); ++tap) {
        Multiply(
            {.rows = static_cast<int>(band.pixels),
             .panels = block.panels,
             .depth = block.depth,
             .a = dy + line_out_[line] + band.first * out_pitch_ + block.first,
             .a_row = out_pitch_,
             .b = backward + block.panel * backward_.panel_floats() + backward_.tap_offsets[tap],
             .b_panel = backward_.panel_floats(),
             .c = dx + line_in_[line] + band.first * step_ + tap_offsets_[tap] +
                  block.panel * kBlock,
             .c_row = step_,
             .accumulate = overlaps_});
      }
    }
  }
}

void DirectCore::AddWeightGradient(const Band& band, const float* in, const float* dy,
                                   float* sums) const {
  for (const Block& block : forward_.blocks) {
    for (int tap = 0; tap < taps(); ++tap) {
      Multiply({.rows = block.depth,
                .panels = block.panels,
                .depth = static_cast<int>(band.pixels),
                .segments = static_cast<int>(band.lines),
                .a_offsets = line_in_.data() + band.line,
                .b_offsets = line_out_.data() + band.line,
                .a = in + band.first * step_ + tap_offsets_[tap] + block.first,
                .a_row = 1,
                .a_depth = step_,
                .b = dy + band.first * out_pitch_ + block.panel * kBlock,
                .b_panel = kBlock,
                .b_depth = out_pitch_,
                .c = sums + block.panel * forward_.panel_floats() + forward_.tap_offsets[tap],
                .c_row = kBlock,
                .c_panel = forward_.panel_floats(),
                .accumulate = true});
    }
  }
}

void DirectCore::Finish(const float* sums, float* dw) const {
  if (groups_ > 1) {
    const int64_t used = CanonicalIndex(out_.channels, 0, 0);
    std::fill_n(dw + used, (used + kBlock - 1) / kBlock * kBlock - used, 0.0f);
  }
#pragma omp parallel for schedule(static) if (forward_.WorthThreads())
  for (int panel = 0; panel < forward_.count(); ++panel) {
    if (groups_ == 1) {
      std::copy_n(sums + panel * forward_.panel_floats(), forward_.panel_floats(),
                  dw + panel * forward_.panel_floats());
      continue;
    }
    forward_.ForEach(panel, [&](int64_t index, int output, int input, int tap) {
      dw[CanonicalIndex(output, input, tap)] = sums[index];
    });
  }
}

}  // namespace

std::unique_ptr<ConvCore> MakeDirectCore(const ConvGeometry& geometry) {
  const int groups = geometry.op->groups;
  const bool depthwise =
      groups > 1 && groups == geometry.in.channels && groups == geometry.out.channels;
  if (geometry.plain_input || depthwise) {
    throw Error(geometry.op->name + ": found " +
                (depthwise ? "a depthwise convolution" : "a plain input") +
                ", a direct one expects channels last and more channels to a group");
  }
  return std::make_unique<DirectCore>(geometry);
}

}  // namespace trainyard::kernels::cpu
