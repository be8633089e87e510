// cuDNN's backend API for tests, as short as they need it. It runs against the emulated machine's
// cuDNN and, where it is, against NVIDIA's.
#pragma once

#include <cudnn.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace trainyard::kernels::cuda::testing {

struct Refused : std::runtime_error {
  Refused(cudnnStatus_t status, const std::string& reason)
      : std::runtime_error(reason), status(status) {}
  cudnnStatus_t status;
};
inline void Expect(cudnnStatus_t status) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char reason[2048] = "";
  cudnnGetLastErrorString(reason, sizeof reason);
  throw Refused(status, reason);
}

// A descriptor; every refusal throws Refused.
class Made {
 public:
  explicit Made(cudnnBackendDescriptorType_t type) {
    Expect(cudnnBackendCreateDescriptor(type, &handle_));
  }
  Made(Made&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Made& operator=(Made&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Made() {
    if (handle_ != nullptr) cudnnBackendDestroyDescriptor(handle_);
  }
  cudnnBackendDescriptor_t handle() const { return handle_; }

  template <typename T>
  Made& Set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
            const std::vector<T>& values) {
    Expect(cudnnBackendSetAttribute(handle_, name, type, static_cast<int64_t>(values.size()),
                                    values.data()));
    return *this;
  }
  Made& Set(cudnnBackendAttributeName_t name, const std::vector<int64_t>& values) {
    return Set(name, CUDNN_TYPE_INT64, values);
  }
  Made& Set(cudnnBackendAttributeName_t name, int64_t value) {
    return Set(name, CUDNN_TYPE_INT64, std::vector<int64_t>{value});
  }
  Made& Set(cudnnBackendAttributeName_t name, cudnnDataType_t value) {
    return Set(name, CUDNN_TYPE_DATA_TYPE, std::vector<cudnnDataType_t>{value});
  }
  Made& Set(cudnnBackendAttributeName_t name, float value) {
    return Set(name, CUDNN_TYPE_FLOAT, std::vector<float>{value});
  }
  Made& Set(cudnnBackendAttributeName_t name, bool value) {
    Expect(cudnnBackendSetAttribute(handle_, name, CUDNN_TYPE_BOOLEAN, 1, &value));
    return *this;
  }
  Made& Set(cudnnBackendAttributeName_t name, const Made& value) {
    return Set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR,
               std::vector<cudnnBackendDescriptor_t>{value.handle_});
  }
  Made& Finalize() {
    Expect(cudnnBackendFinalize(handle_));
    return *this;
  }
  template <typename T>
  std::vector<T> Get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
    int64_t count = 0;
    Expect(cudnnBackendGetAttribute(handle_, name, type, 0, &count, nullptr));
    std::vector<T> values(count);
    if (count == 0) return values;
    Expect(cudnnBackendGetAttribute(handle_, name, type, count, &count, values.data()));
    return values;
  }

 private:
  cudnnBackendDescriptor_t handle_ = nullptr;
};

using Dims = std::vector<int64_t>;
constexpr auto kFloat = CUDNN_DATA_FLOAT;
constexpr auto kBf16 = CUDNN_DATA_BFLOAT16;
constexpr bool kVirtual = true;

inline Dims Nhwc(const Dims& dims) {
  return {dims[1] * dims[2] * dims[3], 1, dims[3] * dims[1], dims[1]};
}

inline Made MakeTensor(int64_t id, const Dims& dims, cudnnDataType_t type = kFloat,
                       bool is_virtual = false, const Dims& strides = {}, int64_t alignment = 16) {
  Made made(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  made.Set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id).Set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  made.Set(CUDNN_ATTR_TENSOR_DIMENSIONS, dims);
  made.Set(CUDNN_ATTR_TENSOR_STRIDES, strides.empty() ? Nhwc(dims) : strides);
  made.Set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  if (is_virtual) made.Set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
  made.Finalize();
  return made;
}

struct WindowSpec {
  Dims pre{1, 1}, post{1, 1}, stride{1, 1}, dilation{1, 1};
};
inline Made MakeConvolution(const WindowSpec& window = {}, cudnnDataType_t compute = kFloat) {
  Made made(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  made.Set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, static_cast<int64_t>(window.pre.size()));
  made.Set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, compute);
  made.Set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE,
           std::vector<cudnnConvolutionMode_t>{CUDNN_CROSS_CORRELATION});
  made.Set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, window.pre);
  made.Set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, window.post);
  made.Set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, window.stride);
  made.Set(CUDNN_ATTR_CONVOLUTION_DILATIONS, window.dilation).Finalize();
  return made;
}

