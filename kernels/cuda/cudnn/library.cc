#include "kernels/cuda/cudnn/library.h"

#include <optional>
#include <utility>

#include "kernels/check.h"
#include "kernels/cuda/cudnn/engine.h"
#include "kernels/cuda/cudnn/operation_graph.h"
#include "kernels/cuda/cudnn/plan_files.h"
#include "kernels/library_version.h"

namespace trainyard::kernels::cuda {

namespace {

void SetStream(cudnnHandle_t handle, void* stream) {
  CheckCudnn(cudnnSetStream(handle, static_cast<cudaStream_t>(stream)), "giving cuDNN its stream");
}

}  // namespace

// What plans are made with.
struct Cudnn::Context {
  explicit Context(const CudnnOptions& options)
      : files(options.cache_folder.empty() ? "" : options.cache_folder + "/cudnn") {
    if (!options.planned_device_json.empty()) {
      device = DescribedDevice(options.planned_device_json);
      return;
    }
    CheckCudnn(cudnnCreate(&handle), "starting cuDNN");
    SetStream(handle, options.stream);
  }
  ~Context() {
    if (handle != nullptr) cudnnDestroy(handle);
  }
  const Descriptor* described() const { return device ? &*device : nullptr; }

  cudnnHandle_t handle = nullptr;
  std::optional<Descriptor> device;
  PlanFiles files;
};

struct CudnnPlan::Parts {
  Parts(cudnnHandle_t with, bool has_bias, Descriptor executed)
      : handle(with), bias(has_bias), plan(std::move(executed)) {}

  // The addresses as cuDNN takes them, made once: layers of one shape share a plan and have a pack
  // each.
  const Descriptor& PackFor(const ConvTensors& tensors) {
    const auto found = packs.find(tensors);
    if (found != packs.end()) return found->second;
    std::vector<int64_t> ids = {kTensorX, kTensorW, kTensorY};
    std::vector<void*> addresses = {tensors.x, tensors.w, tensors.y};
    if (bias) {
      ids.push_back(kTensorBias);
      addresses.push_back(tensors.bias);
    }
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, "the tensors' addresses");
    pack.Set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids)
        .Set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, addresses)
        .Set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, tensors.workspace)
        .Finalize();
    return packs.emplace(tensors, std::move(pack)).first->second;
  }

  const cudnnHandle_t handle;
  const bool bias;
  const Descriptor plan;
  std::map<ConvTensors, Descriptor> packs;
};

CudnnPlan::CudnnPlan() = default;
CudnnPlan::~CudnnPlan() = default;

void CudnnPlan::Execute(const ConvTensors& tensors, void* stream) {
  if (parts_->handle == nullptr) throw Error("planned for a device that is only described");
  SetStream(parts_->handle, stream);
  CheckCudnn(
      cudnnBackendExecute(parts_->handle, parts_->plan.get(), parts_->PackFor(tensors).get()),
      "executing " + engine_);
}

Cudnn::Cudnn(CudnnOptions options)
    : options_(std::move(options)), context_(std::make_unique<Context>(options_)) {}

Cudnn::~Cudnn() = default;

CudnnPlan* Cudnn::PlanFor(const ConvGraph& graph) {
  const std::string key = graph.Key();
  const auto found = plans_.find(key);
  if (found != plans_.end()) return found->second.get();
  try {
    return plans_.emplace(key, Make(graph)).first->second.get();
  } catch (const Error&) {
    RethrowAt("cudnn " + key);
  }
}

// A plan from a file is the one that would be made: heuristics read nothing but graph, device and
// cuDNN's version, which are in the key, and engines are tried in their order by rules that have a
// version in the file. So a run with files gives the bits of one without; the engine that a file
// names is in the names of steps all the same, where a fingerprint finds it.
std::unique_ptr<CudnnPlan> Cudnn::Make(const ConvGraph& graph) {
  const std::string key = KeyOf(graph);
  const cudnnHandle_t handle = context_->handle;
  const Descriptor* const device = context_->described();
  std::unique_ptr<CudnnPlan> result(new CudnnPlan);
  auto take = [&](Descriptor plan, std::string engine) {
    result->engine_ = std::move(engine);
    result->workspace_bytes_ = WorkspaceBytes(plan);
    result->parts_ = std::make_unique<CudnnPlan::Parts>(handle, graph.bias, std::move(plan));
  };
  if (const std::optional<StoredPlan> stored = context_->files.Read(key)) {
    try {
      take(LoadPlan(stored->text, handle, device), stored->engine);
      ++counts_.read;
      return result;
    } catch (const Error&) {
      // Not taken by cuDNN any more: made anew, and replaced.
    }
  }
  const Descriptor operations = MakeOperationGraph(graph, handle);
  try {
    ExecutionPlan chosen =
        ChooseEngine(operations, handle, device, graph, options_.workspace_limit_bytes);
    Keep(key, chosen.engine, chosen.plan);
    take(std::move(chosen.plan), chosen.engine);
  } catch (const CudnnUnsupported&) {
    ++counts_.refused;
    return nullptr;
  }
  ++counts_.made;
  return result;
}

void Cudnn::Keep(const std::string& key, const std::string& engine, const Descriptor& plan) const {
  if (options_.cache_folder.empty()) return;
  try {
    context_->files.Write(key, {engine, PlanText(plan)});
  } catch (const Error&) {
    // An engine whose plans have no text: it is planned each time.
  }
}

std::string Cudnn::KeyOf(const ConvGraph& graph) const {
  return Describe() + "; " + options_.device + "; " + graph.Key() + "; workspace " +
         std::to_string(options_.workspace_limit_bytes);
}

std::string Cudnn::Describe() const {
  return "cudnn " + LibraryVersion(static_cast<int64_t>(cudnnGetVersion()));
}

}  // namespace trainyard::kernels::cuda
