#include "kernels/cpu/simd/winograd.h"

// Compiled once for each SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/winograd.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

// A map on a tile, M d M^T, is M along the columns and then along the rows. Where the 36 vectors in
// between would not fit into 32 registers, rows are computed in parts that need no more than some
// of them; what is read twice for that lies in L1.
HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kBlock>;
using V = hn::Vec<D>;

HWY_INLINE V Load(const float* p) { return hn::LoadU(D(), p); }
HWY_INLINE void Store(V v, float* p) { hn::StoreU(v, D(), p); }
template <bool kAdds>
HWY_INLINE void Put(V v, float* p) {
  if constexpr (kAdds) v = hn::Add(Load(p), v);
  Store(v, p);
}
HWY_INLINE V Set(float value) { return hn::Set(D(), value); }

// Pixels, or positions of a transformed tile, of which each lies `x` floats behind its left
// neighbour and `y` behind its upper one.
struct Grid {
  int64_t y = 0, x = 0;
};
Grid PixelsOf(const Tiles& tiles) {
  return {int64_t{tiles.width} * tiles.channels, tiles.channels};
}
Grid PositionsOf(int64_t position) { return {kTileIn * position, position}; }

// Floats before the upper left pixel of tile `tile`.
int64_t CornerOf(const Tiles& tiles, int tile) {
  const int64_t y = tile / tiles.tiles_x * kTile, x = tile % tiles.tiles_x * kTile;
  return (y * tiles.width + x) * tiles.channels;
}

// B^T d for the row of six (d0 .. d5), stored `step` floats apart.
HWY_INLINE void StoreInputRow(const V* d, float* u, int64_t step) {
  const V two = Set(2), four = Set(4);
  const V even = hn::Sub(d[4], d[2]), odd = hn::Sub(d[3], d[1]);
  const V a = hn::NegMulAdd(four, d[2], d[4]), b = hn::NegMulAdd(four, d[1], d[3]);
  Store(hn::MulAdd(four, hn::Sub(d[0], d[2]), even), u);
  Store(hn::Add(a, b), u + step);
  Store(hn::Sub(a, b), u + 2 * step);
  Store(hn::MulAdd(two, odd, even), u + 3 * step);
  Store(hn::NegMulAdd(two, odd, even), u + 4 * step);
  Store(hn::NegMulAdd(four, odd, hn::Sub(d[5], d[3])), u + 5 * step);
}

HWY_INLINE void InputTile(const float* d, Grid from, float* u, Grid to) {
  const V two = Set(2), four = Set(4);
  V s[6], t[6];
  HWY_UNROLL(6)
  for (int x = 0; x < 6; ++x) {
    const float* p = d + x * from.x;
    const V d2 = Load(p + 2 * from.y);
    s[x] = hn::MulAdd(four, hn::Sub(Load(p), d2), hn::Sub(Load(p + 4 * from.y), d2));
  }
  StoreInputRow(s, u, to.x);
  HWY_UNROLL(6)
  for (int x = 0; x < 6; ++x) {
    const float* p = d + x * from.x;
    const V a = hn::NegMulAdd(four, Load(p + 2 * from.y), Load(p + 4 * from.y));
    const V b = hn::NegMulAdd(four, Load(p + from.y), Load(p + 3 * from.y));
    s[x] = hn::Add(a, b);
    t[x] = hn::Sub(a, b);
  }
  StoreInputRow(s, u + to.y, to.x);
  StoreInputRow(t, u + 2 * to.y, to.x);
  HWY_UNROLL(6)
  for (int x = 0; x < 6; ++x) {
    const float* p = d + x * from.x;
    const V even = hn::Sub(Load(p + 4 * from.y), Load(p + 2 * from.y));
    const V odd = hn::Sub(Load(p + 3 * from.y), Load(p + from.y));
    s[x] = hn::MulAdd(two, odd, even);
    t[x] = hn::NegMulAdd(two, odd, even);
  }
  StoreInputRow(s, u + 3 * to.y, to.x);
  StoreInputRow(t, u + 4 * to.y, to.x);
  HWY_UNROLL(6)
  for (int x = 0; x < 6; ++x) {
    const float* p = d + x * from.x;
    const V d3 = Load(p + 3 * from.y);
    s[x] = hn::NegMulAdd(four, hn::Sub(d3, Load(p + from.y)), hn::Sub(Load(p + 5 * from.y), d3));
  }
  StoreInputRow(s, u + 5 * to.y, to.x);
}

