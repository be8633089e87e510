#include "kernels/cpu/dense.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/layout.h"
#include "kernels/cpu/simd/loops.h"

namespace trainyard::kernels::cpu {
namespace {

// What one call of Multiply gets: operands of this size lie in the second-level cache together.
constexpr int64_t kRows = 144, kPanels = 16, kDepth = 256;
// Splitting rows or panels further than this costs more than a thread more brings.
constexpr int64_t kFewRows = 28, kFewPanels = 2;
// Waking threads is not worth it for less: about ten microseconds.
constexpr int64_t kWorthMultiplyAdds = 1 << 20;

struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

// 0 .. size - 1 in parts of nearly the same length, whole units but for the last.
struct Cut {
  int64_t size = 0, unit = 1, parts = 1;

  // Into parts of at most `most`, a multiple of the unit.
  static Cut Into(int64_t size, int64_t unit, int64_t most) {
    return {size, unit, (size + most - 1) / most};
  }
  Range operator[](int64_t part) const { return {Begin(part), Begin(part + 1)}; }

 private:
  int64_t Begin(int64_t part) const {
    return std::min(size, (size + unit - 1) / unit * part / parts * unit);
  }
};

// One of the three products: C, of rows x panels * 16, from operands with that depth between them.
struct Product {
  int64_t rows = 0, panels = 0, depth = 0;
  float* c = nullptr;
  int64_t c_row = 0, c_panel = kBlock;
  bool accumulate = false;
};

bool Spreads(const Product& product) {
  return product.rows * product.panels * product.depth * kBlock >= kWorthMultiplyAdds;
}

// Work items are blocks of C. An element is one chain in the order of the depth wherever it is
// computed, so that the cut may follow the number of threads.
struct Items {
  Items(const Product& product, int64_t threads)
      : rows{product.rows, kBlock}, panels(Cut::Into(product.panels, 1, kPanels)) {
    rows.parts = std::clamp<int64_t>((2 * threads + panels.parts - 1) / panels.parts, 1,
                                     (product.rows + kFewRows - 1) / kFewRows);
    const int64_t most = std::max<int64_t>(1, product.panels / kFewPanels);
    while (rows.parts * panels.parts < threads && panels.parts < most) ++panels.parts;
  }

  int64_t count() const { return rows.parts * panels.parts; }

