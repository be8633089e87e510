#include "kernels/cuda/cudnn/descriptor.h"

#include <algorithm>
#include <utility>

namespace trainyard::kernels::cuda {
namespace {

// cuDNN's last words, as one line.
std::string Reason() {
  char words[2048] = "";
  cudnnGetLastErrorString(words, sizeof words);
  std::string reason = words;
  std::replace(reason.begin(), reason.end(), '\n', ' ');
  return reason;
}

// Of the machine: cuDNN itself is not as it should be, or something under it fails.
bool MeansUnavailable(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_NOT_INITIALIZED:
    case CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH:
    case CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED:
      return true;
    default:
      return CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_INTERNAL_ERROR ||
             CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_EXECUTION_FAILED;
  }
}

}  // namespace

void CheckCudnn(cudnnStatus_t status, const std::string& doing) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  const std::string reason = Reason();
  const std::string message =
      doing + ": " + cudnnGetErrorString(status) + (reason.empty() ? "" : ": " + reason);
  if (MeansUnavailable(status)) throw Unavailable(message);
  if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED) throw CudnnUnsupported(message);
  throw Error(message);
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type, std::string what)
    : what_(std::move(what)) {
  CheckCudnn(cudnnBackendCreateDescriptor(type, &handle_), "creating " + what_);
}

Descriptor::~Descriptor() {
  if (handle_ != nullptr) cudnnBackendDestroyDescriptor(handle_);
}

Descriptor::Descriptor(Descriptor&& other) noexcept
    : what_(std::move(other.what_)), handle_(std::exchange(other.handle_, nullptr)) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(what_, other.what_);
  std::swap(handle_, other.handle_);
  return *this;
}

Descriptor& Descriptor::Set(cudnnBackendAttributeName_t name, const std::string& text) {
  return Set(name, CUDNN_TYPE_CHAR, static_cast<int64_t>(text.size()), text.data());
}

Descriptor& Descriptor::Set(cudnnBackendAttributeName_t name, const Descriptor& value) {
  return Set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.handle_);
}

Descriptor& Descriptor::Set(cudnnBackendAttributeName_t name,
                            const std::vector<Descriptor>& values) {
  std::vector<cudnnBackendDescriptor_t> handles;
  for (const Descriptor& value : values) handles.push_back(value.handle_);
  return Set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(handles.size()),
             handles.data());
}

Descriptor& Descriptor::Finalize() {
  CheckCudnn(cudnnBackendFinalize(handle_), what_);
  return *this;
}

std::string Descriptor::GetText(cudnnBackendAttributeName_t name) const {
  std::string text(Get(name, CUDNN_TYPE_CHAR, 0, nullptr), '\0');
  Get(name, CUDNN_TYPE_CHAR, static_cast<int64_t>(text.size()), text.data());
  return text;
}

std::vector<Descriptor> Descriptor::GetDescriptors(cudnnBackendAttributeName_t name,
                                                   cudnnBackendDescriptorType_t type,
                                                   const std::string& what) const {
  const int64_t count = Get(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
  std::vector<Descriptor> values;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (int64_t i = 0; i < count; ++i) {
    values.emplace_back(type, what);
    handles.push_back(values.back().get());
  }
  // What it gives may be fewer than it said, and the rest of them nothing.
  const int64_t given =
      count == 0 ? 0 : Get(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, handles.data());
  while (static_cast<int64_t>(values.size()) > given) values.pop_back();
  return values;
}

Descriptor& Descriptor::Set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                            int64_t count, const void* values) {
  CheckCudnn(cudnnBackendSetAttribute(handle_, name, type, count, values), what_);
  return *this;
}

int64_t Descriptor::Get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                        int64_t count, void* values) const {
  int64_t found = 0;
  CheckCudnn(cudnnBackendGetAttribute(handle_, name, type, count, &found, values), what_);
  return found;
}

}  // namespace trainyard::kernels::cuda
