#include "kernels/cuda/emulation/nvidia/cublaslt_product.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "kernels/cuda/emulation/nvidia/numbers.h"

namespace trainyard::kernels::cuda::emulation::nvidia {
namespace {

bool IsElement(uint32_t type) { return type == CUDA_R_32F || type == CUDA_R_16BF; }

bool IsContradiction(const MatrixLayout& layout) {
  const uint64_t line = layout.order == CUBLASLT_ORDER_ROW ? layout.columns : layout.rows;
  return layout.rows == 0 || layout.columns == 0 || layout.leading_dimension < 0 ||
         static_cast<uint64_t>(layout.leading_dimension) < line;
}

bool IsHad(const MatrixLayout& layout) {
  return IsElement(layout.type) && layout.batch_count == 1 &&
         (layout.order == CUBLASLT_ORDER_COL || layout.order == CUBLASLT_ORDER_ROW);
}

// The documented combinations of types for sums in float.
bool AreTypesHad(const Product& product) {
  const MatmulDescriptor& descriptor = product.descriptor;
  const uint32_t in = product.a.type, out = product.d.type;
  if (descriptor.scale_type != CUDA_R_32F || product.b.type != in || product.c.type != out) {
    return false;
  }
  if (in == CUDA_R_32F && out != CUDA_R_32F) return false;
  if (product.has_vector() && descriptor.bias_type != -1 &&
      static_cast<uint32_t>(descriptor.bias_type) != out) {
    return false;
  }
  switch (descriptor.compute_type) {
    case CUBLAS_COMPUTE_32F:
    case CUBLAS_COMPUTE_32F_PEDANTIC:
      return true;
    case CUBLAS_COMPUTE_32F_FAST_TF32:
      return in == CUDA_R_32F;
    default:
      return false;
  }
}

// Vectors along rows or columns of D need a D of columns; so NVIDIA's own nvmath has it.
bool IsEpilogueHad(const Product& product) {
  const MatmulDescriptor& descriptor = product.descriptor;
  switch (descriptor.epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
    case CUBLASLT_EPILOGUE_BGRADA:
      return true;
    case CUBLASLT_EPILOGUE_RELU:
    case CUBLASLT_EPILOGUE_BIAS:
    case CUBLASLT_EPILOGUE_RELU_BIAS:
    case CUBLASLT_EPILOGUE_BGRADB:
      return product.d.order == CUBLASLT_ORDER_COL;
    default:
      return false;
  }
}

bool IsOperation(int32_t transpose) {
  return transpose == CUBLAS_OP_N || transpose == CUBLAS_OP_T || transpose == CUBLAS_OP_C;
}

int64_t Index(const MatrixLayout& layout, int64_t row, int64_t column) {
  return layout.order == CUBLASLT_ORDER_ROW ? row * layout.leading_dimension + column
                                            : column * layout.leading_dimension + row;
}

// The columns of op(X) as floats, one after the other: `lines` of `length`.
std::vector<float> Load(const MatrixLayout& layout, int32_t transpose, const void* memory,
                        int64_t lines, int64_t length) {
  std::vector<float> values(lines * length);
  const bool is_bf16 = layout.type == CUDA_R_16BF;
  const bool turned = transpose != CUBLAS_OP_N;
  for (int64_t line = 0; line < lines; ++line) {
    for (int64_t i = 0; i < length; ++i) {
      const int64_t index = turned ? Index(layout, line, i) : Index(layout, i, line);
      values[line * length + i] = LoadElement(memory, index, is_bf16);
    }
  }
  return values;
}

// sums[column][row] of the products of k in [from, to); a[k][m], b[n][k].
void AddProducts(const std::vector<float>& a, const std::vector<float>& b, const Product& product,
                 int64_t from, int64_t to, float* sums) {
  for (int64_t column = 0; column < product.n; ++column) {
    float* __restrict line = sums + column * product.m;
    for (int64_t k = from; k < to; ++k) {
      const float factor = b[column * product.k + k];
      const float* __restrict operand = a.data() + k * product.m;
      for (int64_t row = 0; row < product.m; ++row) line[row] += factor * operand[row];
    }
  }
}

// The sums of all parts of k, in the order that the algorithm's reduction has.
std::vector<float> Sums(const std::vector<float>& a, const std::vector<float>& b,
                        const Product& product, const Algorithm& algorithm, float* workspace) {
  const int64_t count = product.m * product.n, parts = algorithm.split_k;
  std::vector<float> local;
  if (product.WorkspaceBytes(algorithm) == 0) {
    local.resize(count * parts);
    workspace = local.data();
  }
  std::fill(workspace, workspace + count * parts, 0.0f);
  for (int64_t part = 0; part < parts; ++part) {
    AddProducts(a, b, product, part * product.k / parts, (part + 1) * product.k / parts,
                workspace + part * count);
  }
  // In place, parts are added as they come: in another order from run to run.
  static std::atomic<unsigned> runs = 0;
  const bool backwards =
      algorithm.reduction == CUBLASLT_REDUCTION_SCHEME_INPLACE && runs.fetch_add(1) % 2 != 0;
  std::vector<float> sums(count);
  for (int64_t part = 0; part < parts; ++part) {
    const float* from = workspace + (backwards ? parts - 1 - part : part) * count;
    for (int64_t i = 0; i < count; ++i) sums[i] += from[i];
  }
  return sums;
}

// Sums of op(A)'s rows or op(B)'s columns over k.
void StoreGradient(const Product& product, const std::vector<float>& a,
                   const std::vector<float>& b) {
  const bool of_a = product.descriptor.epilogue == CUBLASLT_EPILOGUE_BGRADA;
  const int64_t count = of_a ? product.m : product.n;
  for (int64_t i = 0; i < count; ++i) {
    float sum = 0;
    for (int64_t k = 0; k < product.k; ++k) {
      sum += of_a ? a[k * product.m + i] : b[i * product.k + k];
    }
    StoreElement(product.descriptor.bias, i, product.output_bf16(), sum);
  }
}

}  // namespace

size_t Product::WorkspaceBytes(const Algorithm& algorithm) const {
  const bool held =
      algorithm.reduction == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE || algorithm.id == 2;
  return held ? algorithm.split_k * m * n * sizeof(float) : 0;
}

cublasStatus_t ReadProduct(const cublasLtMatmulDescOpaque_t* descriptor,
                           const cublasLtMatrixLayoutOpaque_t* a,
                           const cublasLtMatrixLayoutOpaque_t* b,
                           const cublasLtMatrixLayoutOpaque_t* c,
                           const cublasLtMatrixLayoutOpaque_t* d, Product& product) {
  const auto* opened = Open<MatmulDescriptor>(descriptor);
  if (opened == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  product.descriptor = *opened;
  const cublasLtMatrixLayoutOpaque_t* const layouts[] = {a, b, c, d};
  MatrixLayout* const into[] = {&product.a, &product.b, &product.c, &product.d};
  for (int i = 0; i < 4; ++i) {
    const auto* layout = Open<MatrixLayout>(layouts[i]);
    if (layout == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    *into[i] = *layout;
  }
  if (!IsOperation(opened->transpose_a) || !IsOperation(opened->transpose_b)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  for (const MatrixLayout* layout : into) {
    if (!IsHad(*layout)) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (IsContradiction(*layout)) return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool turn_a = opened->transpose_a != CUBLAS_OP_N;
  const bool turn_b = opened->transpose_b != CUBLAS_OP_N;
  product.m = turn_a ? product.a.columns : product.a.rows;
  product.k = turn_a ? product.a.rows : product.a.columns;
  product.n = turn_b ? product.b.rows : product.b.columns;
  const auto depth = static_cast<int64_t>(turn_b ? product.b.columns : product.b.rows);
  const auto is_output = [&](const MatrixLayout& layout) {
    return static_cast<int64_t>(layout.rows) == product.m &&
           static_cast<int64_t>(layout.columns) == product.n;
  };
  if (depth != product.k || !is_output(product.c) || !is_output(product.d)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool had = AreTypesHad(product) && IsEpilogueHad(product) &&
                   opened->pointer_mode == CUBLASLT_POINTER_MODE_HOST &&
                   opened->transpose_c == CUBLAS_OP_N && product.c.order == product.d.order;
  return had ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

void Multiply(const Product& product, const Algorithm& algorithm, const Pointers& pointers) {
  const size_t workspace_bytes = product.WorkspaceBytes(algorithm);
  if (workspace_bytes > 0) std::memset(pointers.workspace, 0xff, workspace_bytes);
  const MatmulDescriptor& descriptor = product.descriptor;
  std::vector<float> a = Load(product.a, descriptor.transpose_a, pointers.a, product.k, product.m);
  std::vector<float> b = Load(product.b, descriptor.transpose_b, pointers.b, product.n, product.k);
  if ((descriptor.epilogue & (CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)) != 0) {
    StoreGradient(product, a, b);
  }
  if (descriptor.compute_type == CUBLAS_COMPUTE_32F_FAST_TF32) {
    std::transform(a.begin(), a.end(), a.begin(), ToTf32);
    std::transform(b.begin(), b.end(), b.begin(), ToTf32);
  }
  const std::vector<float> sums =
      Sums(a, b, product, algorithm, static_cast<float*>(pointers.workspace));
  const bool is_bf16 = product.output_bf16();
  const bool bias = (descriptor.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
  const bool relu = (descriptor.epilogue & CUBLASLT_EPILOGUE_RELU) != 0;
  for (int64_t column = 0; column < product.n; ++column) {
    for (int64_t row = 0; row < product.m; ++row) {
      float value = product.alpha * sums[column * product.m + row];
      if (product.beta != 0) {
        value += product.beta * LoadElement(pointers.c, Index(product.c, row, column), is_bf16);
      }
      if (bias) value += LoadElement(descriptor.bias, row, is_bf16);
      if (relu && value < 0) value = 0;
      StoreElement(pointers.d, Index(product.d, row, column), is_bf16, value);
    }
  }
  if (workspace_bytes > 0) std::memset(pointers.workspace, 0xff, workspace_bytes);
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia
