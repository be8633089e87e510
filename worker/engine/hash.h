// A checksum for files of ours: it notices damage, it does not withstand an attacker.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace trainyard::engine {

inline constexpr uint64_t kHashStart = 0xcbf29ce484222325;

// In the manner of Fowler, Noll and Vo, eight bytes at a time. Each round maps states one to one,
// so two inputs that differ in one word never collide. `state` is kHashStart or the hash of what
// stands before.
inline uint64_t Hash(uint64_t state, std::string_view bytes) {
  const auto add = [&state](uint64_t word) {
    state = (state ^ word) * 0x100000001b3;
    state ^= state >> 32;
  };
  size_t at = 0;
  for (; at + sizeof(uint64_t) <= bytes.size(); at += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    add(word);
  }
  uint64_t rest = 0;
  std::memcpy(&rest, bytes.data() + at, bytes.size() - at);
  add(rest);
  add(bytes.size());
  return state;
}

// The same for what is large, at the speed of memory: eight hashes side by side, each of every
// eighth word, and a hash of these. One alone waits for its own multiplications.
inline uint64_t WideHash(uint64_t state, std::string_view bytes) {
  constexpr size_t kLanes = 8;
  uint64_t lanes[kLanes];
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = kHashStart + i;
  size_t at = 0;
  for (; at + sizeof lanes <= bytes.size(); at += sizeof lanes) {
    for (size_t i = 0; i < kLanes; ++i) {
      uint64_t word;
      std::memcpy(&word, bytes.data() + at + i * sizeof word, sizeof word);
      lanes[i] = (lanes[i] ^ word) * 0x100000001b3;
      lanes[i] ^= lanes[i] >> 32;
    }
  }
  state = Hash(state, {reinterpret_cast<const char*>(lanes), sizeof lanes});
  return Hash(state, bytes.substr(at));
}

}  // namespace trainyard::engine
