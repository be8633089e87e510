#include "kernels/cuda/emulation/tensor_core.h"

#include <bit>
#include <cstring>

namespace trainyard::kernels::cuda::emulation {
namespace {

float Tf32(uint32_t bits) { return std::bit_cast<float>(bits & 0xffffe000u); }
float Bf16(uint32_t pair, int half) {
  return std::bit_cast<float>(half == 0 ? pair << 16 : pair & 0xffff0000u);
}

// What a warp holds in registers, as the matrices that it means: a 16 x kDepth, b kDepth x 8.
template <int kDepth>
struct Matrices {
  float a[16][kDepth], b[kDepth][8];
};

// Multiplies, and leaves each lane its part of the product instead of its fragments.
template <int kDepth>
void Multiply(const Matrices<kDepth>& matrices, WarpMeeting& meeting) {
  float product[16][8] = {};
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < kDepth; ++k) {
      for (int column = 0; column < 8; ++column) {
        product[row][column] += matrices.a[row][k] * matrices.b[k][column];
      }
    }
  }
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    const Product part = {product[g][2 * t], product[g][2 * t + 1], product[g + 8][2 * t],
                          product[g + 8][2 * t + 1]};
    std::memcpy(meeting.values[lane], &part, sizeof part);
  }
}

}  // namespace

void MultiplyBf16(WarpMeeting& meeting) {
  Matrices<16> matrices;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    Fragments of;
    std::memcpy(&of, meeting.values[lane], sizeof of);
    const unsigned g = lane / 4, t = lane % 4;
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 4; ++i) {
        matrices.a[g + i % 2 * 8][2 * t + i / 2 * 8 + half] = Bf16(of.a[i], half);
      }
      for (int i = 0; i < 2; ++i) matrices.b[2 * t + i * 8 + half][g] = Bf16(of.b[i], half);
    }
  }
  Multiply(matrices, meeting);
}

void MultiplyTf32(WarpMeeting& meeting) {
  Matrices<8> matrices;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    Fragments of;
    std::memcpy(&of, meeting.values[lane], sizeof of);
    const unsigned g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) matrices.a[g + i % 2 * 8][t + i / 2 * 4] = Tf32(of.a[i]);
    for (int i = 0; i < 2; ++i) matrices.b[t + i * 4][g] = Tf32(of.b[i]);
  }
  Multiply(matrices, meeting);
}

}  // namespace trainyard::kernels::cuda::emulation
