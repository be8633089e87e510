// Dense layers' matrix products by cuBLASLt. NVIDIA's header and the emulated machine's runtime
// cannot be seen by one file, so that neither is here: streams and tensors are void*.
//
// Deterministic: the algorithm comes from cuBLASLt's heuristic, a function of version, device and
// product that times nothing, and no algorithm that adds to its output in any order is let in.
//
// Source: NVIDIA, "cuBLAS", the chapter on the cuBLASLt API.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/precision.h"

namespace trainyard::kernels::cuda {

// One product of a layer's tensors, all row-major: x (batch, in), w (out, in), y (batch, out), each
// of the precision's element type; dw (out, in) of float. Sums are in fp32.
struct Matmul {
  enum class Pass {
    kForward,         // y = x w^T
    kBackwardFilter,  // dw = dy^T x
    kBackwardData,    // dx = dy w
  };
  Pass pass{};
  Precision precision{};
  int64_t batch = 0, in = 0, out = 0;
  bool bias = false;        // forward: y = x w^T + bias, of the element type
  bool accumulate = false;  // backward data: dx = dx + dy w
};

// Aligned to 16 bytes, as every tensor of a program is.
struct MatmulTensors {
  const void* left = nullptr;   // x; backward data: dy
  const void* right = nullptr;  // w; backward filter: dy
  const void* bias = nullptr;   // (out), where there is one
  void* result = nullptr;       // y, dw or dx
  void* workspace = nullptr;    // of workspace_bytes, aligned to 256; undefined before and after
};

// A product with the algorithm that was chosen for it.
class MatmulPlan {
 public:
  struct Parts;
  explicit MatmulPlan(std::unique_ptr<Parts> parts);
  ~MatmulPlan();

  int64_t workspace_bytes() const;
  // What was chosen: "algorithm 66 tile 20 stages 8". Results depend on it.
  const std::string& algorithm() const;
  // Puts it on the stream (a cudaStream_t), which may be capturing. Throws Error where cuBLASLt
  // refuses.
  void Run(const MatmulTensors& tensors, void* stream) const;

 private:
  const std::unique_ptr<Parts> parts_;
};

class CublasLt {
 public:
  // On the current device. Throws Error where cuBLASLt does not start.
  CublasLt();
  ~CublasLt();

  // "cublaslt 13.1.0". What it chose is told by each plan's algorithm.
  std::string Describe() const;

  // Not while a stream captures, which later versions refuse. Null where cuBLASLt has no
  // deterministic algorithm for the product. The plan lives as long as this.
  const MatmulPlan* AddPlan(const Matmul& matmul);

 private:
  struct Handle;
  const std::unique_ptr<Handle> handle_;
  std::vector<std::unique_ptr<MatmulPlan>> plans_;
};

}  // namespace trainyard::kernels::cuda
