// Dropout's bytes, and what lies channel by channel brought to channels last.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/simd/layout.h"
#include "kernels/cpu/simd/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/loops_bytes.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace trainyard::kernels::cpu {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// ---- Philox, as in philox.h ----

// Words lie in the low halves of 64-bit lanes, a group of four numbers to a lane; what is left in
// the high halves nobody reads.
using DWide = hn::CappedTag<uint64_t, 8>;
using Wide = hn::Vec<DWide>;
using DWords = hn::Rebind<uint32_t, DWide>;
constexpr int kWide = static_cast<int>(hn::MaxLanes(DWide()));

// Several independent vectors at once hide the latency of the products.
constexpr int kSets = 4;
constexpr int kGroups = kSets * kWide;

HWY_INLINE Wide Everywhere(uint64_t word) { return hn::Set(DWide(), word); }

// The full product of the low halves.
HWY_INLINE Wide Product(Wide a, Wide b) {
#if HWY_TARGET == HWY_SCALAR
  return hn::MulEven(hn::TruncateTo(DWords(), a), hn::TruncateTo(DWords(), b));
#else
  const hn::Repartition<uint32_t, DWide> halves;
  return hn::MulEven(hn::BitCast(halves, a), hn::BitCast(halves, b));
#endif
}

HWY_INLINE Wide Xor3(Wide a, Wide b, Wide c) { return hn::Xor(hn::Xor(a, b), c); }

// 1 << shift where the word is below the threshold, else 0.
template <int kShift>
HWY_INLINE Wide Below(Wide word, Wide threshold) {
  const Wide low = hn::And(word, Everywhere(0xFFFFFFFF));
  return hn::ShiftLeft<kShift>(hn::ShiftRight<63>(hn::Sub(low, threshold)));
}

// keep[4 g + k] = number k of group `group` + g is at least the threshold, for kGroups groups.
HWY_INLINE void KeepGroups(uint64_t group, const uint32_t counter[3], const uint32_t key[2],
                           uint32_t threshold, uint8_t* keep) {
  Wide c0[kSets], c1[kSets], c2[kSets], c3[kSets];
  const Wide lanes = hn::Iota(DWide(), 0);
  for (int s = 0; s < kSets; ++s) {
    c0[s] = hn::Add(lanes, Everywhere(group + static_cast<uint64_t>(s) * kWide));
    c1[s] = Everywhere(counter[0]);
    c2[s] = Everywhere(counter[1]);
    const Wide high = hn::And(hn::ShiftRight<32>(c0[s]), Everywhere(0xFF));
    c3[s] = hn::Or(hn::ShiftLeft<8>(high), Everywhere(counter[2]));
  }
  const Wide left_factor = Everywhere(0xD2511F53), right_factor = Everywhere(0xCD9E8D57);
  Wide key0 = Everywhere(key[0]), key1 = Everywhere(key[1]);
  for (int round = 0; round < 10; ++round) {
    for (int s = 0; s < kSets; ++s) {
      const Wide left = Product(left_factor, c0[s]), right = Product(right_factor, c2[s]);
      c0[s] = Xor3(hn::ShiftRight<32>(right), c1[s], key0);
      c2[s] = Xor3(hn::ShiftRight<32>(left), c3[s], key1);
      c1[s] = right;
      c3[s] = left;
    }
    key0 = hn::Add(key0, Everywhere(0x9E3779B9));
    key1 = hn::Add(key1, Everywhere(0xBB67AE85));
  }
  const Wide limit = Everywhere(threshold), ones = Everywhere(0x01010101);
  for (int s = 0; s < kSets; ++s) {
    const Wide dropped = hn::Or(hn::Or(Below<0>(c0[s], limit), Below<8>(c1[s], limit)),
                                hn::Or(Below<16>(c2[s], limit), Below<24>(c3[s], limit)));
    const auto four = hn::TruncateTo(DWords(), hn::Xor(dropped, ones));
    alignas(64) uint32_t words[kWide];
    hn::Store(four, DWords(), words);
    std::memcpy(keep + s * kWide * 4, words, sizeof(words));
  }
}

