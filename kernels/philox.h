// Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3",
// 2011): random numbers as a pure function of a counter and a key.
//
// Every random number of training is addressed by (seed; element, step, layer, purpose), so it is
// the same on every backend, for every number of threads and after every restart. Nothing is ever
// "drawn next": whoever wants a number says which one.
#pragma once

#include <array>
#include <cstdint>

namespace trainyard::kernels {

using PhiloxWords = std::array<uint32_t, 4>;

// How 32-bit numbers are multiplied, unless a machine has a better way.
struct FullProduct {
  constexpr uint64_t operator()(uint32_t a, uint32_t b) const { return uint64_t{a} * b; }
};

// The bare function: ten rounds over a 128-bit counter under a 64-bit key.
template <typename Product = FullProduct>
constexpr PhiloxWords Philox4x32(PhiloxWords counter, std::array<uint32_t, 2> key,
                                 Product product = {}) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t left = product(0xD2511F53, counter[0]);
    const uint64_t right = product(0xCD9E8D57, counter[2]);
    counter = {
        static_cast<uint32_t>(right >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(right),
        static_cast<uint32_t>(left >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(left)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// What a random number is for. Values are part of every trained model's history: never renumber.
enum class Purpose : uint32_t {
  kDropout = 1,
  kFlipAndShift = 2,
  kCutout = 3,
  kInitialise = 4,
  kShuffle = 5,
};

// Where a stream stands: everything but the element.
struct StreamPosition {
  uint64_t seed = 0;
  int64_t step = 0;  // below 2^48
  int layer = 0;
  Purpose purpose{};
};

// The counter of the `group`-th four numbers (group below 2^40), laid out as
// (group low, step low, layer, purpose | group high << 8 | step high << 16).
constexpr PhiloxWords StreamCounter(const StreamPosition& at, uint64_t group) {
  const uint64_t step = static_cast<uint64_t>(at.step);
  return {static_cast<uint32_t>(group), static_cast<uint32_t>(step),
          static_cast<uint32_t>(at.layer),
          static_cast<uint32_t>(at.purpose) | (static_cast<uint32_t>(group >> 32) & 0xFF) << 8 |
              static_cast<uint32_t>(step >> 32) << 16};
}

constexpr std::array<uint32_t, 2> StreamKey(uint64_t seed) {
  return {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
}

// Numbers 4 * group .. 4 * group + 3 of the stream, each uniform over 32 bits.
template <typename Product = FullProduct>
constexpr PhiloxWords RandomWords(const StreamPosition& at, uint64_t group, Product product = {}) {
  return Philox4x32(StreamCounter(at, group), StreamKey(at.seed), product);
}

// Number `element` of the stream.
constexpr uint32_t RandomWord(const StreamPosition& at, uint64_t element) {
  return RandomWords(at, element / 4)[element % 4];
}

// Uniform over 0 .. count - 1 (bias below count / 2^32).
constexpr uint32_t RandomBelow(uint32_t word, uint32_t count) {
  return static_cast<uint32_t>(uint64_t{word} * count >> 32);
}

// Dropout keeps element i (canonical NCHW index within the batch) where number i of the stream
// (step, Op::layer, kDropout) is at least this threshold.
constexpr uint32_t DropoutThreshold(float rate) {
  return static_cast<uint32_t>(static_cast<double>(rate) * 4294967296.0);
}

constexpr StreamPosition DropoutStream(uint64_t seed, int64_t step, int layer) {
  return {seed, step, layer, Purpose::kDropout};
}

}  // namespace trainyard::kernels
