#include "tests/kernels/cuda/cases/augment_batch.h"

#include "kernels/augment.h"

namespace trainyard::kernels::cuda::testing {
namespace {

std::string Describe(const ImageBatch& shape) {
  return std::to_string(shape.batch) + "x" + std::to_string(shape.height) + "x" +
         std::to_string(shape.width) + "x" + std::to_string(shape.channels);
}

ImageDraws DrawsOf(const StepBlock* step, int place, const ImageBatch& shape) {
  if (step == nullptr) return {};
  StepScalars scalars;
  scalars.seed = step->seed;
  scalars.step = step->step;
  scalars.flip = step->flip != 0;
  scalars.shift = step->shift;
  scalars.cutout = step->cutout;
  return DrawAugmentation(scalars, place, {shape.channels, shape.height, shape.width});
}

// What output pixel (y, x) of one image becomes, channel by channel.
template <typename T>
void ExpectPixel(const ImageBatch& shape, const uint8_t* image, const std::vector<float>& table,
                 const ImageDraws& d, int y, int x, double* out) {
  const int from_y = y + d.dy, from_x = d.flip ? shape.width - 1 - (x + d.dx) : x + d.dx;
  const bool cut = y >= d.cut_top && y < d.cut_bottom && x >= d.cut_left && x < d.cut_right;
  const bool inside = from_y >= 0 && from_y < shape.height && from_x >= 0 && from_x < shape.width;
  for (int c = 0; c < shape.channels; ++c) {
    if (cut || !inside) {
      out[c] = 0;
      continue;
    }
    const uint8_t byte = image[(int64_t{c} * shape.height + from_y) * shape.width + from_x];
    out[c] = Widen(FromFloat<T>(table[c * 256 + byte]));
  }
}

}  // namespace

template <typename T>
KernelCase AugmentBatchCase(const ImageBatch& shape, const StepBlock* step, uint64_t seed) {
  Draw draw(seed);
  const int images = shape.batch / 2 + 2;
  const int64_t plane = int64_t{shape.height} * shape.width, size = plane * shape.channels;
  std::vector<uint8_t> pixels(images * size);
  for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(draw.Between(0, 255));
  std::vector<int32_t> indices(shape.batch);
  for (int32_t& index : indices) index = draw.Between(0, images - 1);
  const std::vector<float> table = NormalisationTable(draw.Normal(shape.channels, 0.5f, 0.1f),
                                                      draw.Normal(shape.channels, 4.0f, 0.5f));
  std::vector<double> expected(shape.batch * size);
  for (int n = 0; n < shape.batch; ++n) {
    const ImageDraws draws = DrawsOf(step, n, shape);
    const uint8_t* image = pixels.data() + indices[n] * size;
    for (int64_t i = 0; i < plane; ++i) {
      ExpectPixel<T>(shape, image, table, draws, static_cast<int>(i / shape.width),
                     static_cast<int>(i % shape.width), &expected[n * size + i * shape.channels]);
    }
  }
  const auto from = Upload(pixels);
  const auto source = Upload(std::vector<BatchSource>{{from->data(), nullptr}});
  const auto which = Upload(indices);
  const auto values = Upload(table);
  const Shared<StepBlock> block = step == nullptr ? nullptr : Upload(std::vector{*step});
  const auto x = Allocate<T>(shape.batch * size);
  KernelCase kernel;
  kernel.name = "AugmentBatch " + TypeName<T>() + " " + Describe(shape) +
                (step == nullptr ? " evaluation" : "");
  kernel.launch = [=, keep = from](cudaStream_t stream) {
    AugmentBatch(shape, source->data(), which->data(), values->data(),
                 block == nullptr ? nullptr : block->data(), x->data(), stream);
  };
  kernel.Expect("x", x, std::move(expected), 0);
  kernel.bytes = static_cast<double>(shape.batch) *
                     (static_cast<double>(size) * (1 + sizeof(T)) + sizeof(int32_t)) +
                 static_cast<double>(table.size() * sizeof(float));
  return kernel;
}

std::vector<KernelCase> AugmentBatchTableCases() {
  StepBlock step;
  step.seed = 7;
  step.step = 1000;
  step.flip = 1;
  step.shift = 4;
  step.cutout = 8;
  const ImageBatch mnist{4096, 1, 28, 28}, cifar{4096, 3, 32, 32}, imagenet{128, 3, 224, 224},
      many{1024, 8, 32, 32};
  return {AugmentBatchCase<float>(mnist, &step, 1),   AugmentBatchCase<bf16>(mnist, &step, 2),
          AugmentBatchCase<float>(cifar, &step, 3),   AugmentBatchCase<bf16>(cifar, &step, 4),
          AugmentBatchCase<bf16>(cifar, nullptr, 5),  AugmentBatchCase<float>(imagenet, &step, 6),
          AugmentBatchCase<bf16>(imagenet, &step, 7), AugmentBatchCase<bf16>(many, &step, 8)};
}

template KernelCase AugmentBatchCase<float>(const ImageBatch&, const StepBlock*, uint64_t);
template KernelCase AugmentBatchCase<bf16>(const ImageBatch&, const StepBlock*, uint64_t);

}  // namespace trainyard::kernels::cuda::testing
