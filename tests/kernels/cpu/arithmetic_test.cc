// The bytes that the cpu backend's arithmetic, by its revision, comes to.
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cpu/program.h"
#include "kernels/cpu/simd/target.h"
#include "tests/kernels/agreement.h"
#include "tests/kernels/cpu/simd_targets.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::cpu {
namespace {

using namespace kernels::testing;  // NOLINT: graphs.h

// Strides, groups, depthwise, pointwise, a residual, pools, dropouts and batch norms.
Graph Varied() {
  GraphMaker net({3, 24, 24}, 6, 7);
  int x = net.Relu(net.BatchNorm(net.Conv3x3(0, 32)));
  x = net.Relu(net.BatchNorm(net.Conv(x, 48, 3, 3, 2, 2, {1, 1, 1, 1}, 1, false)));
  const int body = net.BatchNorm(net.Conv3x3(net.Relu(net.Conv3x3(x, 48)), 48));
  x = net.Relu(net.Add(body, x));
  const int next = net.BatchNorm(net.Conv(x, 48, 3, 3, 2, 2, {1, 1, 1, 1}, 1, false));
  x = net.Relu(net.Add(next, net.BatchNorm(net.Conv(x, 48, 1, 1, 2, 2, {}, 1, false))));
  x = net.Relu(net.BatchNorm(net.Conv(x, 48, 3, 3, 1, 1, {1, 1, 1, 1}, 48, false)), 0.1f);
  x = net.Relu(net.Conv(x, 64, 1, 1, 1, 1, {}, 1, true));
  x = net.Relu(net.Conv(x, 64, 3, 3, 1, 1, {1, 1, 1, 1}, 4, true));
  x = net.Dropout(net.Pool(x, OpKind::kMaxPool, 3, 3, 2, 2, {1, 1, 1, 1}));
  x = net.Pool(x, OpKind::kAvgPool, 2, 2, 2, 2, {});
  net.Linear(net.Dropout(net.Relu(net.Linear(x, 200))), 7);
  return net.graph();
}

// A layer of so many weights that they are read once for the whole batch, and one of so many that
// few sums of their gradients are kept apart.
Graph Heavy() {
  GraphMaker net({4, 9, 9}, 12, 3);
  int x = net.Relu(net.Conv(0, 256, 3, 3, 2, 2, {1, 1, 1, 1}, 1, true));
  x = net.Relu(net.BatchNorm(net.Conv3x3(x, 256)));
  net.Linear(net.GlobalAvgPool(net.Conv(x, 128, 5, 5, 1, 1, {2, 2, 2, 2}, 1, true)), 3);
  return net.graph();
}

std::vector<Graph> Networks() { return {KerasCnn(8), Varied(), Heavy()}; }

// FNV-1a.
uint64_t HashOf(const std::vector<float>& values, uint64_t hash) {
  for (float value : values) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ (bits >> shift & 0xFF)) * 0x100000001B3;
    }
  }
  return hash;
}

TEST(CpuArithmetic, GivesTheBytesOfItsRevision) {
  constexpr uint64_t kBytes = 0xf2f734a50c274435;
  int ran = 0;
  for (const char* target : {"avx3", "avx2"}) {
    if (!SimdTargetRuns(target)) continue;
    ++ran;
    UseSimdTarget(target);
    uint64_t hash = 0xCBF29CE484222325;
    for (const Graph& graph : Networks()) {
      CpuProgram program(graph, 2);
      hash = HashOf(Trajectory(program, graph, 4), hash);
    }
    UseSimdTarget("");
    EXPECT_EQ(hash, kBytes)
        << target << ": results have other bytes than those of kArithmetic " << kArithmetic
        << ", and checkpoints made before would go on with other arithmetic than they began with."
        << " If that is meant, raise kArithmetic (kernels/cpu/program.h) and put 0x" << std::hex
        << hash << " here.";
  }
  if (ran == 0) GTEST_SKIP() << "needs AVX-512 or AVX2: bytes were not compared";
}

TEST(CpuArithmetic, IsComparedInEveryWayOfConvolving) {
  std::string ways;
  for (const Graph& graph : Networks()) {
    for (const std::string& line : CpuProgram(graph, 2).Explain()) ways += line + "\n";
  }
  for (const char* way : {": first", ": winograd 4x4,", ": winograd 4x4 batch", ": direct",
                          ": depthwise", ": product"}) {
    EXPECT_NE(ways.find(way), std::string::npos) << way << "\n" << ways;
  }
}

}  // namespace
}  // namespace trainyard::kernels::cpu
