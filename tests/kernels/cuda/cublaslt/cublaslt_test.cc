// What NVIDIA's library says without a GPU: that it takes our descriptions, and why it starts none.
#include "kernels/cuda/cublaslt/cublaslt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/cublaslt/descriptors.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using Pass = Matmul::Pass;
using ::testing::HasSubstr;

// Inputs and outputs of the dense layers of networks that people start with: the one of
// examples/fashion-mnist and the one of Keras's introduction, and of random ones.
std::vector<std::pair<int64_t, int64_t>> DenseLayers() {
  std::vector<std::pair<int64_t, int64_t>> layers = {{7 * 7 * 8, 10}};
  std::vector<Graph> graphs = {kernels::testing::KerasCnn(1)};
  for (int seed = 0; seed < 20; ++seed) graphs.push_back(kernels::testing::RandomGraph(seed));
  for (const Graph& graph : graphs) {
    for (const Op& op : graph.ops) {
      if (op.kind != OpKind::kLinear) continue;
      layers.push_back({graph.values[op.inputs[0]].size(), graph.values[op.output].size()});
    }
  }
  return layers;
}

template <typename T>
T Get(const MatmulDescriptor& product, cublasLtMatmulDescAttributes_t attribute) {
  T value{};
  size_t written = 0;
  CheckCublasLt(
      cublasLtMatmulDescGetAttribute(product.get(), attribute, &value, sizeof value, &written),
      "reading a product");
  EXPECT_EQ(written, sizeof value);
  return value;
}

template <typename T>
T Get(const MatrixLayout& layout, cublasLtMatrixLayoutAttribute_t attribute) {
  T value{};
  size_t written = 0;
  CheckCublasLt(
      cublasLtMatrixLayoutGetAttribute(layout.get(), attribute, &value, sizeof value, &written),
      "reading a layout");
  EXPECT_EQ(written, sizeof value);
  return value;
}

template <typename T>
T Get(const MatmulPreference& preference, cublasLtMatmulPreferenceAttributes_t attribute) {
  T value{};
  size_t written = 0;
  CheckCublasLt(cublasLtMatmulPreferenceGetAttribute(preference.get(), attribute, &value,
                                                     sizeof value, &written),
                "reading a preference");
  EXPECT_EQ(written, sizeof value);
  return value;
}

struct Sizes {
  uint64_t rows = 0, columns = 0;
  bool operator==(const Sizes&) const = default;
};

// Of the matrix after its transposition, if any.
Sizes SizesOf(const MatrixLayout& layout, cublasOperation_t operation = CUBLAS_OP_N) {
  const auto rows = Get<uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_ROWS);
  const auto columns = Get<uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_COLS);
  EXPECT_EQ(Get<int64_t>(layout, CUBLASLT_MATRIX_LAYOUT_LD), static_cast<int64_t>(rows));
  return operation == CUBLAS_OP_N ? Sizes{rows, columns} : Sizes{columns, rows};
}

void ExpectProduct(const Matmul& matmul, Sizes result, uint64_t summed) {
  const MatmulDescriptors of(matmul);
  const auto a = SizesOf(of.a, Get<cublasOperation_t>(of.product, CUBLASLT_MATMUL_DESC_TRANSA));
  const auto b = SizesOf(of.b, Get<cublasOperation_t>(of.product, CUBLASLT_MATMUL_DESC_TRANSB));
  EXPECT_EQ(a, (Sizes{result.rows, summed}));
  EXPECT_EQ(b, (Sizes{summed, result.columns}));
  EXPECT_EQ(SizesOf(of.d), result);
  const uint32_t type = matmul.precision == Precision::kBf16 ? CUDA_R_16BF : CUDA_R_32F;
  EXPECT_EQ(Get<uint32_t>(of.a, CUBLASLT_MATRIX_LAYOUT_TYPE), type);
  EXPECT_EQ(Get<uint32_t>(of.b, CUBLASLT_MATRIX_LAYOUT_TYPE), type);
  EXPECT_EQ(Get<uint32_t>(of.d, CUBLASLT_MATRIX_LAYOUT_TYPE),
            matmul.pass == Pass::kBackwardFilter ? uint32_t{CUDA_R_32F} : type);
}

