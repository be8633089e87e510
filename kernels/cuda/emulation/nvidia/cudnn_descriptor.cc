#include "kernels/cuda/emulation/nvidia/cudnn_descriptor.h"

#include <algorithm>
#include <utility>

namespace trainyard::kernels::cuda::emulation::nvidia {
namespace {

std::string Number(int64_t number) { return std::to_string(number); }

bool IsOperation(cudnnBackendDescriptorType_t type) {
  switch (type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
      return true;
    default:
      return false;
  }
}

bool Fits(cudnnBackendDescriptorType_t type, int child) {
  return child < 0 ? IsOperation(type) : static_cast<int>(type) == child;
}

// A float member may be given as a double: cuDNN documents both for scales and clips.
bool Fits(cudnnBackendAttributeType_t type, const Rule& rule) {
  return type == rule.type || (rule.type == CUDNN_TYPE_FLOAT && type == CUDNN_TYPE_DOUBLE);
}

template <typename T>
void Append(std::string& text, T value) {
  text.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
T Take(const std::string& saved, size_t& at) {
  if (saved.size() - at < sizeof(T)) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM, "the plan ends at byte " + Number(saved.size()));
  }
  T value;
  std::memcpy(&value, saved.data() + at, sizeof value);
  at += sizeof value;
  return value;
}

// A number of `Enumeration`, whose last one is `last`.
template <typename Enumeration>
Enumeration TakeOne(const std::string& saved, size_t& at, Enumeration last) {
  const auto number = Take<int32_t>(saved, at);
  if (number < 0 || number > static_cast<int32_t>(last)) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM, "the plan has a type " + Number(number));
  }
  return static_cast<Enumeration>(number);
}

}  // namespace

Descriptor::Descriptor(cudnnBackendDescriptorType_t of) : type(of) {
  if (std::none_of(Rules().begin(), Rules().end(), [&](const Rule& r) { return r.of == of; })) {
    throw Refusal(CUDNN_STATUS_NOT_SUPPORTED,
                  "descriptor type " + Number(of) + ": the emulated machine does not have it");
  }
}

const Rule& Descriptor::RuleFor(int name, cudnnBackendAttributeType_t of) const {
  for (const Rule& rule : Rules()) {
    if (rule.of != type || rule.name != name) continue;
    if (!Fits(of, rule)) {
      throw Refusal(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "attribute " + Number(name) +
                                                               ": found type " + Number(of) +
                                                               ", expected " + Number(rule.type));
    }
    return rule;
  }
  throw Refusal(CUDNN_STATUS_NOT_SUPPORTED, "attribute " + Number(name) + ": descriptor type " +
                                                Number(type) +
                                                " does not have it on the emulated machine");
}

void Descriptor::Set(int name, cudnnBackendAttributeType_t of, int64_t count,
                     const void* elements) {
  const std::string place = "attribute " + Number(name) + ": ";
  if (finalized_) throw Refusal(CUDNN_STATUS_BAD_PARAM, place + "the descriptor is finalized");
  const Rule& rule = RuleFor(name, of);
  if (rule.use == Rule::kComputed) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM, place + "it can only be read");
  }
  if (count < rule.count_min || count > rule.count_max) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM, place + "found " + Number(count) +
                                              " elements, expected " + Number(rule.count_min) +
                                              " to " + Number(rule.count_max));
  }
  if (elements == nullptr) throw Refusal(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, place + "null");
  Member member{of, count, {}, {}, {}};
  if (of == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    for (int64_t i = 0; i < count; ++i) {
      member.handles.push_back(static_cast<const cudnnBackendDescriptor_t*>(elements)[i]);
      Child child = Behind(member.handles.back());
      if (!child->finalized()) {
        throw Refusal(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                      place + "descriptor " + Number(i) + " is not finalized");
      }
      if (!Fits(child->type, rule.child)) {
        throw Refusal(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE,
                      place + "descriptor " + Number(i) + " is of type " + Number(child->type) +
                          ", expected " + (rule.child < 0 ? "an operation" : Number(rule.child)));
      }
      member.children.push_back(std::move(child));
    }
  } else {
    const char* bytes = static_cast<const char*>(elements);
    member.bytes.assign(bytes, bytes + count * BytesOf(of));
  }
  members_[name] = std::move(member);
}

// Whether cuDNN reads them when they are set or when it finalizes, it does not say.
void Descriptor::CheckChildrenAlive() const {
  for (const auto& [name, member] : members_) {
    for (size_t i = 0; i < member.handles.size(); ++i) {
      if (Behind(member.handles[i]) == member.children[i]) continue;
      throw Refusal(CUDNN_STATUS_BAD_PARAM,
                    "attribute " + Number(name) + ": its descriptor is another one by now");
    }
  }
}

