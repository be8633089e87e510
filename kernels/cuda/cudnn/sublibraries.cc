#include "kernels/cuda/cudnn/sublibraries.h"

#include <cudnn.h>
#include <dlfcn.h>

#include <algorithm>

namespace trainyard::kernels::cuda {
namespace {

// Of libcudnn.so.9, ending in a slash: it looks for the others there first.
std::string FolderOfCudnn() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&cudnnGetVersion), &info) == 0) return "";
  const std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/') + 1);
}

bool Loads(const std::string& path) {
  return dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL) != nullptr;
}

}  // namespace

std::span<const char* const> CudnnSublibraries() {
  static constexpr const char* kNames[] = {"libcudnn_graph.so.9", "libcudnn_heuristic.so.9",
                                           "libcudnn_engines_precompiled.so.9",
                                           "libcudnn_engines_runtime_compiled.so.9"};
  return kNames;
}

std::string ProblemOfSublibraries(std::span<const char* const> names) {
  const std::string folder = FolderOfCudnn();
  for (const char* name : names) {
    if (Loads(folder + name) || Loads(name)) continue;
    const char* words = dlerror();
    std::string problem = words != nullptr ? words : "unknown error";
    std::replace(problem.begin(), problem.end(), '\n', ' ');
    return std::string("a part of cuDNN cannot be loaded: ") + problem;
  }
  return "";
}

}  // namespace trainyard::kernels::cuda
