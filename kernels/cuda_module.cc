#include "kernels/cuda_module.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>

#include "kernels/cuda/module.h"
#include "kernels/library_version.h"

namespace trainyard::kernels {
namespace {

namespace fs = std::filesystem;

// dlerror() with the module's path said once: "libcudnn.so.9: cannot open shared object file: ...".
std::string LoadError(const std::string& path) {
  const char* found = dlerror();
  std::string text = found != nullptr ? found : "unknown error";
  if (text.starts_with(path + ": ")) text.erase(0, path.size() + 2);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return path + " cannot be loaded: " + text;
}

// 13010 as "13.1".
std::string CudaVersion(int64_t number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

template <size_t size>
std::string Text(const char (&text)[size]) {
  return std::string(text, std::find(text, text + size, '\0'));
}

CudaProbe FromReport(const cuda::ModuleReport& report) {
  CudaProbe probe;
  probe.versions = "CUDA " + CudaVersion(report.runtime_version);
  if (report.cublaslt_version > 0) {
    probe.versions += ", cuBLASLt " + LibraryVersion(report.cublaslt_version);
  }
  if (report.cudnn_version > 0) probe.versions += ", cuDNN " + LibraryVersion(report.cudnn_version);
  probe.driver = Text(report.driver);
  if (probe.driver.empty() && report.driver_version > 0) {
    probe.driver = "CUDA " + CudaVersion(report.driver_version);
  }
  probe.visible_count = report.visible_count;
  const int count = std::clamp<int>(report.device_count, 0, cuda::kDevicesMax);
  for (int i = 0; i < count; ++i) {
    const cuda::ModuleDevice& device = report.devices[i];
    probe.devices.push_back({Text(device.name), Text(device.uuid), device.memory_bytes,
                             device.compute_major, device.compute_minor});
  }
  if (count == 0) probe.problem = Text(report.problem);
  if (count == 0 && probe.problem.empty()) probe.problem = "the CUDA module found no GPU";
  return probe;
}

// Throws Error, in one line, where there is none that this program may ask.
const cuda::Module& LoadFirst(const std::vector<std::string>& paths) {
  std::error_code error;
  const auto path = std::find_if(paths.begin(), paths.end(), [&](const std::string& candidate) {
    return fs::exists(candidate, error);
  });
  if (path == paths.end()) {
    std::string tried;
    for (const std::string& candidate : paths) tried += (tried.empty() ? "" : ", ") + candidate;
    throw Error("the CUDA module is not installed (no " + tried + ")");
  }
  // Local: NVIDIA's symbols must not get between those of other libraries.
  void* library = dlopen(path->c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw Error(LoadError(*path));
  const auto entry = reinterpret_cast<cuda::ModuleEntry>(dlsym(library, cuda::kModuleEntry));
  if (entry == nullptr) {
    throw Error(*path + " is no CUDA module: it has no symbol " + cuda::kModuleEntry);
  }
  const cuda::Module* module = entry();
  if (module->version != cuda::kModuleVersion) {
    throw Error(*path + " is of another build: found version " + std::to_string(module->version) +
                " of its interface, expected " + std::to_string(cuda::kModuleVersion));
  }
  if (std::string_view(module->build) != cuda::kModuleBuild) {
    throw Error(*path + " is of another build: found \"" + module->build + "\", expected \"" +
                cuda::kModuleBuild + "\"");
  }
  return *module;
}

// One that was loaded is the one for good, whatever becomes of its file.
const cuda::Module& Load(const std::vector<std::string>& paths) {
  static std::mutex mutex;
  static auto& loaded = *new std::map<std::vector<std::string>, const cuda::Module*>;
  const std::lock_guard lock(mutex);
  const cuda::Module*& module = loaded[paths];
  if (module == nullptr) module = &LoadFirst(paths);
  return *module;
}

}  // namespace

std::vector<std::string> CudaModulePaths() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  std::vector<std::string> paths;
  if (!error) {
    paths = {(program / cuda::kModuleFile).string(),
             (program.parent_path() / "lib/trainyard" / cuda::kModuleFile).string()};
  }
  const std::string installed = std::string("/usr/lib/trainyard/") + cuda::kModuleFile;
  if (std::find(paths.begin(), paths.end(), installed) == paths.end()) paths.push_back(installed);
  return paths;
}

CudaProbe ProbeCuda(const std::vector<std::string>& paths) {
  try {
    const cuda::Module& module = Load(paths);
    const auto report = std::make_unique<cuda::ModuleReport>();
    module.probe(report.get());
    return FromReport(*report);
  } catch (const Error& error) {
    CudaProbe probe;
    probe.problem = error.what();
    return probe;
  }
}

CudaUse UseOfCuda(const std::string& uuid, const std::vector<std::string>& paths) {
  cuda::ModuleUse use{-1, -1};
  Load(paths).use(uuid.c_str(), &use);
  return {use.memory_used_bytes, use.busy_percent};
}

std::unique_ptr<Backend> LoadCudaBackend(const BackendOptions& options,
                                         const std::vector<std::string>& paths) {
  try {
    return Load(paths).make_backend(options);
  } catch (const DeviceLost&) {
    throw;
  } catch (const OutOfMemory&) {
    throw;
  } catch (const Unavailable&) {
    throw;
  } catch (const Error& error) {
    throw Error(std::string("backend cuda: ") + error.what());
  }
}

}  // namespace trainyard::kernels
