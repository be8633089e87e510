// FNV-1a: 64 bits that tell things apart. No protection from somebody who wants two to meet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trainyard::kernels {

class Fnv1a {
 public:
  void Add(const void* bytes, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      hash_ = (hash_ ^ static_cast<const unsigned char*>(bytes)[i]) * 0x100000001B3;
    }
  }
  void Add(std::string_view text) { Add(text.data(), text.size()); }

  // The hash of what was added so far, in 16 digits.
  std::string Digits() const {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string digits;
    for (int shift = 60; shift >= 0; shift -= 4) digits += kDigits[(hash_ >> shift) & 15];
    return digits;
  }

 private:
  uint64_t hash_ = 0xCBF29CE484222325;
};

}  // namespace trainyard::kernels