void Descriptor::Get(int name, cudnnBackendAttributeType_t of, int64_t count, int64_t* count_there,
                     void* elements) const {
  const std::string place = "attribute " + Number(name) + ": ";
  if (!finalized_) {
    throw Refusal(CUDNN_STATUS_NOT_INITIALIZED, place + "the descriptor is not finalized");
  }
  RuleFor(name, of);
  const auto found = members_.find(name);
  if (found == members_.end()) throw Refusal(CUDNN_STATUS_BAD_PARAM, place + "it was not set");
  const Member& member = found->second;
  if (count < 0) throw Refusal(CUDNN_STATUS_BAD_PARAM, place + Number(count) + " elements");
  if (count == 0 && count_there == nullptr) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, place + "nothing to write to");
  }
  if (count > 0 && elements == nullptr) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, place + "no array for its elements");
  }
  if (member.type != of) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE,
                  place + "it was set as type " + Number(member.type));
  }
  // Asked for no results of a heuristic, cuDNN answers how many there may be at most.
  const bool bound = name == CUDNN_ATTR_ENGINEHEUR_RESULTS && count == 0;
  if (count_there != nullptr) *count_there = member.count + (bound ? 1 : 0);
  const int64_t given = std::min(count, member.count);
  if (of != CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    if (given > 0) std::memcpy(elements, member.bytes.data(), given * BytesOf(of));
    return;
  }
  // The caller makes the descriptors; they become what is read.
  for (int64_t i = 0; i < given; ++i) {
    std::shared_ptr<Descriptor>& into = Behind(static_cast<cudnnBackendDescriptor_t*>(elements)[i]);
    if (into->type != member.children[i]->type) {
      throw Refusal(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE,
                    place + "element " + Number(i) + " is of type " + Number(into->type) +
                        ", expected " + Number(member.children[i]->type));
    }
    into = std::make_shared<Descriptor>(*member.children[i]);
  }
}

float Descriptor::Scale(int name, float otherwise) const {
  const auto found = members_.find(name);
  if (found == members_.end()) return otherwise;
  return found->second.type == CUDNN_TYPE_DOUBLE ? static_cast<float>(One<double>(name, 0))
                                                 : One<float>(name, 0);
}

void Descriptor::Compute(int name, std::vector<Child> children) {
  members_[name] = {CUDNN_TYPE_BACKEND_DESCRIPTOR,
                    static_cast<int64_t>(children.size()),
                    {},
                    std::move(children),
                    {}};
}

std::string Descriptor::Save() const {
  std::string saved;
  Append(saved, static_cast<int32_t>(type));
  std::vector<const std::pair<const int, Member>*> kept;
  for (const Rule& rule : Rules()) {
    const bool skip = rule.of != type || rule.use == Rule::kComputed || rule.use == Rule::kStored ||
                      rule.type == CUDNN_TYPE_HANDLE;
    const auto found = members_.find(rule.name);
    if (!skip && found != members_.end()) kept.push_back(&*found);
  }
  Append(saved, static_cast<int32_t>(kept.size()));
  for (const auto* named : kept) {
    const Member& member = named->second;
    Append(saved, static_cast<int32_t>(named->first));
    Append(saved, static_cast<int32_t>(member.type));
    Append(saved, member.count);
    saved.append(member.bytes.data(), member.bytes.size());
    for (const Child& child : member.children) saved += child->Save();
  }
  return saved;
}

Descriptor::Child Descriptor::LoadFrom(const std::string& saved, size_t& at) {
  auto made =
      std::make_shared<Descriptor>(TakeOne(saved, at, CUDNN_BACKEND_OPERATION_SDPA_BWD_DESCRIPTOR));
  for (int32_t left = Take<int32_t>(saved, at); left > 0; --left) {
    const int name = Take<int32_t>(saved, at);
    const auto of = TakeOne(saved, at, CUDNN_TYPE_MOE_GROUPED_MATMUL_MODE);
    const int64_t count = Take<int64_t>(saved, at);
    const Rule& rule = made->RuleFor(name, of);
    if (count < rule.count_min || count > rule.count_max) {
      throw Refusal(CUDNN_STATUS_BAD_PARAM, "attribute " + Number(name) + " of the plan has " +
                                                Number(count) + " elements");
    }
    Member member{of, count, {}, {}, {}};
    for (int64_t i = 0; i < count; ++i) {
      if (of == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
        member.children.push_back(LoadFrom(saved, at));
        if (!Fits(member.children.back()->type, rule.child)) {
          throw Refusal(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE,
                        "attribute " + Number(name) + " of the plan");
        }
        continue;
      }
      for (int64_t byte = 0; byte < BytesOf(of); ++byte) {
        member.bytes.push_back(Take<char>(saved, at));
      }
    }
    made->members_[name] = std::move(member);
  }
  made->Finalize();
  return made;
}

Descriptor::Child Descriptor::Load(const std::string& saved) {
  size_t at = 0;
  Child made = LoadFrom(saved, at);
  if (at != saved.size()) throw Refusal(CUDNN_STATUS_BAD_PARAM, "more than a plan");
  return made;
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia
