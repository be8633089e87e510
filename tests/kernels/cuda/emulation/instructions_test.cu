// The wrappers of instructions.h against double loops over whole matrices: on the emulated machine,
// and, built by nvcc, on a GPU. The kernels lay matrices out in registers as the wrappers say.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/cuda/instructions.h"
#include "kernels/cuda/launch.h"
#include "kernels/philox.h"
#include "tests/kernels/cuda/support/kernel_case.h"

namespace trainyard::kernels::cuda::testing {
namespace {

constexpr int kRows = 16, kColumns = 8;  // of an mma's product
constexpr double kTolerance = 1e-6;

// d (16, 8) += a (16, 16) b (16, 8), one warp.
__global__ void MmaBf16Kernel(const bf16* a, const bf16* b, float* d) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto a_pair = [&](int row, int column) {
    return uint32_t{a[row * 16 + column].bits} | uint32_t{a[row * 16 + column + 1].bits} << 16;
  };
  const auto b_pair = [&](int row, int column) {
    return uint32_t{b[row * 8 + column].bits} | uint32_t{b[(row + 1) * 8 + column].bits} << 16;
  };
  const uint32_t of_a[4] = {a_pair(g, 2 * t), a_pair(g + 8, 2 * t), a_pair(g, 2 * t + 8),
                            a_pair(g + 8, 2 * t + 8)};
  const uint32_t of_b[2] = {b_pair(2 * t, g), b_pair(2 * t + 8, g)};
  float* top = d + g * kColumns + 2 * t;
  float* bottom = top + 8 * kColumns;
  float sum[4] = {top[0], top[1], bottom[0], bottom[1]};
  MmaBf16(sum, of_a, of_b);
  top[0] = sum[0], top[1] = sum[1], bottom[0] = sum[2], bottom[1] = sum[3];
}

// d (16, 8) += a (16, 8) b (8, 8), one warp.
__global__ void MmaTf32Kernel(const float* a, const float* b, float* d) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const uint32_t of_a[4] = {ToTf32(a[g * 8 + t]), ToTf32(a[(g + 8) * 8 + t]),
                            ToTf32(a[g * 8 + t + 4]), ToTf32(a[(g + 8) * 8 + t + 4])};
  const uint32_t of_b[2] = {ToTf32(b[t * 8 + g]), ToTf32(b[(t + 4) * 8 + g])};
  float* top = d + g * kColumns + 2 * t;
  float* bottom = top + 8 * kColumns;
  float sum[4] = {top[0], top[1], bottom[0], bottom[1]};
  MmaTf32(sum, of_a, of_b);
  top[0] = sum[0], top[1] = sum[1], bottom[0] = sum[2], bottom[1] = sum[3];
}

// The nearest float with `dropped` bits of the mantissa zero; ties to even, or away from zero.
float Nearest(float value, int dropped, bool ties_to_even) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t unit = 1u << dropped, below = bits & ~(unit - 1), rest = bits - below;
  const bool odd = (below & unit) != 0;
  const bool up = rest > unit / 2 || (rest == unit / 2 && (odd || !ties_to_even));
  const uint32_t rounded = below + (up ? unit : 0);
  std::memcpy(&value, &rounded, sizeof value);
  return value;
}

std::vector<double> MatrixProduct(const std::vector<double>& a, const std::vector<double>& b,
                                  const std::vector<double>& d, int depth) {
  std::vector<double> sum = d;
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kColumns; ++j) {
      for (int k = 0; k < depth; ++k) {
        sum[i * kColumns + j] += a[i * depth + k] * b[k * kColumns + j];
      }
    }
  }
  return sum;
}

TEST(Instructions, MmaBf16MultipliesMatrices) {
  for (int seed = 1; seed <= 4; ++seed) {
    Draw draw(seed);
    const auto a = Round<bf16>(draw.Normal(16 * 16)), b = Round<bf16>(draw.Normal(16 * 8));
    const auto before = draw.Normal(16 * 8);
    const auto of_a = Upload(a), of_b = Upload(b);
    const auto d = Allocate<float>(16 * 8);
    KernelCase kernel;
    kernel.name = "mma bf16";
    kernel.launch = [=](cudaStream_t stream) {
      Launch(MmaBf16Kernel, 1, 32, 0, stream, of_a->data(), of_b->data(), d->data());
    };
    kernel.ExpectFrom("d", d, before, MatrixProduct(Widen(a), Widen(b), Widen(before), 16),
                      kTolerance);
    EXPECT_EQ(Problem(kernel), "");
  }
}

