#include "kernels/cpu/loss.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/layout.h"

namespace trainyard::kernels::cpu {

BatchLoss SoftmaxCrossEntropy(const LossInput& input, const float* logits, float* gradient,
                              RowLoss* rows) {
  const int64_t batch = static_cast<int64_t>(input.indices.size());
  const int64_t stride = Padded(input.classes);
  const double smoothing = input.smoothing, off = smoothing / input.classes;
  ParallelFor(batch, stride * 4, [&](int64_t n) {
    const LossRow row{input.classes,
                      input.images->labels[input.indices[n]],
                      1 - smoothing + off,
                      off,
                      static_cast<double>(batch),
                      logits + n * stride,
                      gradient == nullptr ? nullptr : gradient + n * stride};
    rows[n] = LossOfRow(row);
  });
  BatchLoss loss;
  for (int64_t n = 0; n < batch; ++n) {
    loss.sum += rows[n].loss;
    loss.correct += rows[n].correct;
  }
  return loss;
}

}  // namespace trainyard::kernels::cpu
