#include "kernels/cuda/cublaslt/cublaslt.h"

#include <array>
#include <utility>

#include "kernels/cuda/cublaslt/descriptors.h"
#include "kernels/library_version.h"

namespace trainyard::kernels::cuda {
namespace {

// Answers of the heuristic, best first, of which the first that may be used is.
constexpr int kAnswers = 8;

template <typename T>
T Get(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  T value{};
  size_t written = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written);
  // A library that does not know the attribute chooses nothing there.
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return 0;
  CheckCublasLt(status, "reading what was chosen for a matrix product");
  return value;
}

uint32_t ReductionScheme(const cublasLtMatmulAlgo_t& algorithm) {
  return Get<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
}

// All that it can be configured by, less what is at zero.
std::string TextOf(const cublasLtMatmulAlgo_t& algorithm) {
  const std::pair<const char*, int64_t> parts[] = {
      {" tile ", Get<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID)},
      {" stages ", Get<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID)},
      {" split ", Get<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM)},
      {" reduction ", ReductionScheme(algorithm)},
      {" swizzle ", Get<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING)},
      {" option ", Get<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION)},
      {" inner ", Get<uint16_t>(algorithm, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID)},
      {" cluster ", Get<uint16_t>(algorithm, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID)}};
  std::string text =
      "algorithm " + std::to_string(Get<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_ID));
  for (const auto& [name, value] : parts) {
    if (value != 0) text += name + std::to_string(value);
  }
  return text;
}

}  // namespace

struct MatmulPlan::Parts {
  cublasLtHandle_t handle = nullptr;
  Matmul matmul;
  MatmulDescriptors descriptors;
  cublasLtMatmulAlgo_t algorithm;
  size_t workspace_bytes = 0;
  std::string name;
};

MatmulPlan::MatmulPlan(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
MatmulPlan::~MatmulPlan() = default;

int64_t MatmulPlan::workspace_bytes() const {
  return static_cast<int64_t>(parts_->workspace_bytes);
}

const std::string& MatmulPlan::algorithm() const { return parts_->name; }

void MatmulPlan::Run(const MatmulTensors& tensors, void* stream) const {
  const MatmulDescriptors& of = parts_->descriptors;
  const Matmul& matmul = parts_->matmul;
  const void *a = tensors.right, *b = tensors.left;
  if (matmul.pass == Matmul::Pass::kBackwardFilter) std::swap(a, b);
  if (matmul.bias) SetBias(of.product, tensors.bias);
  const float alpha = 1, beta = matmul.accumulate ? 1 : 0;
  CheckCublasLt(
      cublasLtMatmul(parts_->handle, of.product.get(), &alpha, a, of.a.get(), b, of.b.get(), &beta,
                     tensors.result, of.d.get(), tensors.result, of.d.get(), &parts_->algorithm,
                     tensors.workspace, parts_->workspace_bytes, static_cast<cudaStream_t>(stream)),
      "cublasLtMatmul");
}

struct CublasLt::Handle {
  Handle() { CheckCublasLt(cublasLtCreate(&handle), "starting cuBLASLt"); }
  ~Handle() { cublasLtDestroy(handle); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  cublasLtHandle_t handle = nullptr;
};

CublasLt::CublasLt() : handle_(std::make_unique<Handle>()) {}
CublasLt::~CublasLt() = default;

std::string CublasLt::Describe() const {
  return "cublaslt " + LibraryVersion(static_cast<int64_t>(cublasLtGetVersion()));
}

const MatmulPlan* CublasLt::AddPlan(const Matmul& matmul) {
  MatmulDescriptors descriptors(matmul);
  std::array<cublasLtMatmulHeuristicResult_t, kAnswers> answers{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_->handle, descriptors.product.get(), descriptors.a.get(), descriptors.b.get(),
      descriptors.d.get(), descriptors.d.get(), DeterministicPreference().get(), kAnswers,
      answers.data(), &count);
  // Both are said of combinations of types, shapes and epilogue that it does not have.
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
    return nullptr;
  }
  CheckCublasLt(status, "choosing an algorithm for a matrix product");
  for (int i = 0; i < count; ++i) {
    const auto& answer = answers[static_cast<size_t>(i)];
    if (answer.state != CUBLAS_STATUS_SUCCESS) continue;
    if (!IsDeterministic(ReductionScheme(answer.algo))) continue;
    plans_.push_back(std::make_unique<MatmulPlan>(std::make_unique<MatmulPlan::Parts>(
        handle_->handle, matmul, std::move(descriptors), answer.algo, answer.workspaceSize,
        TextOf(answer.algo))));
    return plans_.back().get();
  }
  return nullptr;
}

}  // namespace trainyard::kernels::cuda