  Cut rows, panels;
};

// stage_a(gemm, rows, depth, scratch) and stage_b(gemm, panels, depth, scratch) say where gemm's
// operands lie, one of them perhaps in the scratch; finish(rows, panels) ends a block of C.
template <typename StageA, typename StageB, typename Finish>
void Compute(const Product& product, const ThreadScratch& scratch, const StageA& stage_a,
             const StageB& stage_b, const Finish& finish) {
  const bool spread = Spreads(product);
  const Items items(product, spread ? omp_get_max_threads() : 1);
  const Cut depths = Cut::Into(product.depth, kBlock, kDepth);
  const int64_t count = items.count();
#pragma omp parallel for schedule(dynamic) if (spread && count > 1)
  for (int64_t item = 0; item < count; ++item) {
    float* own = scratch.Of(item, count);
    const Range rows = items.rows[item / items.panels.parts];
    const Range panels = items.panels[item % items.panels.parts];
    const Cut blocks = Cut::Into(rows.size(), kBlock, kRows);
    for (int64_t d = 0; d < depths.parts; ++d) {
      Gemm gemm;
      gemm.panels = static_cast<int>(panels.size());
      gemm.depth = static_cast<int>(depths[d].size());
      gemm.c_row = product.c_row, gemm.c_panel = product.c_panel;
      gemm.accumulate = product.accumulate || d > 0;
      stage_b(gemm, panels, depths[d], own);
      for (int64_t i = 0; i < blocks.parts; ++i) {
        const Range block{rows.begin + blocks[i].begin, rows.begin + blocks[i].end};
        gemm.rows = static_cast<int>(block.size());
        gemm.c = product.c + block.begin * product.c_row + panels.begin * product.c_panel;
        stage_a(gemm, block, depths[d], own);
        Multiply(gemm);
      }
    }
    finish(rows, panels);
  }
}

// Rows that lie whole pages apart share a few lines of the first-level cache. A tile that reads a
// few floats of each of many had better read a copy.
bool RowsCollide(int64_t stride) { return stride % 1024 == 0; }

// From row to row of a copy: an odd number of cache lines.
int64_t CopyStride(int64_t width) { return (width + kBlock - 1) / kBlock * kBlock | kBlock; }

}  // namespace

int64_t Dense::items() const {
  const int64_t in = inputs / kBlock, out = outputs / kBlock;
  int64_t most = 1;
  for (const Product& product :
       {Product{batch, out, inputs}, Product{batch, in, outputs}, Product{inputs, out, batch}}) {
    if (!Spreads(product)) continue;
    most = std::max(most, Items(product, std::numeric_limits<int32_t>::max()).count());
  }
  return most;
}

int64_t Dense::scratch_floats() const {
  const int64_t transposed = std::min(outputs, kDepth) * std::min(inputs, kPanels * kBlock);
  const int64_t copy = std::min(batch, kDepth) * CopyStride(std::min(inputs, kRows));
  return std::max(transposed, RowsCollide(inputs) ? copy : 0);
}

void DenseForward(const Dense& dense, const float* x, const float* weights, const float* bias,
                  float slope, float* y, const ThreadScratch& scratch) {
  Product product;
  product.rows = dense.batch, product.panels = dense.outputs / kBlock, product.depth = dense.inputs;
  product.c = y, product.c_row = dense.outputs;
  Compute(
      product, scratch,
      [&](Gemm& gemm, Range rows, Range depth, float*) {
        gemm.a = x + rows.begin * dense.inputs + depth.begin;
        gemm.a_row = dense.inputs;
      },
      [&](Gemm& gemm, Range panels, Range depth, float*) {
        gemm.b = weights + (panels.begin * dense.inputs + depth.begin) * kBlock;
        gemm.b_panel = dense.inputs * kBlock;
      },
      [&](Range rows, Range panels) {
        if (!bias && slope == 1) return;
        const int64_t first = panels.begin * kBlock;
        BiasActivate(rows.size(), static_cast<int>(panels.size() * kBlock), dense.outputs,
                     bias ? bias + first : nullptr, slope, y + rows.begin * dense.outputs + first);
      });
}

void DenseData(const Dense& dense, const float* dy, const float* weights, bool accumulate,
               float* dx, const ThreadScratch& scratch) {
  Product product;
  product.rows = dense.batch, product.panels = dense.inputs / kBlock, product.depth = dense.outputs;
  product.c = dx, product.c_row = dense.inputs;
  product.accumulate = accumulate;
  Compute(
      product, scratch,
      [&](Gemm& gemm, Range rows, Range depth, float*) {
        gemm.a = dy + rows.begin * dense.outputs + depth.begin;
        gemm.a_row = dense.outputs;
      },
      [&](Gemm& gemm, Range panels, Range depth, float* transposed) {
        gemm.b = transposed;
        gemm.b_panel = depth.size() * kBlock;
        for (int64_t o = depth.begin; o < depth.end; o += kBlock) {
          for (int64_t p = panels.begin; p < panels.end; ++p) {
            TransposePanels(
                weights + o * dense.inputs + p * kBlock * kBlock, kBlock, kBlock,
                transposed + (p - panels.begin) * gemm.b_panel + (o - depth.begin) * kBlock);
          }
        }
      },
      [](Range, Range) {});
}

void DenseWeights(const Dense& dense, const float* x, const float* dy, float* dw, float* db,
                  const ThreadScratch& scratch) {
  Product product;
  product.rows = dense.inputs, product.panels = dense.outputs / kBlock, product.depth = dense.batch;
  product.c = dw, product.c_row = kBlock, product.c_panel = dense.inputs * kBlock;
  Compute(
      product, scratch,
      [&](Gemm& gemm, Range rows, Range depth, float* copy) {
        const float* first = x + depth.begin * dense.inputs + rows.begin;
        gemm.a = first;
        gemm.a_row = 1, gemm.a_depth = dense.inputs;
        if (!RowsCollide(dense.inputs)) return;
        gemm.a = copy;
        gemm.a_depth = CopyStride(rows.size());
        for (int64_t k = 0; k < depth.size(); ++k) {
          std::memcpy(copy + k * gemm.a_depth, first + k * dense.inputs,
                      rows.size() * sizeof(float));
        }
      },
      [&](Gemm& gemm, Range panels, Range depth, float*) {
        gemm.b = dy + depth.begin * dense.outputs + panels.begin * kBlock;
        gemm.b_panel = kBlock, gemm.b_depth = dense.outputs;
      },
      [](Range, Range) {});
  if (!db) return;
  const float one = 1;
  Gemm sums;  // a row of ones times dy
  sums.rows = 1, sums.panels = static_cast<int>(product.panels);
  sums.depth = static_cast<int>(dense.batch);
  sums.a = &one, sums.a_depth = 0;
  sums.b = dy, sums.b_panel = kBlock, sums.b_depth = dense.outputs;
  sums.c = db;
  Multiply(sums);
}

}  // namespace trainyard::kernels::cpu
