// Libraries for cuda_module_test: built several times, each with another fault, and once without.
#include <cstring>

#include "kernels/cuda/module.h"

namespace cuda = trainyard::kernels::cuda;

#ifdef STAND_IN_MISSES_A_LIBRARY
extern "C" void NoSuchLibraryWhenLoaded();
extern "C" [[gnu::visibility("default")]] void UsesIt() { NoSuchLibraryWhenLoaded(); }
#endif

#ifndef STAND_IN_VERSION
#define STAND_IN_VERSION cuda::kModuleVersion
#endif
#ifndef STAND_IN_BUILD
#define STAND_IN_BUILD cuda::kModuleBuild
#endif

#ifndef STAND_IN_WITHOUT_ENTRY
namespace trainyard::kernels {
namespace {

void Probe(cuda::ModuleReport* report) {
  report->driver_version = 13010;
  std::strcpy(report->driver, "580.65.06");
  report->runtime_version = 13000;
  report->cublaslt_version = 130100;
  report->cudnn_version = 91900;
  report->visible_count = 2;
  report->device_count = 1;
  cuda::ModuleDevice& device = report->devices[0];
  std::strcpy(device.name, "A GPU");
  std::strcpy(device.uuid, "GPU-00000000");
  device.memory_bytes = int64_t{80} << 30;
  device.compute_major = 9;
}

void Use(const char* uuid, cuda::ModuleUse* use) {
  if (std::strcmp(uuid, "GPU-00000000") == 0) *use = {int64_t{3} << 30, 70};
}

// Lowers nothing: it says by kind that it cannot.
class RefusingBackend : public Backend {
 public:
  explicit RefusingBackend(BackendOptions options) : options_(std::move(options)) {}
  std::string name() const override { return options_.gpu; }
  std::unique_ptr<Program> Lower(const Graph&) override {
    if (options_.cache_folder == "full") throw OutOfMemory("it is full");
    if (options_.cache_folder == "lost") throw DeviceLost("it is lost");
    if (options_.cache_folder == "kernel") throw KernelFailed("a kernel failed");
    if (options_.cache_folder == "busy") throw Unavailable("others use it");
    throw Error("it cannot");
  }

 private:
  const BackendOptions options_;
};

std::unique_ptr<Backend> Make(const BackendOptions& options) {
  if (options.gpu.empty()) throw Error("no GPU was named");
  return std::make_unique<RefusingBackend>(options);
}

constexpr cuda::Module kModule = {STAND_IN_VERSION, STAND_IN_BUILD, Probe, Use, Make};

}  // namespace
}  // namespace trainyard::kernels

extern "C" [[gnu::visibility("default")]] const cuda::Module* trainyard_cuda_module() {
  return &trainyard::kernels::kModule;
}
#endif
