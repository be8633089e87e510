// The emulated machine's cuBLASLt: products against float64 loops in all orders, transposes and
// epilogues; what it offers so that wrong programs are found; what it refuses.
#include <cublasLt.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>
#include <vector>

#include "kernels/cuda/emulation/nvidia/numbers.h"
#include "tests/kernels/cuda/emulation/nvidia/machine.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using ::testing::ElementsAre;

// A matrix in memory, with a gap between its lines.
struct Matrix {
  Matrix(int64_t rows, int64_t columns, cudaDataType type = CUDA_R_32F, bool by_rows = false,
         int64_t gap = 0)
      : rows(rows),
        columns(columns),
        type(type),
        by_rows(by_rows),
        ld((by_rows ? columns : rows) + gap),
        memory(ld * (by_rows ? rows : columns) * (type == CUDA_R_16BF ? 2 : 4)) {
    EXPECT_EQ(cublasLtMatrixLayoutCreate(&layout, type, rows, columns, ld), CUBLAS_STATUS_SUCCESS);
    const int32_t order = by_rows ? CUBLASLT_ORDER_ROW : CUBLASLT_ORDER_COL;
    EXPECT_EQ(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_ORDER, &order,
                                               sizeof order),
              CUBLAS_STATUS_SUCCESS);
  }
  ~Matrix() { cublasLtMatrixLayoutDestroy(layout); }
  Matrix(const Matrix&) = delete;
  Matrix& operator=(const Matrix&) = delete;

  int64_t Index(int64_t row, int64_t column) const {
    return by_rows ? row * ld + column : column * ld + row;
  }
  double At(int64_t row, int64_t column) const {
    return emulation::nvidia::LoadElement(memory.data(), Index(row, column), type == CUDA_R_16BF);
  }
  Matrix& Fill(std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        emulation::nvidia::StoreElement(memory.data(), Index(row, column), type == CUDA_R_16BF,
                                        normal(random));
      }
    }
    return *this;
  }

  const int64_t rows, columns;
  const cudaDataType type;
  const bool by_rows;
  const int64_t ld;
  Memory memory;
  cublasLtMatrixLayout_t layout = nullptr;
};

struct Descriptor {
  explicit Descriptor(cublasComputeType_t compute = CUBLAS_COMPUTE_32F) {
    EXPECT_EQ(cublasLtMatmulDescCreate(&handle, compute, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
  }
  ~Descriptor() { cublasLtMatmulDescDestroy(handle); }
  template <typename T>
  void Set(cublasLtMatmulDescAttributes_t attribute, T value) {
    EXPECT_EQ(cublasLtMatmulDescSetAttribute(handle, attribute, &value, sizeof value),
              CUBLAS_STATUS_SUCCESS);
  }
  cublasLtMatmulDesc_t handle = nullptr;
};

struct Preference {
  explicit Preference(uint64_t workspace = 1 << 20) {
    EXPECT_EQ(cublasLtMatmulPreferenceCreate(&handle), CUBLAS_STATUS_SUCCESS);
    Set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
  }
  ~Preference() { cublasLtMatmulPreferenceDestroy(handle); }
  template <typename T>
  void Set(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    EXPECT_EQ(cublasLtMatmulPreferenceSetAttribute(handle, attribute, &value, sizeof value),
              CUBLAS_STATUS_SUCCESS);
  }
  cublasLtMatmulPreference_t handle = nullptr;
};

using Results = std::vector<cublasLtMatmulHeuristicResult_t>;

// cuBLASLt on a stream of the emulated machine.
class CublasLtMachine : public ::testing::Test {
 protected:
  CublasLtMachine() { EXPECT_EQ(cublasLtCreate(&handle_), CUBLAS_STATUS_SUCCESS); }
  ~CublasLtMachine() override { EXPECT_EQ(cublasLtDestroy(handle_), CUBLAS_STATUS_SUCCESS); }

  cublasStatus_t Find(const Descriptor& descriptor, const Matrix& a, const Matrix& b,
                      const Matrix& d, const Preference& preference, Results& results) {
    int count = 0;
    results.assign(8, {});
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle_, descriptor.handle, a.layout, b.layout, d.layout,
                                       d.layout, preference.handle, 8, results.data(), &count);
    results.resize(count);
    return status;
  }
  cublasStatus_t Multiply(const Descriptor& descriptor, const Matrix& a, const Matrix& b,
                          const Matrix& d, const cublasLtMatmulHeuristicResult_t& result) {
    const Memory workspace(result.workspaceSize);
    const cublasStatus_t status = cublasLtMatmul(
        handle_, descriptor.handle, &alpha_, a.memory.data(), a.layout, b.memory.data(), b.layout,
        &beta_, d.memory.data(), d.layout, d.memory.data(), d.layout, &result.algo,
        result.workspaceSize == 0 ? nullptr : workspace.data(), result.workspaceSize,
        stream_.As<cudaStream_t>());
    EXPECT_TRUE(workspace.IsPoisoned());
    return status;
  }

  MachineStream stream_;
  cublasLtHandle_t handle_ = nullptr;
  float alpha_ = 1, beta_ = 0;
  std::mt19937 random_{1};
};

class CublasLtProduct : public CublasLtMachine, public ::testing::WithParamInterface<int> {
 protected:
  CublasLtProduct() { random_.seed(GetParam()); }
  int64_t Draw(int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random_);
  }
};

