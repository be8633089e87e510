// Drives a convolution over a batch: stages, computes and drains image after image on each thread,
// so that what stands around the convolution is done while the image is in the core's cache. Where
// a BatchCore is faster, images are loaded in threads, multiplied together, and stored in threads.
//
// Weight gradients are added up within fixed groups of images, then group after group: the bytes do
// not depend on the number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cpu/batch_core.h"
#include "kernels/cpu/conv_core.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/simd/layout.h"
#include "kernels/cpu/simd/staging.h"

namespace trainyard::kernels::cpu {

// Every so many-th pixel, from the upper left one on.
struct Stride {
  int y = 1, x = 1;
  bool operator==(const Stride&) const = default;
};

// Of images that lie like this, read every so many-th pixel.
Pitch PitchOf(const Layout& layout, const Stride& stride = {});

// Some pixels' part of a value's gradient.
struct SparseGradient {
  const float* g = nullptr;
  Layout layout;  // of g
  Stride stride;
};
// Adds an image's to the whole of it, whose pixels are `pitch` apart.
void AddSparse(const SparseGradient& sparse, int64_t image, const Pitch& pitch, float* to);

class Convolution {
 public:
  // `pools`: a 2x2 max pool is part of what drains.
  Convolution(const ConvGeometry& geometry, bool pools);
  // In this way, whichever is faster.
  Convolution(const ConvGeometry& geometry, bool pools, std::unique_ptr<BatchCore> batch);

  std::string name() const { return core().name(); }
  const ConvWay& core() const;
  Layout stored() const { return stored_; }  // of what Forward stores
  int groups() const;                        // of images whose weight gradients are kept apart
  int64_t scratch_floats() const;            // of each thread
  int64_t items() const;                     // with scratch that are spread over threads, at most
  int64_t group_floats() const;              // of `group_sums`, all groups
  int64_t chunk_floats() const;              // of `chunk`, which all threads share; mostly 0

  // Of the data gradient: the input's, or where a 1x1 kernel strides over pixels, of those alone
  // that it reads, which are so many apart.
  Layout gradient() const { return in_; }
  Stride stride() const { return stride_; }

  // Pointers are to the whole batch; epilogue and gradient to the first image's.
  struct ForwardCall {
    const float* x = nullptr;
    View view;
    const float* packed = nullptr;
    Epilogue epilogue;  // its bytes and sums: one image's after another's
    float* stored = nullptr;
    float* chunk = nullptr;
    ThreadScratch scratch;
  };
  void Forward(const ForwardCall& call) const;

  struct BackwardCall {
    const float* x = nullptr;
    View view;
    GradientView gradient;
    const float* packed_backward = nullptr;
    // In the form of gradient(); null: not wanted.
    float* dx = nullptr;
    Write write = Write::kStore;  // of dx
    SparseGradient more;          // joins dx
    GradientEnd end;              // sum and dot: (batch, channels)
    float* group_sums = nullptr;
    float* chunk = nullptr;
    float* dw = nullptr;
    float* db = nullptr;  // null: none
    ThreadScratch scratch;
  };
  void Backward(const BackwardCall& call) const;

 private:
  struct Staged;

  // Both: what Forward and Backward do with one image.
  Staged StagedIn(float* scratch) const;
  void StageImage(const float* x, const View& view, int64_t image, float* staged) const;
  void DrainImage(const ForwardCall& call, int64_t image, const float* staged) const;
  void StageImageGradient(const BackwardCall& call, int64_t image, float* staged,
                          float* bias_sums) const;
  void DrainImageGradient(const BackwardCall& call, int64_t image, float* staged) const;

  bool WorthThreads(int images) const;

  // With a ConvCore, in packs of images.
  struct Images {
    int first = 0, count = 0;
  };
  // One of so many parts, as equal as can be.
  static Images PartOf(const Images& images, int part, int parts);
  int PacksOf(int images) const { return (images + pack_ - 1) / pack_; }
  int64_t FloatsOfGroup() const;  // sums of weights, then of the bias
  int ForwardPacks() const;
  void ForwardPack(const ForwardCall& call, const Images& images, const Staged& staged) const;
  void BackwardPack(const BackwardCall& call, const Images& images, const Staged& staged,
                    float* sums) const;
  void BackwardInGroups(const BackwardCall& call) const;

  // With a BatchCore, in chunks of the batch. Behind the weights' sums lie the bias's, of each
  // image of a chunk.
  void ForwardChunk(const ForwardCall& call, int first, int images) const;
  void BackwardChunk(const BackwardCall& call, int first, int images) const;
  void BackwardInChunks(const BackwardCall& call) const;

  const Layout whole_;  // the input; the members below know only the pixels that are read of it
  const Stride stride_;
  const Op op_;
  const ConvGeometry geometry_;
  const std::unique_ptr<BatchCore> batch_;  // null: core_
  const std::unique_ptr<ConvCore> core_;
  const int pack_;  // images that a thread stages at once
  Layout in_, out_, stored_;
  int64_t in_frame_ = 0, out_frame_ = 0;  // floats of a staged image
};

}  // namespace trainyard::kernels::cpu