TEST(CublasLtDescriptors, AreTakenForEveryDenseLayer) {
  for (const auto& [in, out] : DenseLayers()) {
    for (const int64_t batch : {1, 88, 128}) {
      for (const auto precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16}) {
        SCOPED_TRACE(PrecisionName(precision));
        const auto b = static_cast<uint64_t>(batch), i = static_cast<uint64_t>(in),
                   o = static_cast<uint64_t>(out);
        ExpectProduct({Pass::kForward, precision, batch, in, out, true}, {o, b}, i);
        ExpectProduct({Pass::kBackwardFilter, precision, batch, in, out}, {i, o}, b);
        ExpectProduct({Pass::kBackwardData, precision, batch, in, out}, {i, b}, o);
      }
    }
  }
}

TEST(CublasLtDescriptors, AskForTheArithmeticOfThePrecision) {
  const auto compute_type = [](Precision precision) {
    const MatmulDescriptors of({Pass::kForward, precision, 4, 8, 16});
    EXPECT_EQ(Get<int32_t>(of.product, CUBLASLT_MATMUL_DESC_SCALE_TYPE), CUDA_R_32F);
    return Get<int32_t>(of.product, CUBLASLT_MATMUL_DESC_COMPUTE_TYPE);
  };
  EXPECT_EQ(compute_type(Precision::kFp32), CUBLAS_COMPUTE_32F_PEDANTIC);
  EXPECT_EQ(compute_type(Precision::kTf32), CUBLAS_COMPUTE_32F_FAST_TF32);
  EXPECT_EQ(compute_type(Precision::kBf16), CUBLAS_COMPUTE_32F);
}

TEST(CublasLtDescriptors, AskForTheBiasWhereThereIsOne) {
  const auto epilogue = [](bool bias) {
    const MatmulDescriptors of({Pass::kForward, Precision::kBf16, 4, 8, 16, bias});
    return Get<uint32_t>(of.product, CUBLASLT_MATMUL_DESC_EPILOGUE);
  };
  EXPECT_EQ(epilogue(false), CUBLASLT_EPILOGUE_DEFAULT);
  EXPECT_EQ(epilogue(true), CUBLASLT_EPILOGUE_BIAS);
}

TEST(CublasLtPreference, AllowsSumsInTheWorkspaceAloneAndPromisesSixteenBytes) {
  const MatmulPreference preference = DeterministicPreference();
  EXPECT_EQ(Get<uint32_t>(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK),
            uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  EXPECT_EQ(Get<uint64_t>(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES), 33554432u);
  for (const auto alignment :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    EXPECT_EQ(Get<uint32_t>(preference, alignment), 16u);
  }
}

TEST(CublasLtReduction, InPlaceOrInTheOutputsTypeIsNotLetIn) {
  EXPECT_TRUE(IsDeterministic(CUBLASLT_REDUCTION_SCHEME_NONE));
  EXPECT_TRUE(IsDeterministic(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  EXPECT_FALSE(IsDeterministic(CUBLASLT_REDUCTION_SCHEME_INPLACE));
  EXPECT_FALSE(IsDeterministic(CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE));
}

TEST(CublasLtStatus, IsToldInWordsAndWhatTheMachineLacksByItsKind) {
  EXPECT_NO_THROW(CheckCublasLt(CUBLAS_STATUS_SUCCESS, "doing it"));
  for (const cublasStatus_t status : {CUBLAS_STATUS_NOT_INITIALIZED, CUBLAS_STATUS_ALLOC_FAILED}) {
    EXPECT_THROW(CheckCublasLt(status, "doing it"), Unavailable);
  }
  try {
    CheckCublasLt(CUBLAS_STATUS_NOT_SUPPORTED, "doing it");
    ADD_FAILURE() << "threw nothing";
  } catch (const Unavailable&) {
    ADD_FAILURE() << "took it for the machine's fault";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("doing it: "));
    EXPECT_THAT(error.what(), HasSubstr("(status 15)"));
  }
}

TEST(CublasLt, WithoutADriverSaysThatItDoesNotStart) {
  try {
    CublasLt cublaslt;
    GTEST_SKIP() << "there is a GPU";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("starting cuBLASLt: the library was not initialized"));
  }
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