double RelativeError(const std::vector<double>& found, const std::vector<double>& wanted) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    error += (found[i] - wanted[i]) * (found[i] - wanted[i]);
    norm += wanted[i] * wanted[i];
  }
  return std::sqrt(error / norm);
}

TEST_P(CublasLtProduct, IsItsFormulaInEveryOrderTransposeAndEpilogue) {
  const struct {
    cudaDataType in, out;
    cublasComputeType_t compute;
    double limit;
  } types[] = {{CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, 1e-5},
               {CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_PEDANTIC, 1e-5},
               {CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32, 1e-3},
               {CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, 1e-5},
               {CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F, 1e-2}};
  for (const auto& [in, out, compute, limit] : types) {
    for (const cublasLtEpilogue_t epilogue :
         {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_BIAS,
          CUBLASLT_EPILOGUE_RELU_BIAS, CUBLASLT_EPILOGUE_BGRADA, CUBLASLT_EPILOGUE_BGRADB}) {
      const int64_t m = Draw(1, 20), n = Draw(1, 20), k = Draw(2, 40);
      const bool turn_a = Draw(0, 1), turn_b = Draw(0, 1);
      Matrix a(turn_a ? k : m, turn_a ? m : k, in, Draw(0, 1), Draw(0, 3));
      Matrix b(turn_b ? n : k, turn_b ? k : n, in, Draw(0, 1), Draw(0, 3));
      Matrix d(m, n, out, epilogue == CUBLASLT_EPILOGUE_DEFAULT && Draw(0, 1), Draw(0, 3));
      const bool gradient =
          epilogue == CUBLASLT_EPILOGUE_BGRADA || epilogue == CUBLASLT_EPILOGUE_BGRADB;
      Matrix vector(epilogue == CUBLASLT_EPILOGUE_BGRADB ? n : m, 1, out);
      a.Fill(random_), b.Fill(random_);
      if (!gradient) vector.Fill(random_);
      Descriptor descriptor(compute);
      descriptor.Set<int32_t>(CUBLASLT_MATMUL_DESC_TRANSA, turn_a ? CUBLAS_OP_T : CUBLAS_OP_N);
      descriptor.Set<int32_t>(CUBLASLT_MATMUL_DESC_TRANSB, turn_b ? CUBLAS_OP_T : CUBLAS_OP_N);
      descriptor.Set<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
      descriptor.Set<void*>(CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector.memory.data());
      alpha_ = 1.5, beta_ = Draw(0, 1) ? -0.5f : 0.0f;
      Results results;
      ASSERT_EQ(Find(descriptor, a, b, d, Preference(), results), CUBLAS_STATUS_SUCCESS);
      ASSERT_EQ(results.size(), 4);
      for (const auto& result : results) {
        if (beta_ != 0) d.Fill(random_);  // else poison, or what was there
        std::vector<double> wanted, found, want_vector, found_vector;
        for (int64_t row = 0; row < m; ++row) {
          for (int64_t column = 0; column < n; ++column) {
            double sum = 0;
            for (int64_t i = 0; i < k; ++i) {
              sum += (turn_a ? a.At(i, row) : a.At(row, i)) *
                     (turn_b ? b.At(column, i) : b.At(i, column));
            }
            double value = alpha_ * sum + (beta_ == 0 ? 0 : beta_ * d.At(row, column));
            if ((epilogue & CUBLASLT_EPILOGUE_BIAS) != 0) value += vector.At(row, 0);
            if ((epilogue & CUBLASLT_EPILOGUE_RELU) != 0) value = std::max(value, 0.0);
            wanted.push_back(value);
          }
        }
        ASSERT_EQ(Multiply(descriptor, a, b, d, result), CUBLAS_STATUS_SUCCESS);
        for (int64_t i = 0; i < m * n; ++i) found.push_back(d.At(i / n, i % n));
        EXPECT_LE(RelativeError(found, wanted), limit);
        if (!gradient) continue;
        for (int64_t i = 0; i < vector.rows; ++i) {
          double sum = 0;
          for (int64_t j = 0; j < k; ++j) {
            sum += epilogue == CUBLASLT_EPILOGUE_BGRADA ? (turn_a ? a.At(j, i) : a.At(i, j))
                                                        : (turn_b ? b.At(i, j) : b.At(j, i));
          }
          want_vector.push_back(sum);
          found_vector.push_back(vector.At(i, 0));
        }
        EXPECT_LE(RelativeError(found_vector, want_vector), limit);
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, CublasLtProduct, ::testing::Range(0, 8));

std::vector<int> Ids(const Results& results) {
  std::vector<int> ids;
  for (const auto& result : results) {
    int32_t id = -1;
    EXPECT_EQ(cublasLtMatmulAlgoConfigGetAttribute(&result.algo, CUBLASLT_ALGO_CONFIG_ID, &id,
                                                   sizeof id, nullptr),
              CUBLAS_STATUS_SUCCESS);
    ids.push_back(id);
  }
  return ids;
}

TEST_F(CublasLtMachine, TheHeuristicOffersWhatThePreferencesAllow) {
  Matrix a(16, 64), b(64, 16), d(16, 16);
  const Descriptor descriptor;
  Results results;
  Preference preference;
  EXPECT_EQ(Find(descriptor, a, b, d, preference, results), CUBLAS_STATUS_SUCCESS);
  EXPECT_THAT(Ids(results), ElementsAre(0, 1, 2, 3));
  preference.Set<uint32_t>(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                           CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
  EXPECT_EQ(Find(descriptor, a, b, d, preference, results), CUBLAS_STATUS_SUCCESS);
  EXPECT_THAT(Ids(results), ElementsAre(1, 2, 3));
  preference.Set<uint32_t>(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                           CUBLASLT_REDUCTION_SCHEME_NONE);
  EXPECT_EQ(Find(descriptor, a, b, d, preference, results), CUBLAS_STATUS_SUCCESS);
  EXPECT_THAT(Ids(results), ElementsAre(2, 3));
  preference.Set<uint32_t>(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 4);
  EXPECT_EQ(Find(descriptor, a, b, d, preference, results), CUBLAS_STATUS_SUCCESS);
  EXPECT_THAT(Ids(results), ElementsAre(3));
  EXPECT_EQ(Find(descriptor, a, b, d, Preference(0), results), CUBLAS_STATUS_SUCCESS);
  EXPECT_THAT(Ids(results), ElementsAre(0, 3));
}

TEST_F(CublasLtMachine, ReductionInPlaceGivesOtherBitsEachTime) {
  Matrix a(16, 64), b(64, 16), d(16, 16);
  a.Fill(random_), b.Fill(random_);
  const Descriptor descriptor;
  Results results;
  ASSERT_EQ(Find(descriptor, a, b, d, Preference(), results), CUBLAS_STATUS_SUCCESS);
  for (const auto& result : results) {
    std::set<std::vector<unsigned char>> bits;
    for (int i = 0; i < 4; ++i) {
      ASSERT_EQ(Multiply(descriptor, a, b, d, result), CUBLAS_STATUS_SUCCESS);
      bits.insert(d.memory.Copy());
    }
    EXPECT_EQ(bits.size(), &result == &results[0] ? 2 : 1);
  }
}

TEST_F(CublasLtMachine, PointersAndWorkspaceAreChecked) {
  Matrix a(16, 64), b(64, 16), d(16, 16);
  a.Fill(random_), b.Fill(random_);
  const Descriptor descriptor;
  Results results;
  ASSERT_EQ(Find(descriptor, a, b, d, Preference(), results), CUBLAS_STATUS_SUCCESS);
  const auto& result = results[1];
  ASSERT_GT(result.workspaceSize, 0);
  const Memory workspace(result.workspaceSize + 512);
  const auto multiply = [&](const void* from, const void* c, void* space, size_t bytes,
                            const void* alpha) {
    return cublasLtMatmul(handle_, descriptor.handle, alpha, from, a.layout, b.memory.data(),
                          b.layout, &beta_, c, d.layout, d.memory.data(), d.layout, &result.algo,
                          space, bytes, stream_.As<cudaStream_t>());
  };
  void *from = a.memory.data(), *to = d.memory.data(), *space = workspace.data();
  const size_t bytes = result.workspaceSize;
  EXPECT_EQ(multiply(from, to, space, bytes, &alpha_), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(multiply(from, to, nullptr, bytes, &alpha_), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiply(from, to, space, bytes - 1, &alpha_), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiply(from, to, workspace.data(16), bytes, &alpha_), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiply(a.memory.data(4), to, space, bytes, &alpha_), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiply(nullptr, to, space, bytes, &alpha_), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiply(from, nullptr, space, bytes, &alpha_), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiply(from, to, space, bytes, nullptr), CUBLAS_STATUS_INVALID_VALUE);
}

TEST_F(CublasLtMachine, ContradictionsAndWhatIsNotHadAreRefused) {
  Matrix a(16, 64), b(64, 16), d(16, 16), bf16(16, 16, CUDA_R_16BF), wide(16, 17);
  Results results;
  const Preference preference;
  EXPECT_EQ(Find(Descriptor(), b, b, d, preference, results), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(Find(Descriptor(), a, b, wide, preference, results), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(Find(Descriptor(), a, b, bf16, preference, results), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(Find(Descriptor(CUBLAS_COMPUTE_16F), a, b, d, preference, results),
            CUBLAS_STATUS_NOT_SUPPORTED);
  for (const cublasLtEpilogue_t epilogue :
       {CUBLASLT_EPILOGUE_GELU, CUBLASLT_EPILOGUE_DRELU, CUBLASLT_EPILOGUE_RELU_AUX_BIAS}) {
    Descriptor descriptor;
    descriptor.Set<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    EXPECT_EQ(Find(descriptor, a, b, d, preference, results), CUBLAS_STATUS_NOT_SUPPORTED);
  }
  Matrix narrow(16, 64);
  const int64_t ld = 15;
  EXPECT_EQ(cublasLtMatrixLayoutSetAttribute(narrow.layout, CUBLASLT_MATRIX_LAYOUT_LD, &ld, 8),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(Find(Descriptor(), narrow, b, d, preference, results), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(cublasLtMatrixLayoutSetAttribute(narrow.layout, CUBLASLT_MATRIX_LAYOUT_LD, &ld, 4),
            CUBLAS_STATUS_INVALID_VALUE);
  Descriptor bias;
  bias.Set<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  ASSERT_EQ(Find(bias, a, b, d, preference, results), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(Multiply(bias, a, b, d, results[0]), CUBLAS_STATUS_INVALID_VALUE) << "no bias";
  bias.Set<int32_t>(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_16BF);
  EXPECT_EQ(Find(bias, a, b, d, preference, results), CUBLAS_STATUS_NOT_SUPPORTED);
}

TEST_F(CublasLtMachine, CaptureRunsNothingAndAReplayNeedsNoDescriptors) {
  Matrix a(8, 8), b(8, 8), d(8, 8);
  a.Fill(random_), b.Fill(random_);
  stream_.Capture([&] {
    const Descriptor descriptor;
    Results results;
    ASSERT_EQ(Find(descriptor, a, b, d, Preference(0), results), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(Multiply(descriptor, a, b, d, results.back()), CUBLAS_STATUS_SUCCESS);
    alpha_ = 99;  // scales are those of the call
  });
  EXPECT_TRUE(d.memory.IsPoisoned());
  a.Fill(random_);
  stream_.Replay();
  double wanted = 0;
  for (int64_t i = 0; i < 8; ++i) wanted += a.At(3, i) * b.At(i, 5);
  EXPECT_NEAR(d.At(3, 5), wanted, 1e-4);
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
