#include "kernels/cpu/backend.h"

#include <omp.h>

#include <new>
#include <string>

#include "kernels/check.h"
#include "kernels/cpu/program.h"
#include "kernels/cpu/simd/target.h"

namespace trainyard::kernels::cpu {
namespace {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(int threads) : threads_(threads > 0 ? threads : omp_get_num_procs()) {}
  std::string name() const override { return "cpu"; }
  std::unique_ptr<Program> Lower(const Graph& graph) override {
    CheckGraph(graph);
    try {
      return std::make_unique<CpuProgram>(graph, threads_);
    } catch (const std::bad_alloc&) {
      throw OutOfMemory("cpu: out of memory while planning");
    }
  }

 private:
  const int threads_;
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(int threads) {
  // Whoever compares processors or looks for a fault can hold us to an older one's vectors.
  ChooseSimdTarget();
  return std::make_unique<CpuBackend>(threads);
}

}  // namespace trainyard::kernels::cpu