// A^T m, from six to four.
HWY_INLINE void OutputLine(const V* m, V* y) {
  const V s = hn::Add(m[1], m[2]), t = hn::Sub(m[1], m[2]);
  const V u = hn::Add(m[3], m[4]), v = hn::Sub(m[3], m[4]);
  y[0] = hn::Add(hn::Add(m[0], s), u);
  y[1] = hn::MulAdd(Set(2), v, t);
  y[2] = hn::MulAdd(Set(4), u, s);
  y[3] = hn::MulAdd(Set(8), v, hn::Add(t, m[5]));
}

// A tile's columns, then its rows, through a line's map from kFrom values to kTo.
template <int kFrom, int kTo, class Line>
HWY_INLINE void TwoPasses(const float* from, Grid in, float* to, Grid out, Line line) {
  V t[kTo][kFrom];
  HWY_UNROLL(6)
  for (int x = 0; x < kFrom; ++x) {
    V column[kFrom], mapped[kTo];
    HWY_UNROLL(6)
    for (int i = 0; i < kFrom; ++i) column[i] = Load(from + i * in.y + x * in.x);
    line(column, mapped);
    HWY_UNROLL(6)
    for (int i = 0; i < kTo; ++i) t[i][x] = mapped[i];
  }
  HWY_UNROLL(6)
  for (int i = 0; i < kTo; ++i) {
    V row[kTo];
    line(t[i], row);
    HWY_UNROLL(6)
    for (int x = 0; x < kTo; ++x) Store(row[x], to + i * out.y + x * out.x);
  }
}

HWY_INLINE void OutputTile(const float* m, Grid from, float* image, Grid to) {
  TwoPasses<6, 4>(m, from, image, to, [](const V* in, V* out) HWY_ATTR { OutputLine(in, out); });
}

// A y, from four to six.
HWY_INLINE void OutputGradientLine(const V* y, V* z) {
  const V p = hn::Add(y[0], y[2]), q = hn::Add(y[1], y[3]);
  const V r = hn::MulAdd(Set(4), y[2], y[0]), s = hn::MulAdd(Set(4), y[3], y[1]);
  z[0] = y[0];
  z[1] = hn::Add(p, q);
  z[2] = hn::Sub(p, q);
  z[3] = hn::MulAdd(Set(2), s, r);
  z[4] = hn::NegMulAdd(Set(2), s, r);
  z[5] = y[3];
}

HWY_INLINE void OutputGradientTile(const float* image, Grid from, float* z, Grid to) {
  TwoPasses<4, 6>(image, from, z, to,
                  [](const V* in, V* out) HWY_ATTR { OutputGradientLine(in, out); });
}

// B o has an even half, rows 0, 2 and 4, made of o0, o1 + o2 and o3 + o4; and an odd one, rows 1, 3
// and 5, made of o5, o2 - o1 and o4 - o3.
HWY_INLINE void EvenInputGradient(V o0, V s12, V s34, V* d) {
  d[0] = hn::Mul(Set(4), o0);
  d[1] = hn::NegMulAdd(Set(5), o0, hn::NegMulSub(Set(4), s12, s34));
  d[2] = hn::Add(o0, hn::Add(s12, s34));
}
HWY_INLINE void OddInputGradient(V o5, V d12, V d34, V* d) {
  const V w = hn::MulAdd(Set(2), d34, d12);
  d[0] = hn::MulAdd(Set(4), o5, hn::MulAdd(Set(3), d12, w));
  d[1] = hn::NegMulSub(Set(5), o5, w);
  d[2] = o5;
}

// kAdds: there is something already in the first two pixels; in all of them.
template <bool kAddsLeft, bool kAdds>
HWY_INLINE void InputGradientRow(const V* o, float* image, int64_t step) {
  V d[3];
  EvenInputGradient(o[0], hn::Add(o[1], o[2]), hn::Add(o[3], o[4]), d);
  Put<kAdds || kAddsLeft>(d[0], image);
  Put<kAdds>(d[1], image + 2 * step);
  Put<kAdds>(d[2], image + 4 * step);
  OddInputGradient(o[5], hn::Sub(o[2], o[1]), hn::Sub(o[4], o[3]), d);
  Put<kAdds || kAddsLeft>(d[0], image + step);
  Put<kAdds>(d[1], image + 3 * step);
  Put<kAdds>(d[2], image + 5 * step);
}

