// Which instruction set our loops run with: the best that the processor has and that they were
// compiled for (Highway's run-time dispatch), unless somebody chooses another one.
#pragma once

#include <string>
#include <vector>

namespace trainyard::kernels::cpu {

// "avx3", "avx2", "sse4", "neon", "scalar", ...
std::string SimdTarget();
// Targets of one kind give the same bytes: "x86-fma" and "arm-fma" with any width of vector that
// fuses multiply-adds, else the target's own name.
std::string SimdKind();
// All that can run here, the best first.
std::vector<std::string> SimdTargets();

// Obeys the environment variable TRAINYARD_SIMD, a target's name in any case. Only the first call
// of a process does anything, and only where UseSimdTarget has not been called: what computes is
// never changed. Throws Unavailable where that target cannot run here.
void ChooseSimdTarget();
// Runs with this one from here on, in all threads: nothing may compute meanwhile. For tests and
// benchmarks. Throws Error naming those that can run, for another one. Empty: the best.
void UseSimdTarget(const std::string& name);

}  // namespace trainyard::kernels::cpu
