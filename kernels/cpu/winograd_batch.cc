// Winograd's F(4x4, 3x3) over chunks of the batch: the products of one position of the tiles are
// one large matrix product, whose weights and sums stay in the second-level cache meanwhile.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cpu/batch_core.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/layout.h"
#include "kernels/cpu/simd/winograd.h"
#include "kernels/cpu/winograd_shape.h"

namespace trainyard::kernels::cpu {
namespace {

// Of a chunk, about: enough to make the weights' share of all traffic small.
constexpr int kChunkTiles = 512;
// What one thread multiplies at once: panels of weights, or of the sums of their gradients, that
// stay in its second-level cache meanwhile; tiles; and of a product's depth, what of two panels
// stays in the first-level cache.
constexpr int kWeights = 256 * 256, kTiles = 192, kDepth = 256;
// From so many floats of transformed weights on, reading them for every few images of a ConvCore,
// and writing a sum of their gradients for every group of images, takes longer than the trips to
// memory that a chunk's transformed tiles make here. And any number of threads can share the work.
constexpr int64_t kManyWeights = int64_t{kPositions} * 128 * 192;

class WinogradBatchCore : public BatchCore {
 public:
  explicit WinogradBatchCore(const ConvGeometry& geometry)
      : shape_(geometry),
        chunk_(std::max(1, std::min(geometry.batch, kChunkTiles / shape_.tiles()))),
        u_position_(WinogradShape::Position(chunk_ * shape_.tiles() * shape_.input_row())),
        z_position_(WinogradShape::Position(chunk_ * shape_.tiles() * shape_.output_row())) {
    input_frame_ = shape_.input_frame();
    output_frame_ = shape_.output_frame();
    packed_floats_ = packed_backward_floats_ = sum_floats_ = shape_.weights().floats();
  }

  std::string name() const override { return "winograd 4x4 batch"; }
  int chunk() const override { return chunk_; }
  int64_t input_floats() const override { return kPositions * u_position_; }
  int64_t output_floats() const override { return kPositions * z_position_; }

  void Pack(const float* weights, float* packed) const override { shape_.Pack(weights, packed); }
  void PackBackward(const float* /*weights*/, const float* packed, float* backward) const override {
    shape_.PackBackward(packed, backward);
  }
  void Finish(const float* sums, float* dw) const override { shape_.Finish(sums, dw); }

  void LoadInput(int image, const float* in, float* u) const override {
    TransformInput(InputTiles(), in, u + InputRow(image));
  }
  void StoreOutput(int image, const float* m, float* out) const override {
    TransformOutput(OutputTiles(), m + OutputRow(image), out);
  }
  void LoadGradient(int image, const float* dy, float* z) const override {
    TransformOutputGradient(OutputTiles(), dy, z + OutputRow(image));
  }
  void StoreGradient(int image, const float* d, float* dx) const override {
    TransformInputGradient(InputTiles(), d + InputRow(image), dx);
  }

  void MultiplyForward(int images, const float* u, const float* packed, float* m) const override {
    const Gemm gemm{.depth = shape_.inputs(),
                    .a = u,
                    .a_row = shape_.input_row(),
                    .b = packed,
                    .b_panel = int64_t{shape_.inputs()} * kBlock,
                    .c = m,
                    .c_row = shape_.output_row()};
    MultiplyRows(gemm, images, shape_.outputs(), u_position_, z_position_);
  }
  void MultiplyBackward(int images, const float* z, const float* backward,
                        float* d) const override {
    const Gemm gemm{.depth = shape_.outputs(),
                    .a = z,
                    .a_row = shape_.output_row(),
                    .b = backward,
                    .b_panel = int64_t{shape_.outputs()} * kBlock,
                    .c = d,
                    .c_row = shape_.input_row()};
    MultiplyRows(gemm, images, shape_.inputs(), z_position_, u_position_);
  }

  void AddWeightGradient(int images, const float* u, const float* z, float* sums) const override {
    const int tiles = images * shape_.tiles();
    EachItem(shape_.outputs(), shape_.inputs(), [&](int64_t position, int panel, int panels) {
      Gemm gemm{.rows = shape_.inputs(),
                .panels = panels,
                .a_row = 1,
                .a_depth = shape_.input_row(),
                .b_panel = kBlock,
                .b_depth = shape_.output_row(),
                .c = sums + position * shape_.weights().position() +
                     int64_t{panel} * shape_.inputs() * kBlock,
                .c_row = kBlock,
                .c_panel = int64_t{shape_.inputs()} * kBlock,
                .accumulate = true};
      for (int64_t tile = 0; tile < tiles; tile += kTiles) {
        gemm.depth = static_cast<int>(std::min<int64_t>(kTiles, tiles - tile));
        gemm.a = u + position * u_position_ + tile * shape_.input_row();
        gemm.b = z + position * z_position_ + tile * shape_.output_row() + panel * kBlock;
        Multiply(gemm);
      }
    });
  }

 private:
  // C = A B for each position, where a row is a tile; a, b and c are the first position's.
  void MultiplyRows(const Gemm& whole, int images, int columns, int64_t a_position,
                    int64_t c_position) const {
    const int tiles = images * shape_.tiles();
    EachItem(columns, whole.depth, [&](int64_t position, int panel, int count) {
      Gemm gemm = whole;
      gemm.panels = count;
      for (int64_t tile = 0; tile < tiles; tile += kTiles) {
        gemm.rows = static_cast<int>(std::min<int64_t>(kTiles, tiles - tile));
        gemm.c = whole.c + position * c_position + tile * whole.c_row + panel * kBlock;
        for (int depth = 0; depth < whole.depth; depth += kDepth) {
          gemm.depth = std::min(kDepth, whole.depth - depth);
          gemm.a = whole.a + position * a_position + tile * whole.a_row + depth;
          gemm.b = whole.b + position * shape_.weights().position() + panel * whole.b_panel +
                   depth * whole.b_depth;
          gemm.accumulate = depth > 0;
          Multiply(gemm);
        }
      }
    });
  }

  // Spreads the weights' columns, each of `rows` weights, over threads:
  // body(position, first panel, panels).
  template <typename Body>
  void EachItem(int columns, int rows, const Body& body) const {
    const int panels = columns / kBlock, most = std::max(1, kWeights / (rows * kBlock));
    const int groups = CeilDiv(panels, most);
    ParallelFor(kPositions * groups, shape_.weights().position(), [&](int64_t i) {
      const int first = static_cast<int>(i % groups) * most;
      body(i / groups, first, std::min(most, panels - first));
    });
  }

  Tiles InputTiles() const { return shape_.InputTiles(0, shape_.tiles(), u_position_); }
  Tiles OutputTiles() const { return shape_.OutputTiles(0, shape_.tiles(), z_position_); }
  int64_t InputRow(int64_t image) const { return image * shape_.tiles() * shape_.input_row(); }
  int64_t OutputRow(int64_t image) const { return image * shape_.tiles() * shape_.output_row(); }

  const WinogradShape shape_;
  const int chunk_;
  const int64_t u_position_, z_position_;  // floats from position to position of a chunk
};

}  // namespace

bool PrefersWinogradBatch(const ConvGeometry& geometry) {
  return WinogradSupports(geometry) && WinogradShape(geometry).weights().floats() >= kManyWeights;
}

std::unique_ptr<BatchCore> MakeWinogradBatchCore(const ConvGeometry& geometry) {
  return std::make_unique<WinogradBatchCore>(geometry);
}

}  // namespace trainyard::kernels::cpu
