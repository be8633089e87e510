// How NVIDIA's libraries number their versions.
#pragma once

#include <cstdint>
#include <string>

namespace trainyard::kernels {

// 91900 as "9.19.0", 130100 as "13.1.0": cuDNN's from 9 on, and cuBLASLt's.
inline std::string LibraryVersion(int64_t number) {
  return std::to_string(number / 10'000) + "." + std::to_string(number % 10'000 / 100) + "." +
         std::to_string(number % 100);
}

}  // namespace trainyard::kernels
