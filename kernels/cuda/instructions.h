// The machine instructions that kernels use beyond CUDA C++, each with a meaning on the emulated
// machine: tensor cores, matrix loads, asynchronous copies. For kernel sources only.
//
// Source: NVIDIA, "Parallel Thread Execution ISA", sections on mma, ldmatrix and cp.async.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/types.h"

// After the last parameter of what the emulated machine reports by the kernel's line.
#if defined(TRAINYARD_CUDA_EMULATION)
#define KERNEL_SITE , emulation::Site site = emulation::Site::current()
#else
#define KERNEL_SITE
#endif

namespace trainyard::kernels::cuda {

constexpr unsigned kFullWarp = 0xffffffffu;

// Two bf16 in a register, the first in the low half, as tensor cores want them.
__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
#if defined(__CUDA_ARCH__)
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
#else
  return ToBf16(low).bits | uint32_t{ToBf16(high).bits} << 16;
#endif
}

// A float rounded to TF32 (10 bits of mantissa, ties away from zero), in a register for MmaTf32. As
// on the chip, where this is an addition and a mask, a NaN with nothing in its upper 10 bits turns
// into an infinity; no arithmetic makes such NaNs.
__device__ __forceinline__ uint32_t ToTf32(float value) {
  uint32_t bits;
#if defined(__CUDA_ARCH__)
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
#else
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7f800000u) != 0x7f800000u) bits += 0x1000u;
  bits &= 0xffffe000u;
#endif
  return bits;
}

// The product of 32-bit numbers by one instruction, for Philox: of the plain form, whose operands
// nvcc takes for 64-bit numbers with an empty upper half, it makes an addition more.
struct WideProduct {
  __host__ __device__ __forceinline__ uint64_t operator()(uint32_t a, uint32_t b) const {
#if defined(__CUDA_ARCH__)
    uint64_t product;
    asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"(a), "r"(b));
    return product;
#else
    return uint64_t{a} * b;
#endif
  }
};

// d += a b for one warp: a is 16x16 row-major, b 16x8 column-major, bf16 in fp32 out. With
// g = lane / 4 and t = lane % 4, a lane holds
//   a[0]: row g, columns 2t, 2t+1;  a[1]: row g+8;  a[2]: row g, columns 2t+8, 2t+9;  a[3]: row g+8
//   b[0]: rows 2t, 2t+1 of column g;  b[1]: rows 2t+8, 2t+9
//   d[0], d[1]: row g, columns 2t, 2t+1;  d[2], d[3]: row g+8
__device__ __forceinline__ void MmaBf16(float (&d)[4], const uint32_t (&a)[4],
                                        const uint32_t (&b)[2] KERNEL_SITE) {
#if !defined(TRAINYARD_CUDA_EMULATION)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulation::MmaBf16(d, a, b, site);
#endif
}

// The same with a 16x8 and b 8x8 in TF32:
//   a[0]: row g, column t;  a[1]: row g+8;  a[2]: row g, column t+4;  a[3]: row g+8
//   b[0]: row t of column g;  b[1]: row t+4;  d as above
__device__ __forceinline__ void MmaTf32(float (&d)[4], const uint32_t (&a)[4],
                                        const uint32_t (&b)[2] KERNEL_SITE) {
#if !defined(TRAINYARD_CUDA_EMULATION)
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulation::MmaTf32(d, a, b, site);
#endif
}

// Four 8x8 matrices of 16-bit elements from shared memory. Lane i gives the address of row i % 8 of
// matrix i / 8, sixteen bytes aligned to 16; out[j] is then row lane / 4, columns 2 (lane % 4) and
// the next, of matrix j.
__device__ __forceinline__ void LoadMatrices(uint32_t (&out)[4],
                                             const void* shared_row KERNEL_SITE) {
#if !defined(TRAINYARD_CUDA_EMULATION)
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address)
               : "memory");
#else
  emulation::LoadMatrices(out, shared_row, false, site);
#endif
}

// The same, each matrix transposed: out[j] is column lane / 4, rows 2 (lane % 4) and the next.
__device__ __forceinline__ void LoadMatricesTransposed(uint32_t (&out)[4],
                                                       const void* shared_row KERNEL_SITE) {
#if !defined(TRAINYARD_CUDA_EMULATION)
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address)
               : "memory");
#else
  emulation::LoadMatrices(out, shared_row, true, site);
#endif
}

// Starts copying kBytes (4, 8 or 16, both addresses aligned to that) from global to shared memory;
// where not `valid`, nothing is read and zeros are written. On the emulated machine NaN is there
// until AsyncWait, so that a missing wait shows, and the source must not have changed by then.
template <int kBytes>
__device__ __forceinline__ void AsyncCopy(void* shared, const void* global,
                                          bool valid = true KERNEL_SITE) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
#if !defined(TRAINYARD_CUDA_EMULATION)
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int read_bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address), "l"(global),
                 "r"(read_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;\n" ::"r"(address), "l"(global),
                 "r"(read_bytes), "n"(kBytes)
                 : "memory");
  }
#else
  emulation::StartCopy(shared, global, kBytes, valid, site);
#endif
}

// Closes the group of this thread's copies since the last call.
__device__ __forceinline__ void AsyncCommit() {
#if !defined(TRAINYARD_CUDA_EMULATION)
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#else
  emulation::CommitCopies();
#endif
}

// Waits until at most kStillInFlight of this thread's newest groups are under way. Other threads
// see the bytes after the next __syncthreads.
template <int kStillInFlight>
__device__ __forceinline__ void AsyncWait() {
#if !defined(TRAINYARD_CUDA_EMULATION)
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kStillInFlight) : "memory");
#else
  emulation::WaitForCopies(kStillInFlight);
#endif
}

}  // namespace trainyard::kernels::cuda

#undef KERNEL_SITE
