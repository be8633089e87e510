// The emulated machine's cuDNN computes what the documentation's formulas say: fresh random shapes
// against float64 loops.
#include "tests/kernels/cuda/emulation/nvidia/cudnn_runs.h"

namespace trainyard::kernels::cuda::testing {
namespace {

struct RandomShape {
  WindowSpec window;
  Dims x, w, y;
};

class CudnnShape : public ::testing::TestWithParam<int> {
 protected:
  int64_t Draw(int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random_);
  }
  RandomShape DrawShape() {
    const int64_t groups = Draw(0, 3) == 0 ? Draw(1, 3) : 1, depth = Draw(1, 9);
    RandomShape shape;
    shape.w = {groups * Draw(1, 9), depth, Draw(1, 4), Draw(1, 4)};
    shape.window = {{Draw(0, 2), Draw(0, 2)},
                    {Draw(0, 2), Draw(0, 2)},
                    {Draw(1, 3), Draw(1, 3)},
                    {Draw(1, 2), Draw(1, 2)}};
    shape.x = {Draw(1, 3), groups * depth, Draw(7, 11), Draw(7, 11)};
    shape.y = {shape.x[0], shape.w[0], 0, 0};
    for (int i = 0; i < 2; ++i) {
      const int64_t reach = shape.window.dilation[i] * (shape.w[i + 2] - 1) + 1;
      const int64_t padded = shape.x[i + 2] + shape.window.pre[i] + shape.window.post[i];
      shape.y[i + 2] = (padded - reach) / shape.window.stride[i] + 1;
    }
    return shape;
  }
  // NHWC, NCHW, or NHWC with gaps.
  Dims DrawStrides(const Dims& dims) {
    const int64_t kind = Draw(0, 2);
    if (kind == 0) return Nhwc(dims);
    if (kind == 1) return {dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1};
    const int64_t pixel = dims[1] + Draw(1, 3), row = pixel * dims[3] + Draw(0, 2);
    return {row * dims[2] + Draw(0, 5), 1, row, pixel};
  }
  Array Make(int64_t id, const Dims& dims, cudnnDataType_t type) {
    return Array(id, dims, type, DrawStrides(dims));
  }
  // Runs every plan that says it gives the same bits again, and compares.
  void ExpectEachPlan(const Made& graph, const std::vector<const Array*>& arrays,
                      const Array& output, Wanted& wanted, bool bf16) {
    int run = 0;
    for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
      for (const TestPlan& plan : Plans(graph, mode)) {
        if (plan.Has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)) continue;
        const bool tf32 = !bf16 && plan.Has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
        cudnn_.Run(plan, arrays);
        wanted.ExpectIn(output, bf16 ? 1e-2 : tf32 ? 1e-3 : 1e-5);
        ++run;
      }
    }
    EXPECT_EQ(run, bf16 ? 2 : 3);
  }

  std::mt19937 random_{static_cast<unsigned>(GetParam())};
  CudnnOnMachine cudnn_;
};

TEST_P(CudnnShape, ConvolutionsAreTheirFormulas) {
  for (const cudnnDataType_t type : {kFloat, kBf16}) {
    const RandomShape shape = DrawShape();
    const Made convolution = MakeConvolution(shape.window);
    Array x = Make(1, shape.x, type), w = Make(2, shape.w, type), y = Make(3, shape.y, type);
    Array dy = Make(4, shape.y, type), dx = Make(5, shape.x, type), dw = Make(6, shape.w, type);
    x.Fill(random_), w.Fill(random_), dy.Fill(random_);
    Wanted want_y(shape.y), want_dx(shape.x), want_dw(shape.w);
    ForProducts(shape.window, shape.x, shape.w, shape.y,
                [&](int64_t n, int64_t c, int64_t h, int64_t v, int64_t k, int64_t depth, int64_t r,
                    int64_t s, int64_t p, int64_t q) {
                  want_y.At(n, k, p, q) += x.At(n, c, h, v) * w.At(k, depth, r, s);
                  want_dx.At(n, c, h, v) += dy.At(n, k, p, q) * w.At(k, depth, r, s);
                  want_dw.At(k, depth, r, s) += dy.At(n, k, p, q) * x.At(n, c, h, v);
                });
    const bool bf16 = type == kBf16;
    const Made forward = Forward(convolution, x.Describe(), w.Describe(), y.Describe());
    ExpectEachPlan(Graph({&forward}), {&x, &w, &y}, y, want_y, bf16);
    const Made data = BackwardData(convolution, dx.Describe(), w.Describe(), dy.Describe());
    ExpectEachPlan(Graph({&data}), {&dx, &w, &dy}, dx, want_dx, bf16);
    const Made filter = BackwardFilter(convolution, x.Describe(), dw.Describe(), dy.Describe());
    ExpectEachPlan(Graph({&filter}), {&x, &dw, &dy}, dw, want_dw, bf16);
  }
}

