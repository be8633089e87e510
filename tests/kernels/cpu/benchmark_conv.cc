// How fast a way of computing a convolution is, on one thread, images staged already:
//   kernels_conv_benchmark CORE INPUTS OUTPUTS HEIGHT WIDTH [PAD [KERNEL [STRIDE [GROUPS]]]]
// HEIGHT and WIDTH are the input's, for `first` a plain one. GFLOP/s count a direct convolution's
// multiply-adds, so those of Winograd may exceed what the processor has. Without arguments:
// Winograd on the shapes of usual networks. TRAINYARD_SIMD chooses the instruction set.
#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <string>

#include "kernels/cpu/batch_core.h"
#include "kernels/cpu/conv_core.h"
#include "kernels/cpu/simd/layout.h"
#include "kernels/cpu/simd/target.h"
#include "kernels/cpu/simd/winograd.h"

namespace trainyard::kernels::cpu {
namespace {

using MakeCore = std::unique_ptr<ConvCore> (*)(const ConvGeometry&);

const std::map<std::string, MakeCore> kCores = {{"winograd", MakeWinogradCore},
                                                {"direct", MakeDirectCore},
                                                {"first", MakeFirstCore},
                                                {"depthwise", MakeDepthwiseCore}};

constexpr double kRun_us = 1000;
constexpr int kRuns = 60;

double Now_us() {  // of this thread alone: others may have the processor meanwhile
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e6 * static_cast<double>(now.tv_sec) + 1e-3 * static_cast<double>(now.tv_nsec);
}

// Microseconds of one call: the best of many short runs, so that what else runs is left out.
double Best_us(const std::function<void()>& body) {
  const auto time_us = [&](int calls) {
    const double start_us = Now_us();
    for (int i = 0; i < calls; ++i) body();
    return (Now_us() - start_us) / calls;
  };
  body();
  const int calls = std::max(1, static_cast<int>(kRun_us / time_us(2)));
  double best_us = time_us(calls);
  for (int i = 1; i < kRuns; ++i) best_us = std::min(best_us, time_us(calls));
  return best_us;
}

// In huge pages, as a program's memory is. Small values: nothing may overflow, however often it is
// summed.
class Floats {
 public:
  explicit Floats(int64_t size) {
    constexpr size_t kPage = 2 << 20;
    const size_t bytes = (size * sizeof(float) / kPage + 1) * kPage;
    data_ = static_cast<float*>(std::aligned_alloc(kPage, bytes));
    if (data_ == nullptr) throw std::bad_alloc();
    madvise(data_, bytes, MADV_HUGEPAGE);
    std::fill(data_, data_ + size, 0.001f);
  }
  ~Floats() { std::free(data_); }
  Floats(const Floats&) = delete;
  operator float*() const { return data_; }

 private:
  float* data_;
};

// The shape that the command line names.
struct Shape {
  Op op;
  ConvGeometry geometry;

  // inputs, outputs, height, width, padding on each side, kernel, stride, groups
  explicit Shape(const std::array<int, 8>& numbers, bool plain_input = false) {
    const auto [inputs, outputs, height, width, pad, kernel, stride, groups] = numbers;
    op.kind = OpKind::kConv;
    op.name = "benchmark";
    op.groups = groups;
    op.kernel_h = op.kernel_w = kernel;
    op.stride_h = op.stride_w = stride;
    op.pad_top = op.pad_bottom = op.pad_left = op.pad_right = pad;
    geometry = {&op,
                {inputs, height, width},
                {outputs, (height + 2 * pad - kernel) / stride + 1,
                 (width + 2 * pad - kernel) / stride + 1},
                128,
                plain_input};
  }
  Shape(const Shape&) = delete;

