// cuDNN's C functions: handles, errors, and descriptors behind their handles.
#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <set>

#include "kernels/cuda/emulation/nvidia/cudnn_descriptor.h"
#include "kernels/cuda/emulation/nvidia/cudnn_execute.h"

using trainyard::kernels::cuda::emulation::nvidia::Answer;
using trainyard::kernels::cuda::emulation::nvidia::Behind;
using trainyard::kernels::cuda::emulation::nvidia::Descriptor;
using trainyard::kernels::cuda::emulation::nvidia::Execute;
using trainyard::kernels::cuda::emulation::nvidia::Refusal;

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

namespace trainyard::kernels::cuda::emulation::nvidia {
namespace {

using Box = std::shared_ptr<Descriptor>;

thread_local std::string last_error;

// Handles that are alive, so that a dangling one is refused instead of followed.
std::mutex alive_mutex;
std::set<void*>& Alive() {
  static std::set<void*>& alive = *new std::set<void*>;
  return alive;
}

void Born(void* handle) {
  const std::lock_guard lock(alive_mutex);
  Alive().insert(handle);
}

void CheckAlive(void* handle, const char* what) {
  if (handle == nullptr) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, std::string(what) + " is null");
  }
  const std::lock_guard lock(alive_mutex);
  if (Alive().count(handle) == 0) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM, std::string(what) + " was never made, or is destroyed");
  }
}

void Died(void* handle, const char* what) {
  CheckAlive(handle, what);
  const std::lock_guard lock(alive_mutex);
  Alive().erase(handle);
}

}  // namespace

cudnnStatus_t Answer(const char* function, const std::function<void()>& call) {
  try {
    call();
    return CUDNN_STATUS_SUCCESS;
  } catch (const Refusal& refusal) {
    last_error = std::string(function) + ": " + refusal.what();
    return refusal.status;
  }
}

std::shared_ptr<Descriptor>& Behind(cudnnBackendDescriptor_t handle) {
  CheckAlive(handle, "the descriptor");
  return *static_cast<Box*>(handle);
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia

using namespace trainyard::kernels::cuda::emulation::nvidia;

extern "C" {

size_t cudnnGetVersion() { return CUDNN_VERSION; }
size_t cudnnGetCudartVersion() { return CUDART_VERSION; }

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (CUDNN_STATUS_CATEGORY(status)) {
    case CUDNN_STATUS_SUCCESS:
      return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_BAD_PARAM:
      return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED:
      return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_EXECUTION_FAILED:
      return "CUDNN_STATUS_EXECUTION_FAILED";
    default:
      return status == CUDNN_STATUS_NOT_INITIALIZED ? "CUDNN_STATUS_NOT_INITIALIZED"
                                                    : "CUDNN_STATUS_INTERNAL_ERROR";
  }
}

// Reading the message forgets it, as cuDNN does.
void cudnnGetLastErrorString(char* message, size_t max_size) {
  if (message == nullptr || max_size == 0) return;
  const size_t length = std::min(last_error.size(), max_size - 1);
  std::memcpy(message, last_error.data(), length);
  message[length] = '\0';
  last_error.clear();
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  return Answer("cudnnCreate", [&] {
    if (handle == nullptr) throw Refusal(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no handle");
    *handle = new cudnnContext;
    Born(*handle);
  });
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  return Answer("cudnnDestroy", [&] {
    Died(handle, "the handle");
    delete handle;
  });
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  return Answer("cudnnSetStream", [&] {
    CheckAlive(handle, "the handle");
    handle->stream = stream;
  });
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  return Answer("cudnnGetStream", [&] {
    CheckAlive(handle, "the handle");
    if (stream == nullptr) throw Refusal(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no stream");
    *stream = handle->stream;
  });
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t* descriptor) {
  return Answer("cudnnBackendCreateDescriptor", [&] {
    if (descriptor == nullptr) throw Refusal(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
    *descriptor = nullptr;
    auto made = std::make_shared<Descriptor>(type);
    *descriptor = new Box(std::move(made));
    Born(*descriptor);
  });
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  return Answer("cudnnBackendDestroyDescriptor", [&] {
    Died(descriptor, "the descriptor");
    delete static_cast<Box*>(descriptor);
  });
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  return Answer("cudnnBackendFinalize", [&] { Behind(descriptor)->Finalize(); });
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void* elements) {
  return Answer("cudnnBackendSetAttribute", [&] {
    std::shared_ptr<Descriptor>& behind = Behind(descriptor);
    if (type == CUDNN_TYPE_HANDLE && count == 1 && elements != nullptr) {
      CheckAlive(*static_cast<const cudnnHandle_t*>(elements), "the handle");
    }
    behind->Set(name, type, count, elements);
  });
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       int64_t* count_there, void* elements) {
  return Answer("cudnnBackendGetAttribute", [&] {
    const std::shared_ptr<Descriptor> behind = Behind(descriptor);
    behind->Get(name, type, count, count_there, elements);
  });
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack) {
  return Answer("cudnnBackendExecute", [&] {
    CheckAlive(handle, "the handle");
    Execute(*Behind(plan), *Behind(pack), handle->stream);
  });
}

}  // extern "C"