TEST_P(CudnnShape, BiasActivationAndStatisticsFollowAConvolution) {
  for (const cudnnDataType_t type : {kFloat, kBf16}) {
    const RandomShape shape = DrawShape();
    const float slope = Draw(0, 1) == 0 ? 0.0f : 0.25f;
    Array x = Make(1, shape.x, type), w = Make(2, shape.w, type), y = Make(3, shape.y, type);
    Array bias(4, {1, shape.y[1], 1, 1});
    x.Fill(random_), w.Fill(random_), bias.Fill(random_);
    Wanted wanted(shape.y);
    ForProducts(shape.window, shape.x, shape.w, shape.y,
                [&](int64_t n, int64_t c, int64_t h, int64_t v, int64_t k, int64_t depth, int64_t r,
                    int64_t s, int64_t p, int64_t q) {
                  wanted.At(n, k, p, q) += x.At(n, c, h, v) * w.At(k, depth, r, s);
                });
    y.Each([&](int64_t n, int64_t k, int64_t p, int64_t q) {
      double& value = wanted.At(n, k, p, q);
      value += bias.At(0, k, 0, 0);
      if (value < 0) value *= slope;
    });
    const Made sum = MakeTensor(10, shape.y, kFloat, kVirtual);
    const Made biased = MakeTensor(11, shape.y, kFloat, kVirtual);
    const Made to = y.Describe(), b = bias.Describe();
    const Made forward = Forward(MakeConvolution(shape.window), x.Describe(), w.Describe(), sum);
    const Made add = Pointwise(Mode(CUDNN_POINTWISE_ADD), sum, &b, &biased);
    const Made relu = Pointwise(Mode(CUDNN_POINTWISE_RELU_FWD, slope), biased, nullptr, &to);
    ExpectEachPlan(Graph({&forward, &add, &relu}), {&x, &w, &bias, &y}, y, wanted, type == kBf16);
  }
}

TEST_P(CudnnShape, StatisticsAreThoseOfTheRoundedOutput) {
  const RandomShape shape = DrawShape();
  Array x = Make(1, shape.x, kBf16), w = Make(2, shape.w, kBf16), y = Make(3, shape.y, kBf16);
  Array sum(4, {1, shape.y[1], 1, 1}), squares(5, {1, shape.y[1], 1, 1});
  x.Fill(random_), w.Fill(random_);
  const Made to = y.Describe();
  const Made forward = Forward(MakeConvolution(shape.window), x.Describe(), w.Describe(), to);
  const Made statistics = Statistics(to, sum.Describe(), squares.Describe());
  for (const TestPlan& plan : Plans(Graph({&forward, &statistics}))) {
    cudnn_.Run(plan, {&x, &w, &y, &sum, &squares});
    Wanted want_sum(sum.dims), want_squares(squares.dims);
    y.Each([&](int64_t n, int64_t k, int64_t p, int64_t q) {
      want_sum.At(0, k, 0, 0) += y.At(n, k, p, q);
      want_squares.At(0, k, 0, 0) += y.At(n, k, p, q) * y.At(n, k, p, q);
    });
    want_sum.ExpectIn(sum, 1e-6);
    want_squares.ExpectIn(squares, 1e-6);
  }
}

