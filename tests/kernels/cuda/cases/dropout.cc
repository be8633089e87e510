#include "tests/kernels/cuda/cases/dropout.h"

#include "kernels/philox.h"

namespace trainyard::kernels::cuda::testing {
namespace {

// The factor of every element in NHWC, from its number in NCHW.
std::vector<double> Factors(const DropoutCaseShape& shape, const StreamPosition& at,
                            const DropoutRate& rate) {
  std::vector<double> factors(int64_t{shape.batch} * shape.pixels * shape.channels);
  uint64_t element = 0;
  for (int64_t n = 0; n < shape.batch; ++n) {
    for (int64_t c = 0; c < shape.channels; ++c) {
      for (int64_t pixel = 0; pixel < shape.pixels; ++pixel, ++element) {
        factors[(n * shape.pixels + pixel) * shape.channels + c] =
            RandomWord(at, element) >= rate.threshold ? rate.scale : 0;
      }
    }
  }
  return factors;
}

std::string Name(const std::string& type, const DropoutCaseShape& shape) {
  return "Dropout " + type + " " + std::to_string(shape.batch) + "x" +
         std::to_string(shape.pixels) + "x" + std::to_string(shape.channels) + ", rate " +
         std::to_string(shape.rate) + (shape.accumulate ? ", accumulating" : "") +
         (shape.in_place ? ", in place" : "");
}

}  // namespace

template <typename T>
KernelCase DropoutCase(const DropoutCaseShape& shape, uint64_t seed) {
  const int64_t count = int64_t{shape.batch} * shape.pixels * shape.channels;
  Draw draw(seed);
  StepBlock block;
  block.seed = uint64_t{0x9e3779b97f4a7c15} * (seed + 1);
  block.step = (int64_t{draw.Between(0, 3)} << 40) + draw.Between(0, 1 << 20);
  const int layer = draw.Between(0, 50);
  const DropoutRate rate{DropoutThreshold(shape.rate), 1 / (1 - shape.rate)};

  const std::vector<T> x = Round<T>(draw.Normal(count));
  const std::vector<T> before = shape.in_place ? x : Round<T>(draw.Normal(count));
  std::vector<double> expected = Factors(shape, DropoutStream(block.seed, block.step, layer), rate);
  for (int64_t i = 0; i < count; ++i) {
    const double product = Widen(x[i]) * expected[i];
    expected[i] = shape.accumulate ? Widen(before[i]) + product
                                   : Widen(FromFloat<T>(static_cast<float>(product)));
  }

  const Shared<T> in = Upload(x), out = shape.in_place ? in : Allocate<T>(count);
  const Shared<StepBlock> step = Upload(std::vector<StepBlock>{block});
  const Shared<DropoutRate> rates = Upload(std::vector<DropoutRate>{rate});
  KernelCase kernel;
  kernel.name = Name(TypeName<T>(), shape);
  kernel.launch = [=](cudaStream_t stream) {
    Dropout(shape.batch, shape.pixels, shape.channels, in->data(), step->data(), layer,
            rates->data(), shape.accumulate, out->data(), stream);
  };
  const double tolerance = shape.accumulate ? kTolerance<T> : 0;
  if (shape.accumulate || shape.in_place) {
    kernel.ExpectFrom("y", out, before, expected, tolerance);
  } else {
    kernel.Expect("y", out, expected, tolerance);
  }
  kernel.bytes = (shape.accumulate ? 3.0 : 2.0) * sizeof(T) * count;
  return kernel;
}

std::vector<KernelCase> DropoutTableCases() {
  return {
      DropoutCase<float>({512, 256, 64, 0.25f}, 1),
      DropoutCase<bf16>({512, 256, 64, 0.25f}, 2),
      DropoutCase<bf16>({512, 256, 64, 0.25f, true}, 3),
      DropoutCase<bf16>({512, 49, 256, 0.25f}, 4),  // groups straddle the planes
      DropoutCase<bf16>({4096, 1, 2048, 0.5f}, 5),
  };
}

template KernelCase DropoutCase<float>(const DropoutCaseShape&, uint64_t);
template KernelCase DropoutCase<bf16>(const DropoutCaseShape&, uint64_t);

}  // namespace trainyard::kernels::cuda::testing