// kBelow, kRight: of another tile, which has written the first two rows, or columns, already.
template <bool kBelow, bool kRight>
HWY_INLINE void InputGradientTile(const float* o, Grid from, float* image, Grid to) {
  V t[3][6], column[3];
  HWY_UNROLL(6)
  for (int x = 0; x < 6; ++x) {
    const float* p = o + x * from.x;
    const V s12 = hn::Add(Load(p + from.y), Load(p + 2 * from.y));
    const V s34 = hn::Add(Load(p + 3 * from.y), Load(p + 4 * from.y));
    EvenInputGradient(Load(p), s12, s34, column);
    HWY_UNROLL(3)
    for (int i = 0; i < 3; ++i) t[i][x] = column[i];
  }
  InputGradientRow<kRight, kBelow>(t[0], image, to.x);
  InputGradientRow<kRight, false>(t[1], image + 2 * to.y, to.x);
  InputGradientRow<kRight, false>(t[2], image + 4 * to.y, to.x);
  HWY_UNROLL(6)
  for (int x = 0; x < 6; ++x) {
    const float* p = o + x * from.x;
    const V d12 = hn::Sub(Load(p + 2 * from.y), Load(p + from.y));
    const V d34 = hn::Sub(Load(p + 4 * from.y), Load(p + 3 * from.y));
    OddInputGradient(Load(p + 5 * from.y), d12, d34, column);
    HWY_UNROLL(3)
    for (int i = 0; i < 3; ++i) t[i][x] = column[i];
  }
  InputGradientRow<kRight, kBelow>(t[0], image + to.y, to.x);
  InputGradientRow<kRight, false>(t[1], image + 3 * to.y, to.x);
  InputGradientRow<kRight, false>(t[2], image + 5 * to.y, to.x);
}

void DoInput(const Tiles& tiles, const float* image, float* u) {
  for (int i = 0; i < tiles.count; ++i) {
    const float* from = image + CornerOf(tiles, tiles.first + i);
    float* to = u + i * tiles.row;
    for (int c = 0; c < tiles.channels; c += int{hn::MaxLanes(D())}) {
      InputTile(from + c, PixelsOf(tiles), to + c, PositionsOf(tiles.position));
    }
  }
}

void DoOutput(const Tiles& tiles, const float* m, float* image) {
  for (int i = 0; i < tiles.count; ++i) {
    const float* from = m + i * tiles.row;
    float* to = image + CornerOf(tiles, tiles.first + i);
    for (int c = 0; c < tiles.channels; c += int{hn::MaxLanes(D())}) {
      OutputTile(from + c, PositionsOf(tiles.position), to + c, PixelsOf(tiles));
    }
  }
}

void DoOutputGradient(const Tiles& tiles, const float* image, float* z) {
  for (int i = 0; i < tiles.count; ++i) {
    const float* from = image + CornerOf(tiles, tiles.first + i);
    float* to = z + i * tiles.row;
    for (int c = 0; c < tiles.channels; c += int{hn::MaxLanes(D())}) {
      OutputGradientTile(from + c, PixelsOf(tiles), to + c, PositionsOf(tiles.position));
    }
  }
}

template <bool kBelow, bool kRight>
void InputGradientChannels(const Tiles& tiles, const float* from, float* to) {
  for (int c = 0; c < tiles.channels; c += int{hn::MaxLanes(D())}) {
    InputGradientTile<kBelow, kRight>(from + c, PositionsOf(tiles.position), to + c,
                                      PixelsOf(tiles));
  }
}

void DoInputGradient(const Tiles& tiles, const float* d, float* image) {
  constexpr decltype(&InputGradientChannels<false, false>) kKinds[] = {
      InputGradientChannels<false, false>, InputGradientChannels<false, true>,
      InputGradientChannels<true, false>, InputGradientChannels<true, true>};
  for (int i = 0; i < tiles.count; ++i) {
    const int tile = tiles.first + i;
    const int kind = (tile >= tiles.tiles_x ? 2 : 0) + (tile % tiles.tiles_x > 0 ? 1 : 0);
    kKinds[kind](tiles, d + i * tiles.row, image + CornerOf(tiles, tile));
  }
}

// G g, from three to six.
HWY_INLINE void WeightLine(const V* g, V* u) {
  const V sum = hn::Add(g[0], g[2]);
  const V half = hn::MulAdd(Set(1 / 24.0f), g[0], hn::Mul(Set(1 / 6.0f), g[2]));
  u[0] = hn::Mul(Set(0.25f), g[0]);
  u[1] = hn::Mul(Set(-1 / 6.0f), hn::Add(sum, g[1]));
  u[2] = hn::Mul(Set(-1 / 6.0f), hn::Sub(sum, g[1]));
  u[3] = hn::MulAdd(Set(1 / 12.0f), g[1], half);
  u[4] = hn::NegMulAdd(Set(1 / 12.0f), g[1], half);
  u[5] = g[2];
}