TEST_P(CudnnShape, GradientsAddToWhatIsThereAndPassTheActivation) {
  const RandomShape shape = DrawShape();
  Array dy = Make(1, shape.y, kFloat), w = Make(2, shape.w, kFloat), dx = Make(3, shape.x, kFloat);
  // `there` and `added` are the same memory under two ids.
  Array there(4, shape.x, kFloat, dx.strides), x = Make(5, shape.x, kFloat);
  dy.Fill(random_), w.Fill(random_), there.Fill(random_), x.Fill(random_);
  for (int64_t c = 0; c < x.dims[1]; ++c) x.Set(0, c, 0, 0, 0);  // as a ReLU leaves it
  Wanted want(shape.x);
  there.Each([&](int64_t n, int64_t c, int64_t h, int64_t v) {
    want.At(n, c, h, v) = there.At(n, c, h, v);
  });
  ForProducts(shape.window, shape.x, shape.w, shape.y,
              [&](int64_t n, int64_t c, int64_t h, int64_t v, int64_t k, int64_t depth, int64_t r,
                  int64_t s, int64_t p,
                  int64_t q) { want.At(n, c, h, v) += dy.At(n, k, p, q) * w.At(k, depth, r, s); });
  x.Each([&](int64_t n, int64_t c, int64_t h, int64_t v) {
    if (x.At(n, c, h, v) <= 0) want.At(n, c, h, v) *= 0.25;
  });
  const Made product = MakeTensor(10, shape.x, kFloat, kVirtual);
  const Made total = MakeTensor(11, shape.x, kFloat, kVirtual), before = there.Describe();
  const Made data =
      BackwardData(MakeConvolution(shape.window), product, w.Describe(), dy.Describe());
  const Made add = Pointwise(Mode(CUDNN_POINTWISE_ADD), product, &before, &total);
  const Made relu =
      PointwiseBackward(Mode(CUDNN_POINTWISE_RELU_BWD, 0.25f), x.Describe(), total, dx.Describe());
  const TestPlan plan = Exact(Graph({&data, &add, &relu}));
  const Memory workspace(plan.workspace);
  void* const in_place = there.memory().data();
  const Made pack = Pack({{1, dy.memory().data()},
                          {2, w.memory().data()},
                          {3, in_place},
                          {4, in_place},
                          {5, x.memory().data()}},
                         workspace.data());
  Expect(cudnnBackendExecute(cudnn_.handle(), plan.plan.handle(), pack.handle()));
  want.ExpectIn(there, 1e-5);
}

TEST_P(CudnnShape, ScalesAreAppliedToTheResultAndToWhatIsThere) {
  const RandomShape shape = DrawShape();
  Array x = Make(1, shape.x, kFloat), w = Make(2, shape.w, kFloat), y = Make(3, shape.y, kFloat);
  x.Fill(random_), w.Fill(random_), y.Fill(random_);
  Wanted wanted(shape.y);
  y.Each([&](int64_t n, int64_t k, int64_t p, int64_t q) {
    wanted.At(n, k, p, q) = -0.5 * y.At(n, k, p, q);
  });
  ForProducts(shape.window, shape.x, shape.w, shape.y,
              [&](int64_t n, int64_t c, int64_t h, int64_t v, int64_t k, int64_t depth, int64_t r,
                  int64_t s, int64_t p, int64_t q) {
                wanted.At(n, k, p, q) += 3 * x.At(n, c, h, v) * w.At(k, depth, r, s);
              });
  const Made forward = Forward(MakeConvolution(shape.window), x.Describe(), w.Describe(),
                               y.Describe(), {.alpha = 3, .beta = -0.5});
  cudnn_.Run(Exact(Graph({&forward})), {&x, &w, &y});
  wanted.ExpectIn(y, 1e-5);
}

TEST_P(CudnnShape, ScaledAndShiftedInputsAndReducedOutputs) {
  const Dims dims{Draw(1, 3), Draw(1, 9), Draw(1, 5), Draw(1, 5)}, one{1, dims[1], 1, 1};
  Array x = Make(1, dims, kBf16), scale(2, one), y = Make(3, dims, kBf16), sums(4, one);
  x.Fill(random_), scale.Fill(random_);
  Wanted want_y(dims), want_sums(one);
  x.Each([&](int64_t n, int64_t c, int64_t h, int64_t w) {
    want_y.At(n, c, h, w) = x.At(n, c, h, w) * scale.At(0, c, 0, 0);
    want_sums.At(0, c, 0, 0) += want_y.At(n, c, h, w);
  });
  const Made scaled = MakeTensor(10, dims, kFloat, kVirtual), by = scale.Describe();
  const Made to = y.Describe();
  const Made multiply = Pointwise(Mode(CUDNN_POINTWISE_MUL), x.Describe(), &by, &scaled);
  const Made convert = Pointwise(Mode(CUDNN_POINTWISE_IDENTITY), scaled, nullptr, &to);
  const Made reduce = Reduction(scaled, sums.Describe());
  cudnn_.Run(Plans(Graph({&convert, &multiply, &reduce})).front(), {&x, &scale, &y, &sums});
  want_y.ExpectIn(y, 1e-2);
  want_sums.ExpectIn(sums, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Seeds, CudnnShape, ::testing::Range(0, 12));

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
