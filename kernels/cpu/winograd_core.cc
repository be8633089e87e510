// 3x3 convolutions with stride 1 by Winograd's F(4x4, 3x3), see simd/winograd.h, in blocks of
// tiles: what lies between the images and the weights stays in the second-level cache.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cpu/conv_core.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/layout.h"
#include "kernels/cpu/simd/winograd.h"
#include "kernels/cpu/winograd_shape.h"

namespace trainyard::kernels::cpu {
namespace {

// A block has as many tiles as pay for reading all the weights, where images are large enough; and
// no more than leave it in the cache with the usual 64 channels.
constexpr int kFewestTiles = 36, kMostTiles = 64;

class WinogradCore : public ConvCore {
 public:
  explicit WinogradCore(const ConvGeometry& geometry) : shape_(geometry) {
    input_frame_ = shape_.input_frame();
    output_frame_ = shape_.output_frame();
    pack_ = CeilDiv(kFewestTiles, shape_.tiles());
    const int tiles = shape_.tiles() * pack_;
    block_ = CeilDiv(tiles, CeilDiv(tiles, kMostTiles));
    slot_ = WinogradShape::Position(block_ * std::max(shape_.input_row(), shape_.output_row()));
    scratch_floats_ = 2 * kPositions * slot_;
    packed_floats_ = packed_backward_floats_ = sum_floats_ = shape_.weights().floats();
  }

  std::string name() const override { return "winograd 4x4"; }

  void Pack(const float* weights, float* packed) const override { shape_.Pack(weights, packed); }
  void PackBackward(const float* /*weights*/, const float* packed, float* backward) const override {
    shape_.PackBackward(packed, backward);
  }
  void Finish(const float* sums, float* dw) const override { shape_.Finish(sums, dw); }

  void Forward(int images, const float* in, const float* packed, float* scratch,
               float* out) const override {
    EachBlock(images, [&](const Block& block) {
      // A product lies one slot before the tiles that it is made of, where those of the position
      // before lay: so both need hardly more room than one.
      float *u = scratch + slot_, *m = scratch;
      EachPart(block, [&](const Part& part) { LoadInput(part, in, u); });
      for (int i = 0; i < kPositions; ++i) {
        Multiply({.rows = block.count,
                  .panels = shape_.outputs() / kBlock,
                  .depth = shape_.inputs(),
                  .a = u + i * slot_,
                  .a_row = shape_.input_row(),
                  .b = packed + i * shape_.weights().position(),
                  .b_panel = int64_t{shape_.inputs()} * kBlock,
                  .c = m + i * slot_,
                  .c_row = shape_.output_row()});
      }
      EachPart(block, [&](const Part& part) {
        TransformOutput(shape_.OutputTiles(part.first, part.count, slot_),
                        m + part.row * shape_.output_row(),
                        out + part.image * shape_.output_floats());
      });
    });
  }

  void Backward(int images, const float* in, const float* dy, const float* backward, float* scratch,
                float* dx, float* sums) const override {
    EachBlock(images, [&](const Block& block) {
      float *u = scratch, *z = scratch + kPositions * slot_;
      EachPart(block, [&](const Part& part) {
        LoadInput(part, in, u);
        TransformOutputGradient(shape_.OutputTiles(part.first, part.count, slot_),
                                dy + part.image * shape_.output_floats(),
                                z + part.row * shape_.output_row());
      });
      for (int i = 0; i < kPositions; ++i) {
        const int64_t weights = i * shape_.weights().position();
        AddWeightGradient(block, u + i * slot_, z + i * slot_, sums + weights);
        // The input's tiles are not needed any more: their gradient takes their place.
        if (dx != nullptr) {
          MultiplyGradient(block, z + i * slot_, backward + weights, u + i * slot_);
        }
      }
      if (dx == nullptr) return;
      EachPart(block, [&](const Part& part) {
        TransformInputGradient(shape_.InputTiles(part.first, part.count, slot_),
                               u + part.row * shape_.input_row(),
                               dx + part.image * shape_.input_floats());
      });
    });
  }

 private:
  // Consecutive tiles of a pack, image after image.
  struct Block {
    int first = 0, count = 0;
  };
  // Those of them that lie in one image; the first one is number `row` of the block.
  struct Part {
    int64_t image = 0;
    int first = 0, count = 0;
    int64_t row = 0;
  };

  template <typename Body>
  void EachBlock(int images, const Body& body) const {
    const int tiles = images * shape_.tiles();
    for (int first = 0; first < tiles; first += block_) {
      body(Block{first, std::min(block_, tiles - first)});
    }
  }

  template <typename Body>
  void EachPart(const Block& block, const Body& body) const {
    const int tiles = shape_.tiles();
    for (int row = 0; row < block.count;) {
      const int tile = block.first + row;
      const int count = std::min(block.count - row, tiles - tile % tiles);
      body(Part{tile / tiles, tile % tiles, count, row});
      row += count;
    }
  }

  void LoadInput(const Part& part, const float* in, float* u) const {
    TransformInput(shape_.InputTiles(part.first, part.count, slot_),
                   in + part.image * shape_.input_floats(), u + part.row * shape_.input_row());
  }

  // Of one position: sums += U^T Z.
  void AddWeightGradient(const Block& block, const float* u, const float* z, float* sums) const {
    Multiply({.rows = shape_.inputs(),
              .panels = shape_.outputs() / kBlock,
              .depth = block.count,
              .a = u,
              .a_row = 1,
              .a_depth = shape_.input_row(),
              .b = z,
              .b_panel = kBlock,
              .b_depth = shape_.output_row(),
              .c = sums,
              .c_row = kBlock,
              .c_panel = int64_t{shape_.inputs()} * kBlock,
              .accumulate = true});
  }

  // Of one position: D = Z W^T.
  void MultiplyGradient(const Block& block, const float* z, const float* backward, float* d) const {
    Multiply({.rows = block.count,
              .panels = shape_.inputs() / kBlock,
              .depth = shape_.outputs(),
              .a = z,
              .a_row = shape_.output_row(),
              .b = backward,
              .b_panel = int64_t{shape_.outputs()} * kBlock,
              .c = d,
              .c_row = shape_.input_row()});
  }

  const WinogradShape shape_;
  int block_ = 0;     // tiles of a block, at most
  int64_t slot_ = 0;  // floats of scratch from position to position
};

}  // namespace

std::unique_ptr<ConvCore> MakeWinogradCore(const ConvGeometry& geometry) {
  return std::make_unique<WinogradCore>(geometry);
}

}  // namespace trainyard::kernels::cpu
