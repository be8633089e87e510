// Headers of a tar whose bytes depend on nothing but names, sizes and contents: no times, no
// owners, no locale. POSIX ustar; a name that doesn't fit stands in a pax record before it.
#pragma once

#include <cstdint>
#include <string>

namespace trainyard::coordinator {

inline constexpr int64_t kTarBlock = 512;

struct TarEntry {
  std::string path;
  std::string link = {};  // target of a symbolic link; empty: a file
  int64_t size = 0;
  bool executable = false;
};

std::string TarHeader(const TarEntry& entry);

// Zeros behind `size` bytes of content.
inline int64_t TarPadding(int64_t size) { return (kTarBlock - size % kTarBlock) % kTarBlock; }

}  // namespace trainyard::coordinator
