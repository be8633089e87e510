// How a backend multiplies matrices. Only GPUs have a choice: others compute in float or better,
// whatever is asked.
#pragma once

namespace trainyard::kernels {

// All accumulate in fp32, and keep parameters, moments and statistics in fp32.
enum class Precision {
  kFp32,  // float tensors, fp32 products: the yardstick
  kTf32,  // float tensors, products of operands rounded to 10 bits, on tensor cores
  kBf16,  // bf16 activations and packed weights, on tensor cores
};

constexpr const char* PrecisionName(Precision precision) {
  switch (precision) {
    case Precision::kTf32:
      return "tf32";
    case Precision::kBf16:
      return "bf16";
    default:
      return "fp32";
  }
}

}  // namespace trainyard::kernels