void KeepBytes(uint64_t start, int64_t count, const uint32_t counter[3], const uint32_t key[2],
               uint32_t threshold, uint8_t* keep) {
  constexpr int64_t kAtOnce = 4 * kGroups;
  int64_t skipped = static_cast<int64_t>(start % 4);
  for (uint64_t group = start / 4; count > 0; group += kGroups) {
    if (skipped == 0 && count >= kAtOnce) {
      KeepGroups(group, counter, key, threshold, keep);
      keep += kAtOnce;
      count -= kAtOnce;
      continue;
    }
    uint8_t some[kAtOnce];
    KeepGroups(group, counter, key, threshold, some);
    const int64_t taken = std::min(kAtOnce - skipped, count);
    keep = std::copy_n(some + skipped, taken, keep);
    count -= taken;
    skipped = 0;
  }
}

// ---- Channels last ----

#if HWY_TARGET == HWY_SCALAR
template <class T>
void ChannelsLast(int64_t pixels, int channels, const T* from, T* to) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int c = 0; c < Padded(channels); ++c) *to++ = c < channels ? from[c * pixels + p] : T{0};
  }
}
#else
// A square of 16 bytes' side is transposed by interleaving its upper and lower half as often as its
// side can be halved. Pixels that do not fill a square are taken one by one.
template <class T>
void ChannelsLast(int64_t pixels, int channels, const T* from, T* to) {
  constexpr int kSide = 16 / sizeof(T);
  const hn::FixedTag<T, kSide> d;
  const int padded = Padded(channels);
  const int64_t whole = pixels / kSide * kSide;
  for (int64_t p = 0; p < whole; p += kSide) {
    for (int c = 0; c < padded; c += kSide) {
      hn::Vec<decltype(d)> square[kSide], mixed[kSide];
      for (int i = 0; i < kSide; ++i) {
        square[i] = c + i < channels ? hn::LoadU(d, from + (c + i) * pixels + p) : hn::Zero(d);
      }
      for (int side = kSide; side > 1; side /= 2) {
        for (int i = 0; i < kSide / 2; ++i) {
          mixed[2 * i] = hn::InterleaveLower(d, square[i], square[i + kSide / 2]);
          mixed[2 * i + 1] = hn::InterleaveUpper(d, square[i], square[i + kSide / 2]);
        }
        for (int i = 0; i < kSide; ++i) square[i] = mixed[i];
      }
      for (int i = 0; i < kSide; ++i) hn::StoreU(square[i], d, to + (p + i) * padded + c);
    }
  }
  for (int64_t p = whole; p < pixels; ++p) {
    for (int c = 0; c < padded; ++c) {
      to[p * padded + c] = c < channels ? from[c * pixels + p] : T{0};
    }
  }
}
#endif

void BytesToChannelsLast(int64_t pixels, int channels, const uint8_t* from, uint8_t* to) {
  ChannelsLast(pixels, channels, from, to);
}

void ToChannelsLast(int64_t pixels, int channels, const float* from, float* to) {
  ChannelsLast(pixels, channels, from, to);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace trainyard::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trainyard::kernels::cpu {

HWY_EXPORT(KeepBytes);
HWY_EXPORT(BytesToChannelsLast);
HWY_EXPORT(ToChannelsLast);

void KeepBytes(uint64_t start, int64_t count, const uint32_t counter[3], const uint32_t key[2],
               uint32_t threshold, uint8_t* keep) {
  HWY_DYNAMIC_DISPATCH(KeepBytes)(start, count, counter, key, threshold, keep);
}

void BytesToChannelsLast(int64_t pixels, int channels, const uint8_t* from, uint8_t* to) {
  HWY_DYNAMIC_DISPATCH(BytesToChannelsLast)(pixels, channels, from, to);
}

void ToChannelsLast(int64_t pixels, int channels, const float* from, float* to) {
  HWY_DYNAMIC_DISPATCH(ToChannelsLast)(pixels, channels, from, to);
}

}  // namespace trainyard::kernels::cpu
#endif  // HWY_ONCE