  double gflop() const {  // of one image, one pass
    const ValueShape& out = geometry.out;
    return 2e-9 * op.kernel_h * op.kernel_w * geometry.in.channels / op.groups * out.size();
  }
};

int64_t FloatsOf(const Frame& frame, int channels) {
  return int64_t{frame.height} * frame.width * Padded(channels);
}

void Print(const char* what, double us, double gflop) {
  std::printf("  %-26s %9.1f us", what, us);
  if (gflop > 0) std::printf(" %8.0f GFLOP/s", gflop / us * 1e6);
  std::printf("\n");
}

// What Winograd's transforms alone take of one image, in blocks of about the core's size.
void ShowTransforms(const ConvGeometry& geometry, const ConvCore& core, double forward_us,
                    double backward_us) {
  constexpr int kBlockTiles = 36;
  const Frame frame = core.output_frame();
  const int image_tiles = frame.height * frame.width / (kTile * kTile);
  const int count = std::min(image_tiles, kBlockTiles);
  const auto tiles_of = [&](int channels, int width) {
    const int64_t position = (int64_t{count} * Padded(channels) / kBlock | 1) * kBlock;
    return Tiles{frame.width / kTile, 0,       count, Padded(channels), width,
                 Padded(channels),    position};
  };
  const Tiles in = tiles_of(geometry.in.channels, core.input_frame().width);
  const Tiles out = tiles_of(geometry.out.channels, frame.width);
  const Floats x(FloatsOf(core.input_frame(), geometry.in.channels));
  const Floats y(FloatsOf(frame, geometry.out.channels));
  const Floats u(kPositions * in.position), m(kPositions * out.position);
  const double scale = static_cast<double>(image_tiles) / count;
  const double input_us = scale * Best_us([&] { TransformInput(in, x, u); });
  const double output_us = scale * Best_us([&] { TransformOutput(out, m, y); });
  const double output_gradient_us = scale * Best_us([&] { TransformOutputGradient(out, y, m); });
  const double input_gradient_us = scale * Best_us([&] {
                                     std::fill(&x[0], &x[0] + 16, 0.f);
                                     TransformInputGradient(in, u, x);
                                   });
  std::printf("  transforms: input %.1f, output %.1f us: %.0f%% of forward;", input_us, output_us,
              100 * (input_us + output_us) / forward_us);
  std::printf(" output's gradient %.1f, input's %.1f us: %.0f%% of backward\n", output_gradient_us,
              input_gradient_us,
              100 * (input_us + output_gradient_us + input_gradient_us) / backward_us);
}

void Show(const std::string& name, const Shape& shape) {
  const ConvGeometry& geometry = shape.geometry;
  const std::unique_ptr<ConvCore> core = kCores.at(name)(geometry);
  const int pack = core->pack();
  const int64_t weight_floats = int64_t{shape.op.kernel_h} * shape.op.kernel_w *
                                Padded(geometry.in.channels) * Padded(geometry.out.channels);
  const Floats in(pack * FloatsOf(core->input_frame(), geometry.in.channels));
  const Floats dx(pack * FloatsOf(core->input_frame(), geometry.in.channels));
  const Floats out(pack * FloatsOf(core->output_frame(), geometry.out.channels));
  const Floats weights(weight_floats), dw(weight_floats);
  const Floats packed(core->packed_floats()), backward(core->packed_backward_floats());
  const Floats scratch(core->scratch_floats()), sums(core->sum_floats());
  const float* forward = core->packed_floats() > 0 ? packed : weights;

  std::printf("%s %d->%d @ %dx%d -> %dx%d, %s, pack %d\n", core->name().c_str(),
              geometry.in.channels, geometry.out.channels, geometry.in.height, geometry.in.width,
              geometry.out.height, geometry.out.width, SimdTarget().c_str(), pack);
  const double forward_us = Best_us([&] { core->Forward(pack, in, forward, scratch, out); }) / pack;
  const auto backward_us = [&](float* to) {
    return Best_us([&] { core->Backward(pack, in, out, backward, scratch, to, sums); }) / pack;
  };
  const double weights_us = backward_us(nullptr);
  Print("forward, an image", forward_us, shape.gflop());
  Print("backward, weights alone", weights_us, shape.gflop());
  if (geometry.plain_input) return;
  const double both_us = backward_us(dx);
  Print("backward, an image", both_us, 2 * shape.gflop());
  Print("pack, a step", Best_us([&] { core->Pack(weights, packed); }), 0);
  Print("pack backward, a step", Best_us([&] { core->PackBackward(weights, packed, backward); }),
        0);
  Print("finish, a step", Best_us([&] { core->Finish(sums, dw); }), 0);
  if (name == "winograd") ShowTransforms(geometry, *core, forward_us, both_us);
}

// As its driver calls it: what a pass takes of an image, and how much of that its products take.
void ShowBatch(const Shape& shape) {
  const ConvGeometry& geometry = shape.geometry;
  const std::unique_ptr<BatchCore> core = MakeWinogradBatchCore(geometry);
  const int chunk = core->chunk();
  const Floats in(FloatsOf(core->input_frame(), geometry.in.channels));
  const Floats out(FloatsOf(core->output_frame(), geometry.out.channels));
  const Floats weights(core->packed_floats()), backward(core->packed_backward_floats());
  const Floats sums(core->sum_floats());
  const Floats u(core->input_floats()), m(core->output_floats());
  const auto each = [&](const auto& body) {
    for (int i = 0; i < chunk; ++i) body(i);
  };
  const auto forward = [&] { core->MultiplyForward(chunk, u, weights, m); };
  const auto add_weights = [&] { core->AddWeightGradient(chunk, u, m, sums); };
  const auto data = [&] { core->MultiplyBackward(chunk, m, backward, u); };
  const auto whole_forward = [&] {
    each([&](int i) { core->LoadInput(i, in, u); });
    forward();
    each([&](int i) { core->StoreOutput(i, m, out); });
  };
  const auto whole_backward = [&] {
    each([&](int i) { core->LoadInput(i, in, u), core->LoadGradient(i, out, m); });
    add_weights();
    data();
    std::fill(&in[0], &in[0] + FloatsOf(core->input_frame(), geometry.in.channels), 0.0f);
    each([&](int i) { core->StoreGradient(i, u, in); });
  };
  std::printf("%s %d->%d @ %dx%d -> %dx%d, %s, chunk %d\n", core->name().c_str(),
              geometry.in.channels, geometry.out.channels, geometry.in.height, geometry.in.width,
              geometry.out.height, geometry.out.width, SimdTarget().c_str(), chunk);
  Print("forward, an image", Best_us(whole_forward) / chunk, shape.gflop());
  Print("  its products", Best_us(forward) / chunk, shape.gflop());
  Print("backward, an image", Best_us(whole_backward) / chunk, 2 * shape.gflop());
  Print("  products for weights", Best_us(add_weights) / chunk, shape.gflop());
  Print("  products for data", Best_us(data) / chunk, shape.gflop());
}

int Run(int argc, char** argv) {
  constexpr char kBatch[] = "winograd-batch";
  omp_set_num_threads(1);
  if (const char* target = std::getenv("TRAINYARD_SIMD")) UseSimdTarget(target);
  if (argc == 1) {
    Show("winograd", Shape({32, 64, 26, 26, 0, 3, 1, 1}));
    Show("winograd", Shape({64, 64, 32, 32, 1, 3, 1, 1}));
    Show("winograd", Shape({128, 128, 16, 16, 1, 3, 1, 1}));
    Show("winograd", Shape({64, 64, 7, 7, 1, 3, 1, 1}));
    Show("winograd", Shape({32, 32, 28, 28, 1, 3, 1, 1}));
    Show("winograd", Shape({16, 32, 14, 14, 1, 3, 1, 1}));
    ShowBatch(Shape({256, 256, 8, 8, 1, 3, 1, 1}));
    ShowBatch(Shape({512, 512, 4, 4, 1, 3, 1, 1}));
    return 0;
  }
  const std::string name = argv[1];
  if (argc < 6 || argc > 10 || (name != kBatch && kCores.count(name) == 0)) {
    std::fprintf(
        stderr,
        "kernels_conv_benchmark CORE INPUTS OUTPUTS HEIGHT WIDTH [PAD [KERNEL [STRIDE [GROUPS]]]]\n"
        "cores: %s",
        kBatch);
    for (const auto& [core, make] : kCores) std::fprintf(stderr, ", %s", core.c_str());
    std::fprintf(stderr, "\n");
    return 1;
  }
  std::array<int, 8> numbers{0, 0, 0, 0, 0, 3, 1, 1};
  for (int i = 2; i < argc; ++i) numbers[i - 2] = std::atoi(argv[i]);
  if (name == kBatch) {
    ShowBatch(Shape(numbers));
  } else {
    Show(name, Shape(numbers, name == "first"));
  }
  return 0;
}

}  // namespace
}  // namespace trainyard::kernels::cpu

int main(int argc, char** argv) { return trainyard::kernels::cpu::Run(argc, argv); }
