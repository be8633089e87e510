#include "kernels/cpu/loops.h"

#include <dnnl.hpp>

namespace trainyard::kernels::cpu {

namespace base {
extern const Loops kLoops;
}
#ifdef TRAINYARD_X86_LOOPS
namespace v3 {
extern const Loops kLoops;
}
namespace v4 {
extern const Loops kLoops;
}
#endif

const Loops& BestLoops() {
#ifdef TRAINYARD_X86_LOOPS
  // The values are ordered bit sets: each instruction set contains the ones below it.
  const int isa = static_cast<int>(dnnl::get_effective_cpu_isa());
  auto has = [isa](dnnl::cpu_isa wanted) {
    return (isa & static_cast<int>(wanted)) == static_cast<int>(wanted);
  };
  if (has(dnnl::cpu_isa::avx512_core) && __builtin_cpu_supports("avx512vl")) return v4::kLoops;
  if (has(dnnl::cpu_isa::avx2) && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    return v3::kLoops;
#endif
  return base::kLoops;
}

}  // namespace trainyard::kernels::cpu
