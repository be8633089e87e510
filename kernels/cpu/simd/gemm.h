// The one matrix product that convolutions of every kind and dense layers are made of.
#pragma once

#include <cstdint>

namespace trainyard::kernels::cpu {

// C = A B, or C += A B, on one thread.
//
// B and C are cut into panels of kBlock (16) columns; within a panel a row's columns lie side by
// side. The depth (A's columns, B's rows) is `segments` runs of `depth`: run s starts a_offsets[s]
// and b_offsets[s] floats behind a and b. So a convolution is one product: its runs are the taps.
//   A(i, s, k)    = a[a_offsets[s] + i * a_row + k * a_depth]
//   B(s, k, p, j) = b[b_offsets[s] + p * b_panel + k * b_depth + j]
//   C(i, p, j)    = c[i * c_row + p * c_panel + j]
//
// Each element is one chain of fused multiply-adds in the order of (s, k), begun at 0 or, where it
// accumulates, at what C holds: its bytes do not depend on how rows and panels are cut, nor on the
// vectors' width. (Targets without fused multiply-add round twice.)
//
// For speed: B's panels and C in L2, a panel's depth in L1; row counts of 12 to 14 and multiples;
// b, c and the strides of panels and depth aligned to 64 bytes.
struct Gemm {
  int rows = 0;
  int panels = 0;
  int depth = 0;
  int segments = 1;
  const int64_t* a_offsets = nullptr;  // null: all 0
  const int64_t* b_offsets = nullptr;  // null: run s starts s * depth * b_depth behind b
  const float* a = nullptr;
  int64_t a_row = 0, a_depth = 1;
  const float* b = nullptr;
  int64_t b_panel = 0, b_depth = 16;
  float* c = nullptr;
  int64_t c_row = 0, c_panel = 16;
  bool accumulate = false;
};

void Multiply(const Gemm& gemm);

// Transposes panels: from (panel of columns, rows, 16) to (panel of rows, columns, 16), both packed
// without gaps. rows and columns are multiples of 16.
void TransposePanels(const float* from, int64_t rows, int64_t columns, float* to);

}  // namespace trainyard::kernels::cpu
