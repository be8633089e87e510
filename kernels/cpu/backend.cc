#include "kernels/cpu/backend.h"

#include <omp.h>

#include <new>
#include <string>

#include "kernels/check.h"
#include "kernels/cpu/program.h"

namespace trainyard::kernels::cpu {
namespace {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(int threads) : threads_(threads > 0 ? threads : omp_get_num_procs()) {}
  std::string name() const override { return "cpu"; }
  std::unique_ptr<Program> Lower(const Graph& graph) override {
    CheckGraph(graph);
    // The weights alone must fit before oneDNN is asked to plan for them.
    CheckMemory("cpu", graph.parameter_count * 4 * int64_t{sizeof(float)});
    try {
      return std::make_unique<CpuProgram>(graph, threads_);
    } catch (const dnnl::error& error) {
      throw Error(std::string("cpu: oneDNN: ") + error.message);
    } catch (const std::bad_alloc&) {
      throw Error("cpu: out of memory while planning");
    }
  }

 private:
  const int threads_;
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(int threads) {
  return std::make_unique<CpuBackend>(threads);
}

}  // namespace trainyard::kernels::cpu
