// cuDNN's backend descriptors on the emulated machine: what an attribute may be, and what has been
// set. Read from NVIDIA's "cuDNN Backend API" and the comments of <cudnn_graph.h>, version 9.
//
// Where the documentation is silent, they refuse rather than guess: what is no member of a
// descriptor here answers CUDNN_STATUS_NOT_SUPPORTED with its number.
#pragma once

#include <cudnn.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace trainyard::kernels::cuda::emulation::nvidia {

// What a function of cuDNN's refuses with; what() is what cudnnGetLastErrorString then says.
class Refusal : public std::runtime_error {
 public:
  Refusal(cudnnStatus_t status, const std::string& reason)
      : std::runtime_error(reason), status(status) {}
  const cudnnStatus_t status;
};

// The status of `call`, which throws Refusal; keeps the reason, led by the name of `function`.
cudnnStatus_t Answer(const char* function, const std::function<void()>& call);

// One member of a descriptor of type `of`.
struct Rule {
  cudnnBackendDescriptorType_t of;
  int name;  // a cudnnBackendAttributeName_t
  cudnnBackendAttributeType_t type;
  int64_t count_min, count_max;
  enum Use {
    kOptional,
    kRequired,
    kComputed,  // by Finalize, only to be read
    kStored,    // written only when a plan is loaded, read from any
  } use;
  int child = -1;  // descriptors: their cudnnBackendDescriptorType_t, -1: an operation
};

class Descriptor {
 public:
  using Child = std::shared_ptr<const Descriptor>;

  explicit Descriptor(cudnnBackendDescriptorType_t of);  // throws Refusal for an unknown type

  const cudnnBackendDescriptorType_t type;
  bool finalized() const { return finalized_; }

  // As cudnnBackendSetAttribute and cudnnBackendGetAttribute. They throw Refusal.
  void Set(int name, cudnnBackendAttributeType_t of, int64_t count, const void* elements);
  void Get(int name, cudnnBackendAttributeType_t of, int64_t count, int64_t* count_there,
           void* elements) const;
  // Checks all that cuDNN does (and more), and computes what can be read from now on.
  void Finalize();

  // What is set, as T's; empty where nothing is.
  template <typename T>
  std::vector<T> All(int name) const {
    const auto found = members_.find(name);
    if (found == members_.end()) return {};
    const T* first = reinterpret_cast<const T*>(found->second.bytes.data());
    return {first, first + found->second.count};
  }
  template <typename T>
  T One(int name, T otherwise) const {
    const auto found = members_.find(name);
    if (found == members_.end()) return otherwise;
    T value;
    std::memcpy(&value, found->second.bytes.data(), sizeof value);
    return value;
  }
  // A float that may have been given as a double.
  float Scale(int name, float otherwise) const;
  bool Has(int name) const { return members_.count(name) != 0; }
  const Descriptor& At(int name) const { return *members_.at(name).children.front(); }
  const std::vector<Child>& Children(int name) const { return members_.at(name).children; }

  // For Finalize's parts, and for plans that are loaded.
  template <typename T>
  void Compute(int name, cudnnBackendAttributeType_t of, const std::vector<T>& values) {
    Member& member = members_[name];
    const char* first = reinterpret_cast<const char*>(values.data());
    member = {
        of, static_cast<int64_t>(values.size()), {first, first + values.size() * sizeof(T)}, {}};
  }
  void Compute(int name, std::vector<Child> children);

  // All that was set, so that Load gives the same descriptor, finalized. Load throws Refusal.
  std::string Save() const;
  static Child Load(const std::string& saved);

 private:
  struct Member {
    cudnnBackendAttributeType_t type;
    int64_t count;
    std::vector<char> bytes;
    std::vector<Child> children;
    std::vector<cudnnBackendDescriptor_t> handles;  // of the children; alive until Finalize
  };
  void CheckChildrenAlive() const;
  static Child LoadFrom(const std::string& saved, size_t& at);
  const Rule& RuleFor(int name, cudnnBackendAttributeType_t of) const;

  std::map<int, Member> members_;
  bool finalized_ = false;
};

// The descriptor behind a handle of cuDNN's. Throws Refusal for null and for what is none.
std::shared_ptr<Descriptor>& Behind(cudnnBackendDescriptor_t handle);

const std::vector<Rule>& Rules();
int64_t BytesOf(cudnnBackendAttributeType_t type);  // of one element

}  // namespace trainyard::kernels::cuda::emulation::nvidia
