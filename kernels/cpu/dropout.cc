#include "kernels/cpu/dropout.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/loops.h"
#include "kernels/philox.h"

namespace trainyard::kernels::cpu {
namespace {

// A number of the stream costs about as much as passing over this many floats.
constexpr int64_t kCost = 8;

// Where both orders are the same.
bool IsPlain(const Layout& layout) {
  return layout.plane() == 1 && layout.channels() == layout.shape.channels;
}

}  // namespace

int64_t DropoutScratchFloats(const Layout& layout) {
  return IsPlain(layout) ? 0 : Padded(static_cast<int>((layout.shape.size() + 3) / 4));
}

void DropoutKeep(const Layout& layout, const StepScalars& scalars, int layer, float rate,
                 const ThreadScratch& scratch, uint8_t* keep) {
  const PhiloxWords counter = StreamCounter(DropoutStream(scalars.seed, scalars.step, layer), 0);
  const std::array<uint32_t, 2> key = StreamKey(scalars.seed);
  const uint32_t threshold = DropoutThreshold(rate);
  const int64_t size = layout.shape.size();
  ParallelFor(layout.batch, size * kCost, [&](int64_t n) {
    uint8_t* to = keep + n * layout.image();
    uint8_t* plain = IsPlain(layout) ? to : reinterpret_cast<uint8_t*>(scratch.Of(n, layout.batch));
    KeepBytes(static_cast<uint64_t>(n * size), size, counter.data() + 1, key.data(), threshold,
              plain);
    if (!IsPlain(layout)) BytesToChannelsLast(layout.plane(), layout.shape.channels, plain, to);
  });
}

}  // namespace trainyard::kernels::cpu