struct Scales {
  float alpha = 1, beta = 0;
};
inline Made Forward(const Made& convolution, const Made& x, const Made& w, const Made& y,
                    Scales scales = {}) {
  Made made(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, scales.alpha);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, scales.beta).Finalize();
  return made;
}
inline Made BackwardData(const Made& convolution, const Made& dx, const Made& w, const Made& dy,
                         Scales scales = {}) {
  Made made(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, convolution);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, dx);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, w);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, dy);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, scales.alpha);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, scales.beta).Finalize();
  return made;
}
inline Made BackwardFilter(const Made& convolution, const Made& x, const Made& dw, const Made& dy,
                           Scales scales = {}) {
  Made made(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, convolution);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, x);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, dw);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, dy);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, scales.alpha);
  made.Set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, scales.beta).Finalize();
  return made;
}

inline Made Mode(cudnnPointwiseMode_t mode, float slope = 0) {
  Made made(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  made.Set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE,
           std::vector<cudnnPointwiseMode_t>{mode});
  made.Set(CUDNN_ATTR_POINTWISE_MATH_PREC, kFloat);
  if (slope != 0) {
    made.Set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, CUDNN_TYPE_DOUBLE, std::vector<double>{0});
    made.Set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE,
             std::vector<double>{slope});
  }
  made.Finalize();
  return made;
}
inline Made Pointwise(const Made& mode, const Made& x, const Made* b, const Made* y) {
  Made made(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  made.Set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, mode);
  made.Set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  if (b != nullptr) made.Set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
  if (y != nullptr) made.Set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, *y);
  made.Finalize();
  return made;
}
inline Made PointwiseBackward(const Made& mode, const Made& x, const Made& dy, const Made& dx) {
  Made made(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  made.Set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, mode);
  made.Set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  made.Set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, dy);
  made.Set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, dx).Finalize();
  return made;
}
inline Made Statistics(const Made& x, const Made& sum, const Made& squares) {
  Made made(CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR);
  made.Set(CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_TYPE_GENSTATS_MODE,
           std::vector<cudnnGenStatsMode_t>{CUDNN_GENSTATS_SUM_SQSUM});
  made.Set(CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, kFloat);
  made.Set(CUDNN_ATTR_OPERATION_GENSTATS_XDESC, x);
  made.Set(CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, sum);
  made.Set(CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, squares).Finalize();
  return made;
}
inline Made Reduction(const Made& x, const Made& y) {
  Made reduction(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  reduction.Set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE,
                std::vector<cudnnReduceTensorOp_t>{CUDNN_REDUCE_TENSOR_ADD});
  reduction.Set(CUDNN_ATTR_REDUCTION_COMP_TYPE, kFloat).Finalize();
  Made made(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  made.Set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, reduction);
  made.Set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
  made.Set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y).Finalize();
  return made;
}

inline Made Graph(const std::vector<const Made*>& operations) {
  std::vector<cudnnBackendDescriptor_t> handles;
  for (const Made* operation : operations) handles.push_back(operation->handle());
  Made made(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  made.Set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, handles).Finalize();
  return made;
}

// What a heuristic proposes once it is finalized, best first.
inline std::vector<Made> Proposals(Made& heuristic) {
  heuristic.Finalize();
  int64_t count = 0;
  Expect(cudnnBackendGetAttribute(heuristic.handle(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                  CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr));
  std::vector<Made> configs;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (int64_t i = 0; i < count; ++i) {
    configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    handles.push_back(configs.back().handle());
  }
  if (count > 0) {
    Expect(cudnnBackendGetAttribute(heuristic.handle(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                    CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count, handles.data()));
  }
  configs.erase(configs.begin() + count, configs.end());  // the first count is a bound
  return configs;
}

inline Made EngineOf(const Made& config) {
  Made engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.handle();
  int64_t count = 0;
  Expect(cudnnBackendGetAttribute(config.handle(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                  CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &handle));
  return engine;
}

}  // namespace trainyard::kernels::cuda::testing
