// Descriptors of cuDNN's graph API, and how its failures are told. For kernels/cuda/cudnn/ alone:
// <cudnn.h> brings NVIDIA's runtime along, which no file may include beside the emulated one.
#pragma once

#include <cudnn.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda {

// What cuDNN was asked for makes sense, but it has no way to do it.
class CudnnUnsupported : public Error {
 public:
  using Error::Error;
};

// Throws unless `status` is success: Error("<doing>: <name of the status>: <cuDNN's reason>"), or
// CudnnUnsupported where the status says so, or Unavailable where not the question is at fault: a
// library that is missing or does not start, memory that others have, anything inside of cuDNN.
void CheckCudnn(cudnnStatus_t status, const std::string& doing);

// The tag under which an attribute of C++ type T travels.
template <cudnnBackendAttributeType_t kTag>
using AttributeTag = std::integral_constant<cudnnBackendAttributeType_t, kTag>;
template <typename T>
struct AttributeType;
template <>
struct AttributeType<int64_t> : AttributeTag<CUDNN_TYPE_INT64> {};
template <>
struct AttributeType<float> : AttributeTag<CUDNN_TYPE_FLOAT> {};
template <>
struct AttributeType<bool> : AttributeTag<CUDNN_TYPE_BOOLEAN> {};
template <>
struct AttributeType<char> : AttributeTag<CUDNN_TYPE_CHAR> {};
template <>
struct AttributeType<void*> : AttributeTag<CUDNN_TYPE_VOID_PTR> {};
template <>
struct AttributeType<cudnnHandle_t> : AttributeTag<CUDNN_TYPE_HANDLE> {};
template <>
struct AttributeType<cudnnDataType_t> : AttributeTag<CUDNN_TYPE_DATA_TYPE> {};
template <>
struct AttributeType<cudnnPointwiseMode_t> : AttributeTag<CUDNN_TYPE_POINTWISE_MODE> {};
template <>
struct AttributeType<cudnnConvolutionMode_t> : AttributeTag<CUDNN_TYPE_CONVOLUTION_MODE> {};
template <>
struct AttributeType<cudnnBackendHeurMode_t> : AttributeTag<CUDNN_TYPE_HEUR_MODE> {};
template <>
struct AttributeType<cudnnBackendKnobType_t> : AttributeTag<CUDNN_TYPE_KNOB_TYPE> {};
template <>
struct AttributeType<cudnnBackendNumericalNote_t> : AttributeTag<CUDNN_TYPE_NUMERICAL_NOTE> {};
template <>
struct AttributeType<cudnnBackendBehaviorNote_t> : AttributeTag<CUDNN_TYPE_BEHAVIOR_NOTE> {};

class Descriptor {
 public:
  // `what`: its name in errors.
  Descriptor(cudnnBackendDescriptorType_t type, std::string what);
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  cudnnBackendDescriptor_t get() const { return handle_; }

  template <typename T>
  Descriptor& Set(cudnnBackendAttributeName_t name, const T& value) {
    return Set(name, AttributeType<T>::value, 1, &value);
  }
  template <typename T>
  Descriptor& Set(cudnnBackendAttributeName_t name, const std::vector<T>& values) {
    return Set(name, AttributeType<T>::value, static_cast<int64_t>(values.size()), values.data());
  }
  Descriptor& Set(cudnnBackendAttributeName_t name, const std::string& text);
  Descriptor& Set(cudnnBackendAttributeName_t name, const Descriptor& value);
  Descriptor& Set(cudnnBackendAttributeName_t name, const std::vector<Descriptor>& values);
  Descriptor& Finalize();

  // An attribute of one value.
  template <typename T>
  T Get(cudnnBackendAttributeName_t name) const {
    T value{};
    Get(name, AttributeType<T>::value, 1, &value);
    return value;
  }
  // An attribute of many, of which there are at most `most`.
  template <typename T>
  std::vector<T> GetMany(cudnnBackendAttributeName_t name, int64_t most) const {
    std::vector<T> values(most);
    values.resize(Get(name, AttributeType<T>::value, most, values.data()));
    return values;
  }
  std::string GetText(cudnnBackendAttributeName_t name) const;
  // All of an attribute's descriptors, which are of `type`.
  std::vector<Descriptor> GetDescriptors(cudnnBackendAttributeName_t name,
                                         cudnnBackendDescriptorType_t type,
                                         const std::string& what) const;

 private:
  Descriptor& Set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                  const void* values);
  // -> how many values there are.
  int64_t Get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
              void* values) const;

  std::string what_;
  cudnnBackendDescriptor_t handle_ = nullptr;
};

}  // namespace trainyard::kernels::cuda