TEST(Instructions, MmaTf32MultipliesMatrices) {
  for (int seed = 1; seed <= 4; ++seed) {
    Draw draw(seed);
    const auto a = draw.Normal(16 * 8), b = draw.Normal(8 * 8), before = draw.Normal(16 * 8);
    auto rounded_a = a, rounded_b = b;
    for (float& value : rounded_a) value = Nearest(value, 13, false);
    for (float& value : rounded_b) value = Nearest(value, 13, false);
    const auto of_a = Upload(a), of_b = Upload(b);
    const auto d = Allocate<float>(16 * 8);
    KernelCase kernel;
    kernel.name = "mma tf32";
    kernel.launch = [=](cudaStream_t stream) {
      Launch(MmaTf32Kernel, 1, 32, 0, stream, of_a->data(), of_b->data(), d->data());
    };
    kernel.ExpectFrom("d", d, before,
                      MatrixProduct(Widen(rounded_a), Widen(rounded_b), Widen(before), 8),
                      kTolerance);
    EXPECT_EQ(Problem(kernel), "");
  }
}

// Four matrices of 8x8, one below the other, with rows of 24 elements in shared memory.
__global__ void LoadMatricesKernel(const uint16_t* matrices, bool transposed, uint32_t* out) {
  KERNEL_SHARED(Vector<bf16>, rows, [32][3]);
  Vector<bf16> row;
  for (int i = 0; i < 8; ++i) row.at[i].bits = matrices[threadIdx.x * 8 + i];
  rows[threadIdx.x][1] = row;
  __syncthreads();
  uint32_t of_lane[4];
  if (transposed) {
    LoadMatricesTransposed(of_lane, &rows[threadIdx.x][1]);
  } else {
    LoadMatrices(of_lane, &rows[threadIdx.x][1]);
  }
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = of_lane[i];
}

TEST(Instructions, LoadMatricesBothWays) {
  std::vector<uint16_t> matrices(4 * 8 * 8);
  for (size_t i = 0; i < matrices.size(); ++i) matrices[i] = static_cast<uint16_t>(i * 257 + 3);
  const auto in = Upload(matrices);
  const auto out = Allocate<uint32_t>(32 * 4);
  for (const bool transposed : {false, true}) {
    std::vector<double> expected;
    for (int lane = 0; lane < 32; ++lane) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        uint32_t pair[2];
        for (int i = 0; i < 2; ++i) {
          const int of_lane = lane / 4, of_pair = lane % 4 * 2 + i;
          const int row = transposed ? of_pair : of_lane, column = transposed ? of_lane : of_pair;
          pair[i] = matrices[matrix * 64 + row * 8 + column];
        }
        expected.push_back(pair[0] | pair[1] << 16);
      }
    }
    KernelCase kernel;
    kernel.name = transposed ? "ldmatrix.trans" : "ldmatrix";
    kernel.launch = [=](cudaStream_t stream) {
      Launch(LoadMatricesKernel, 1, 32, 0, stream, in->data(), transposed, out->data());
    };
    kernel.Expect("out", out, expected, 0);
    EXPECT_EQ(Problem(kernel), "");
  }
}

// Three groups in flight, used in turn; every third element is left out, and zero.
template <int kWords>
__global__ void AsyncCopyKernel(const uint32_t* in, uint32_t* out) {
  constexpr int kThreads = 64, kGroups = 3;
  KERNEL_SHARED(Vector<float>, buffer, [kGroups][kThreads]);
  for (int group = 0; group < kGroups; ++group) {
    const int element = group * kThreads + threadIdx.x;
    AsyncCopy<4 * kWords>(&buffer[group][threadIdx.x], in + element * kWords, element % 3 != 0);
    AsyncCommit();
  }
  const auto use = [&](int group) {
    __syncthreads();
    const int other = kThreads - 1 - static_cast<int>(threadIdx.x);
    const uint32_t* words = reinterpret_cast<const uint32_t*>(&buffer[group][other]);
    for (int i = 0; i < kWords; ++i) out[(group * kThreads + other) * kWords + i] = words[i];
  };
  AsyncWait<2>();
  use(0);
  AsyncWait<1>();
  use(1);
  AsyncWait<0>();
  use(2);
}

