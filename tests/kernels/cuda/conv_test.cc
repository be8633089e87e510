#include "tests/kernels/cuda/cases/conv.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <utility>

#include "tests/kernels/cuda/support/refusal.h"

namespace trainyard::kernels::cuda::testing {
namespace {

constexpr Activation kIdentity, kLeaky = {true, 0.125f};

ConvShape Square(int batch, int size, int in_c, int out_c, int kernel, int pad) {
  ConvShape shape;
  shape.batch = batch;
  shape.in_h = shape.in_w = size;
  shape.in_c = in_c, shape.out_c = out_c;
  shape.kernel_h = shape.kernel_w = kernel;
  shape.pad_top = shape.pad_left = pad;
  shape.out_h = shape.out_w = size + 2 * pad - kernel + 1;
  return shape;
}

// One axis: an input, a window over it and an output that may end before, at, or beyond the input.
void DrawAxis(Draw& draw, int largest_input, int& in, int& out, int& kernel, int& stride,
              int& pad) {
  in = draw.Between(1, largest_input);
  kernel = draw.Between(1, 7);
  stride = draw.Between(1, 3);
  pad = draw.Between(0, kernel - 1);
  const int windows = (in - 1 + pad) / stride + 1;  // that start inside
  out = draw.Chance(70) ? windows : draw.Between(1, windows);
}

ConvShape DrawShape(Draw& draw) {
  ConvShape shape;
  const int largest = kSmallShapes ? 5 : 9;
  shape.batch = draw.Between(1, 3);
  DrawAxis(draw, largest, shape.in_h, shape.out_h, shape.kernel_h, shape.stride_h, shape.pad_top);
  DrawAxis(draw, largest, shape.in_w, shape.out_w, shape.kernel_w, shape.stride_w, shape.pad_left);
  shape.groups = draw.OneOf({1, 1, 1, 2, 3});
  const int most = kSmallShapes ? 12 : 36;
  const auto channels = [&] {
    return draw.Chance(50) ? draw.Between(1, most / 8) * 8 : draw.Between(1, most);
  };
  shape.in_c = channels() * shape.groups;
  shape.out_c = channels() * shape.groups;
  return shape;
}

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}
double Norm(const std::vector<double>& a) { return std::sqrt(Dot(a, a)); }

// Types and arithmetic that go together.
template <typename Element, Precision kArithmetic>
struct Kind {
  using T = Element;
  static constexpr Precision kPrecision = kArithmetic;
};

template <typename Kind>
class Conv : public ::testing::Test {
 protected:
  using T = typename Kind::T;
  static KernelCase Forward(const ConvShape& shape, bool bias, Activation activation,
                            uint64_t seed) {
    return ConvForwardCase<T>(shape, Kind::kPrecision, bias, activation, seed);
  }
  static KernelCase BackwardData(const ConvShape& shape, bool accumulate, uint64_t seed) {
    return ConvBackwardDataCase<T>(shape, Kind::kPrecision, accumulate, seed);
  }
  static KernelCase BackwardFilter(const ConvShape& shape, uint64_t seed) {
    return ConvBackwardFilterCase<T>(shape, Kind::kPrecision, seed);
  }
  static void ExpectAllPasses(const ConvShape& shape, uint64_t seed) {
    EXPECT_EQ(Problem(Forward(shape, seed % 2 == 0, seed % 3 == 0 ? kLeaky : kIdentity, seed)), "");
    EXPECT_EQ(Problem(BackwardData(shape, seed % 2 == 0, seed)), "");
    EXPECT_EQ(Problem(BackwardFilter(shape, seed)), "");
  }
};
using Kinds = ::testing::Types<Kind<float, Precision::kFp32>, Kind<float, Precision::kTf32>,
                               Kind<bf16, Precision::kBf16>>;
TYPED_TEST_SUITE(Conv, Kinds);

TYPED_TEST(Conv, AnyShape) {
  Draw draw(20);
  // Tensor cores take their time on the emulated machine.
  const int shapes = kSmallShapes ? 3 : TypeParam::kPrecision == Precision::kFp32 ? 20 : 6;
  for (int i = 0; i < shapes; ++i) this->ExpectAllPasses(DrawShape(draw), i);
}

TYPED_TEST(Conv, ChannelsOneToSeventy) {
  const int most = kSmallShapes ? 21 : 70, size = kSmallShapes ? 3 : 5;
  for (int channels : {1, 3, 10, 24, 70}) {
    if (channels > most || (kSmallShapes && channels == 3)) continue;
    this->ExpectAllPasses(Square(1, size, channels, most + 1 - channels, 3, 1), channels);
  }
}

TYPED_TEST(Conv, GroupsOfOneAndOfThreeChannels) {
  ConvShape shape = Square(2, 4, 12, 12, 3, 1);
  for (int groups : {4, 12}) {
    if (kSmallShapes && groups == 12) continue;
    shape.groups = groups;
    this->ExpectAllPasses(shape, groups);
  }
}

TYPED_TEST(Conv, StridesLargerThanKernelAndImage) {
  ConvShape shape = Square(3, 5, 8, 16, 1, 0);  // most pixels have no window
  shape.stride_h = shape.stride_w = 2;
  shape.out_h = shape.out_w = 3;
  this->ExpectAllPasses(shape, 1);
  shape.stride_h = 9, shape.out_h = 1;
  this->ExpectAllPasses(shape, 2);
}

TYPED_TEST(Conv, LinearLayers) {
  this->ExpectAllPasses(Square(5, 1, 64, 10, 1, 0), 1);
  this->ExpectAllPasses(Square(4, 4, 8, 10, 4, 0), 2);
  this->ExpectAllPasses(Square(3, 3, 5, 16, 3, 0), 3);
}

// Where the whole image is the kernel but windows reach beyond it, it is no linear layer.
TYPED_TEST(Conv, KernelsAsLargeAsTheImage) {
  this->ExpectAllPasses(Square(2, 3, 8, 8, 3, 1), 1);
  ConvShape shape = Square(2, 3, 8, 8, 3, 0);
  shape.pad_top = shape.pad_left = 2;
  this->ExpectAllPasses(shape, 2);
}

// More than one piece of the filter's gradient, the last one shorter.
TYPED_TEST(Conv, PiecesOfPixels) {
  ConvShape shape = Square(1, 24, 8, 8, 1, 0);
  ASSERT_EQ(ConvBackwardFilterWorkspace(shape), 2 * shape.weights());
  EXPECT_EQ(Problem(this->BackwardFilter(shape, 1)), "");
  if (kSmallShapes) return;
  shape = Square(5, 13, 12, 5, 3, 1);
  ASSERT_EQ(ConvBackwardFilterWorkspace(shape), 3 * shape.weights());
  EXPECT_EQ(Problem(this->BackwardFilter(shape, 2)), "");
}

// Enough groups, or rows, for the large tiles of the passes over pixels; one run, as there are
// many.
TYPED_TEST(Conv, LargeTilesOfPixels) {
  constexpr Precision kPrecision = TypeParam::kPrecision;
  if (kSmallShapes) GTEST_SKIP() << "too large for the race detector";
  ConvShape shape = Square(1, 2, 8, 40, 3, 1);
  shape.groups = 264, shape.in_c *= 264, shape.out_c *= 264;
  EXPECT_LE(Error(this->Forward(shape, true, kLeaky, 1)), ConvTolerance(kPrecision));
  shape = Square(2, 130, 40, 8, 1, 0);  // 33800 pixels: 265 tiles of 128
  EXPECT_LE(Error(this->BackwardData(shape, true, 2)), ConvTolerance(kPrecision));
  if (kPrecision != Precision::kBf16) return;
  shape = Square(2, 130, 8, 40, 1, 0);
  EXPECT_EQ(Problem(this->Forward(shape, true, kLeaky, 3)), "");
}

TYPED_TEST(Conv, LargeTilesOfFilters) {
  EXPECT_EQ(Problem(this->BackwardFilter(Square(1, 5, 8, 40, 3, 1), 1)), "");
  if (kSmallShapes) return;
  EXPECT_EQ(Problem(this->BackwardFilter(Square(2, 9, 24, 72, 3, 1), 2)), "");
}

// <dy, conv(x, w)> = <dx, x> = <dw, w>, without any oracle.
TYPED_TEST(Conv, PassesAreAdjoint) {
  using T = typename TypeParam::T;
  Draw draw(7);
  std::vector<ConvShape> shapes;
  for (int i = 0; i < (kSmallShapes ? 1 : 5); ++i) shapes.push_back(DrawShape(draw));
#if !defined(TRAINYARD_CUDA_EMULATION)
  if (!kSmallShapes) shapes.push_back(Square(40, 32, 64, 64, 3, 1));  // many large tiles and steps
#endif
  for (const ConvShape& shape : shapes) {
    const std::vector<T> x = Round<T>(draw.Normal(shape.in_size()));
    const std::vector<T> w = Round<T>(draw.Normal(shape.weights()));
    const std::vector<T> dy = Round<T>(draw.Normal(shape.out_size()));
    DeviceArray<T> x_in(x), w_in(w), dy_in(dy), y(shape.out_size()), dx(shape.in_size());
    DeviceArray<float> dw(shape.weights());
    DeviceArray<float> workspace(std::max<int64_t>(1, ConvBackwardFilterWorkspace(shape)));
    const Precision precision = TypeParam::kPrecision;
    ConvForward<T>(shape, precision, x_in.data(), w_in.data(), nullptr, kIdentity, y.data(),
                   nullptr);
    ConvBackwardData<T>(shape, precision, dy_in.data(), w_in.data(), false, dx.data(), nullptr);
    ConvBackwardFilter<T>(shape, precision, x_in.data(), dy_in.data(), workspace.data(), dw.data(),
                          nullptr);
    const std::vector<double> of_y = Widen(y.Read());
    const double scale = Norm(of_y) * Norm(Widen(dy)) + 1e-30;
    const double tolerance = 2 * ConvTolerance(precision);
    EXPECT_NEAR(Dot(Widen(dy), of_y) / scale, Dot(Widen(dx.Read()), Widen(x)) / scale, tolerance);
    EXPECT_NEAR(Dot(Widen(dy), of_y) / scale, Dot(Widen(dw.Read()), Widen(w)) / scale, tolerance);
  }
}

// Weights' gradients are slices of a span, which may start at any float.
TYPED_TEST(Conv, FilterGradientsOffTheVectors) {
  using T = typename TypeParam::T;
  Draw draw(8);
  const ConvShape shape = Square(1, 4, 8, 8, 1, 0);
  const DeviceArray<T> x(Round<T>(draw.Normal(shape.in_size())));
  const DeviceArray<T> dy(Round<T>(draw.Normal(shape.out_size())));
  std::vector<std::vector<float>> found;
  for (int offset : {0, 1}) {
    DeviceArray<float> dw(shape.weights() + offset);
    ConvBackwardFilter<T>(shape, TypeParam::kPrecision, x.data(), dy.data(), nullptr,
                          dw.data() + offset, nullptr);
    const std::vector<float> all = dw.Read();
    found.emplace_back(all.begin() + offset, all.end());
  }
  EXPECT_EQ(found[0], found[1]);
}

// A NaN reaches what its products reach, and nothing else: none comes from beyond the ends.
TYPED_TEST(Conv, NanStaysWhereItBelongs) {
  using T = typename TypeParam::T;
  const ConvShape shape = Square(1, 5, 3, 2, 3, 1);
  std::vector<T> x(shape.in_size(), FromFloat<T>(1));
  // Pixel (4, 0), seen by the windows at (3..4, 0..1). Those at row 2 end right before it, within
  // the same step of the depth.
  x[4 * 5 * 3] = FromFloat<T>(NAN);
  DeviceArray<T> x_in(x), w(std::vector<T>(shape.weights(), FromFloat<T>(1)));
  DeviceArray<T> y(shape.out_size());
  ConvForward<T>(shape, TypeParam::kPrecision, x_in.data(), w.data(), nullptr, kLeaky, y.data(),
                 nullptr);
  const std::vector<double> found = Widen(y.Read());
  for (int i = 0; i < shape.out_size(); ++i) {
    const int p = i / (5 * 2), q = i / 2 % 5;
    EXPECT_EQ(std::isnan(found[i]), p >= 3 && q <= 1) << p << ", " << q;
  }
}

// What the launchers of all passes say to a shape, given memory that suits another.
template <typename T>
std::vector<std::string> Complaints(const ConvShape& shape, Precision precision,
                                    int64_t elements_off = 0) {
  DeviceArray<T> tensor(64);
  DeviceArray<float> gradients(64);
  T* const aligned = tensor.data();
  T* const other = aligned + elements_off;
  return {
      Refusal([&] {
        ConvForward<T>(shape, precision, aligned, aligned, nullptr, kIdentity, other, nullptr);
      }),
      Refusal(
          [&] { ConvBackwardData<T>(shape, precision, aligned, other, false, aligned, nullptr); }),
      Refusal([&] {
        ConvBackwardFilter<T>(shape, precision, other, aligned, nullptr, gradients.data(), nullptr);
      })};
}

void ExpectEach(const std::vector<std::string>& complaints, const std::string& what) {
  const char* names[] = {"ConvForward: ", "ConvBackwardData: ", "ConvBackwardFilter: "};
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(complaints[i], names[i] + what);
}

TEST(ConvRefuses, PrecisionsThatAreNotOfTheType) {
  const ConvShape shape = Square(1, 2, 1, 1, 1, 0);
  ExpectEach(Complaints<float>(shape, Precision::kBf16),
             "float tensors with precision bf16, expected fp32 or tf32");
  ExpectEach(Complaints<bf16>(shape, Precision::kFp32),
             "bf16 tensors with precision fp32, expected bf16");
  ExpectEach(Complaints<bf16>(shape, Precision::kTf32),
             "bf16 tensors with precision tf32, expected bf16");
}

TEST(ConvRefuses, ShapesThatAreNone) {
  ConvShape shape = Square(0, 2, 1, 1, 1, 0);
  ExpectEach(Complaints<float>(shape, Precision::kFp32), "batch = 0, expected at least 1");
  shape = Square(1, 2, 4, 6, 1, 0);
  shape.groups = 4;
  ExpectEach(Complaints<bf16>(shape, Precision::kBf16), "4 groups do not divide 4 and 6 channels");
}

TEST(ConvRefuses, MoreThanItsIndicesReach) {
  for (const std::string& complaint :
       Complaints<float>(Square(1 << 20, 32, 2, 2, 1, 0), Precision::kFp32)) {
    EXPECT_NE(complaint.find("2147483648"), std::string::npos) << complaint;
  }
  ConvShape shape = Square(1, 1, 65536, 65536, 1, 0);
  shape.groups = 65536;
  ExpectEach(Complaints<float>(shape, Precision::kFp32), "65536 groups, expected at most 65535");
}

TEST(ConvRefuses, MisalignedTensors) {
  const std::vector<std::string> complaints =
      Complaints<bf16>(Square(1, 2, 1, 1, 1, 0), Precision::kBf16, 1);
  EXPECT_NE(complaints[0].find("ConvForward: y"), std::string::npos) << complaints[0];
  EXPECT_NE(complaints[1].find("ConvBackwardData: w"), std::string::npos) << complaints[1];
  EXPECT_NE(complaints[2].find("ConvBackwardFilter: x"), std::string::npos) << complaints[2];
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
