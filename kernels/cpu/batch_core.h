// How a convolution with many weights is computed: over a chunk of the batch in phases, so that
// each weight is read, and each sum of its gradient written, once for hundreds of images instead of
// once for every few. What a ConvCore does in one call per image is cut in three:
//   Load*      one staged image at a time, in any order, in many threads
//   products   over the whole chunk, spread over threads by the core itself
//   Store*     one image at a time again, into scratch, from which it is drained
//
// A step, for each chunk of at most chunk() images in the order of the batch:
//   forwards   LoadInput, MultiplyForward, StoreOutput
//   backwards  LoadInput, LoadGradient, AddWeightGradient; where data gradients are wanted,
//              MultiplyBackward, StoreGradient
// Bytes depend neither on chunks nor on threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cpu/conv_core.h"

namespace trainyard::kernels::cpu {

class BatchCore : public ConvWay {
 public:
  // Images of a chunk, at most; depends on the shape only.
  virtual int chunk() const = 0;
  // Floats of a chunk's loaded inputs or of their gradients; of its outputs or their gradients.
  virtual int64_t input_floats() const = 0;
  virtual int64_t output_floats() const = 0;

  // `image` counts within the chunk.
  virtual void LoadInput(int image, const float* in, float* u) const = 0;
  virtual void MultiplyForward(int images, const float* u, const float* packed, float* m) const = 0;
  virtual void StoreOutput(int image, const float* m, float* out) const = 0;

  virtual void LoadGradient(int image, const float* dy, float* z) const = 0;
  // sums += the weights' gradient, image after image.
  virtual void AddWeightGradient(int images, const float* u, const float* z, float* sums) const = 0;
  // d may be the u of AddWeightGradient, when that is done.
  virtual void MultiplyBackward(int images, const float* z, const float* backward,
                                float* d) const = 0;
  // dx = the input's gradient, overwritten.
  virtual void StoreGradient(int image, const float* d, float* dx) const = 0;
};

// Throws Error where WinogradSupports is false.
std::unique_ptr<BatchCore> MakeWinogradBatchCore(const ConvGeometry& geometry);
// Whether Winograd supports the convolution and this way is faster than MakeWinogradCore's.
bool PrefersWinogradBatch(const ConvGeometry& geometry);
// The way of this kind that is the fastest of all for the convolution, else null.
std::unique_ptr<BatchCore> ChooseBatchCore(const ConvGeometry& geometry);

}  // namespace trainyard::kernels::cpu