template <int kWords>
void CheckAsyncCopy() {
  std::vector<uint32_t> words(3 * 64 * kWords);
  std::vector<double> expected(words.size());
  for (size_t i = 0; i < words.size(); ++i) {
    words[i] = static_cast<uint32_t>(i * 2654435761u);
    expected[i] = i / kWords % 3 != 0 ? words[i] : 0;
  }
  const auto in = Upload(words);
  const auto out = Allocate<uint32_t>(static_cast<int64_t>(words.size()));
  KernelCase kernel;
  kernel.name = "cp.async";
  kernel.launch = [=](cudaStream_t stream) {
    Launch(AsyncCopyKernel<kWords>, 1, 64, 0, stream, in->data(), out->data());
  };
  kernel.Expect("out", out, expected, 0);
  EXPECT_EQ(Problem(kernel), "");
}

TEST(Instructions, AsyncCopiesOf4Bytes) { CheckAsyncCopy<1>(); }
TEST(Instructions, AsyncCopiesOf8Bytes) { CheckAsyncCopy<2>(); }
TEST(Instructions, AsyncCopiesOf16Bytes) { CheckAsyncCopy<4>(); }

__global__ void RoundKernel(const float* in, int count, uint32_t* to_bf16, uint32_t* packed,
                            uint32_t* to_tf32) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  to_bf16[i] = uint32_t{ToBf16(in[i]).bits} << 16;
  packed[i] = PackBf16(in[i], in[(i + 1) % count]);
  to_tf32[i] = ToTf32(in[i]) & 0xffffe000u;
}

float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

bool Equal(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

TEST(Instructions, RoundingOfEveryKindOfFloat) {
  std::vector<float> values;
  // Ties, their neighbours, subnormals, the largest; then any bits.
  for (uint32_t high : {0x0000u, 0x0001u, 0x3f80u, 0x3f81u, 0x7f7fu, 0x7f80u, 0x7fc0u, 0x0080u}) {
    for (uint32_t low : {0x0000u, 0x0001u, 0x0fffu, 0x1000u, 0x1001u, 0x3000u, 0x7fffu, 0x8000u,
                         0x8001u, 0xefffu, 0xf000u, 0xffffu}) {
      values.push_back(FloatOf(high << 16 | low));
      values.push_back(FloatOf(0x80000000u | high << 16 | low));
    }
  }
  Draw draw(7);
  for (int i = 0; i < 1000; ++i) {
    values.push_back(FloatOf(static_cast<uint32_t>(draw.Between(0, 0x7ffffffe)) * 2u + 1u));
  }
  const int count = static_cast<int>(values.size());
  const auto in = Upload(values);
  const auto to_bf16 = Allocate<uint32_t>(count), packed = Allocate<uint32_t>(count),
             to_tf32 = Allocate<uint32_t>(count);
  Launch(RoundKernel, (count + 127) / 128, 128, 0, nullptr, in->data(), count, to_bf16->data(),
         packed->data(), to_tf32->data());
  const auto bf16_bits = to_bf16->Read(), pairs = packed->Read(), tf32_bits = to_tf32->Read();
  const auto nearest = [](float value, int dropped, bool ties_to_even) {
    return std::isfinite(value) ? Nearest(value, dropped, ties_to_even) : value;
  };
  for (int i = 0; i < count; ++i) {
    const float as_bf16 = nearest(values[i], 16, true);
    EXPECT_TRUE(Equal(FloatOf(bf16_bits[i]), as_bf16)) << values[i];
    EXPECT_TRUE(Equal(FloatOf(pairs[i] << 16), as_bf16)) << values[i];
    EXPECT_TRUE(Equal(FloatOf(pairs[i] & 0xffff0000u), nearest(values[(i + 1) % count], 16, true)));
    // A NaN that is cut to nothing becomes an infinity (ToTf32).
    const float as_tf32 = std::isnan(values[i]) ? FloatOf(BitsOf(values[i]) & 0xffffe000u)
                                                : nearest(values[i], 13, false);
    EXPECT_TRUE(Equal(FloatOf(tf32_bits[i]), as_tf32)) << values[i];
  }
}

__global__ void PhiloxKernel(PhiloxWords counter, uint32_t key0, uint32_t key1, uint32_t* out) {
  const PhiloxWords words = Philox4x32(counter, {key0, key1});
  out[threadIdx.x] = words[threadIdx.x];
}

TEST(Instructions, PhiloxGivesTheKnownAnswers) {
  const auto out = Allocate<uint32_t>(4);
  const auto run = [&](PhiloxWords counter, uint32_t key0, uint32_t key1) {
    Launch(PhiloxKernel, 1, 4, 0, nullptr, counter, key0, key1, out->data());
    return out->Read();
  };
  // Of the authors' Random123.
  EXPECT_EQ(run({0, 0, 0, 0}, 0, 0),
            (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(run({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