HWY_INLINE void WeightTile(const float* g, Grid from, float* u, Grid to) {
  TwoPasses<3, 6>(g, from, u, to, [](const V* in, V* out) HWY_ATTR { WeightLine(in, out); });
}

// G^T s, from six to three.
HWY_INLINE void WeightGradientLine(const V* s, V* g) {
  const V s12 = hn::Add(s[1], s[2]), d12 = hn::Sub(s[2], s[1]);
  const V s34 = hn::Add(s[3], s[4]), d34 = hn::Sub(s[3], s[4]);
  const V sixth = Set(1 / 6.0f);
  g[0] = hn::MulAdd(Set(0.25f), s[0], hn::NegMulAdd(sixth, s12, hn::Mul(Set(1 / 24.0f), s34)));
  g[1] = hn::MulAdd(sixth, d12, hn::Mul(Set(1 / 12.0f), d34));
  g[2] = hn::MulAdd(sixth, hn::Sub(s34, s12), s[5]);
}

HWY_INLINE void WeightGradientTile(const float* s, Grid from, float* dw, Grid to) {
  TwoPasses<6, 3>(s, from, dw, to,
                  [](const V* in, V* out) HWY_ATTR { WeightGradientLine(in, out); });
}

// Floats before row `row` of the weights as parameter_layout.h has them, and their taps' grid.
int64_t WeightRow(const WinogradWeights& shape, int row) {
  const int64_t panel = row / shape.inputs, input = row % shape.inputs;
  return (panel * 9 * shape.inputs + input) * kBlock;
}
Grid TapsOf(const WinogradWeights& shape) {
  return {int64_t{3} * shape.inputs * kBlock, int64_t{shape.inputs} * kBlock};
}

void DoWeights(const WinogradWeights& shape, int first, int count, const float* weights,
               float* transformed) {
  for (int row = first; row < first + count; ++row) {
    const float* from = weights + WeightRow(shape, row);
    float* to = transformed + int64_t{row} * kBlock;
    for (int c = 0; c < kBlock; c += int{hn::MaxLanes(D())}) {
      WeightTile(from + c, TapsOf(shape), to + c, PositionsOf(shape.position()));
    }
  }
}

void DoWeightGradient(const WinogradWeights& shape, int first, int count, const float* s,
                      float* dw) {
  for (int row = first; row < first + count; ++row) {
    const float* from = s + int64_t{row} * kBlock;
    float* to = dw + WeightRow(shape, row);
    for (int c = 0; c < kBlock; c += int{hn::MaxLanes(D())}) {
      WeightGradientTile(from + c, PositionsOf(shape.position()), to + c, TapsOf(shape));
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {

HWY_EXPORT(DoInput);
HWY_EXPORT(DoOutput);
HWY_EXPORT(DoOutputGradient);
HWY_EXPORT(DoInputGradient);
HWY_EXPORT(DoWeights);
HWY_EXPORT(DoWeightGradient);

void TransformInput(const Tiles& tiles, const float* image, float* u) {
  HWY_DYNAMIC_DISPATCH(DoInput)(tiles, image, u);
}
void TransformOutput(const Tiles& tiles, const float* m, float* image) {
  HWY_DYNAMIC_DISPATCH(DoOutput)(tiles, m, image);
}
void TransformOutputGradient(const Tiles& tiles, const float* image, float* z) {
  HWY_DYNAMIC_DISPATCH(DoOutputGradient)(tiles, image, z);
}
void TransformInputGradient(const Tiles& tiles, const float* d, float* image) {
  HWY_DYNAMIC_DISPATCH(DoInputGradient)(tiles, d, image);
}
void TransformWeights(const WinogradWeights& shape, int first, int count, const float* weights,
                      float* transformed) {
  HWY_DYNAMIC_DISPATCH(DoWeights)(shape, first, count, weights, transformed);
}
void TransformWeightGradient(const WinogradWeights& shape, int first, int count, const float* s,
                             float* dw) {
  HWY_DYNAMIC_DISPATCH(DoWeightGradient)(shape, first, count, s, dw);
}

}  // namespace trainyard::kernels::cpu
#endif  // HWY_ONCE
