#include "worker/engine/checkpoint.h"

#include <charconv>
#include <string_view>
#include <utility>

#include "worker/engine/safetensors.h"

namespace trainyard::engine {
namespace {

using kernels::Error;
using network::Parameter;

constexpr std::string_view kFormat = "trainyard-checkpoint-1";
constexpr std::string_view kMoment1 = "optimizer.moment1.";
constexpr std::string_view kMoment2 = "optimizer.moment2.";

// Shortest text that reads back as the same number; "nan" and "inf" included.
template <class Number, class... Base>
std::string Text(Number value, Base... base) {
  char text[64];
  return std::string(text, std::to_chars(text, text + sizeof text, value, base...).ptr);
}

std::string Text(const std::vector<float>& values) {
  std::string text;
  for (float value : values) text += (text.empty() ? "" : " ") + Text(value);
  return text;
}

std::string Text(const std::vector<Checkpoint::Adjusted>& adjusted) {
  std::string text;
  for (const auto& [step, digest] : adjusted) {
    text += (text.empty() ? "" : " ") + Text(step) + ":" + Text(digest, 16);
  }
  return text;
}

[[noreturn]] void Fail(const std::string& key, std::string_view found, const char* expected) {
  throw Error("checkpoint: metadata \"" + key + "\": found \"" + std::string(found.substr(0, 80)) +
              "\", expected " + expected);
}

template <class Number, class... Base>
Number ParseNumber(const std::string& key, std::string_view text, Base... base) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base...);
  if (error != std::errc() || end != text.data() + text.size()) Fail(key, text, "a number");
  return value;
}

// Reads the metadata, each key by its type.
class Fields {
 public:
  explicit Fields(const std::map<std::string, std::string>& metadata) : metadata_(metadata) {}

  const std::string& String(const std::string& key) const {
    const auto found = metadata_.find(key);
    if (found == metadata_.end()) throw Error("checkpoint: metadata \"" + key + "\" is missing");
    return found->second;
  }
  template <class Number>
  void Read(const std::string& key, Number* value) const {
    *value = ParseNumber<Number>(key, String(key));
  }
  template <class Integer>
  void ReadCount(const std::string& key, Integer* value) const {
    Read(key, value);
    if (*value < 0) Fail(key, String(key), "a number of at least 0");
  }
  void ReadBool(const std::string& key, bool* value) const {
    const std::string& text = String(key);
    if (text != "true" && text != "false") Fail(key, text, "true or false");
    *value = text == "true";
  }
  bool Has(const std::string& key) const { return metadata_.contains(key); }
  // "12:ab34 40:cd56": steps, and digests in hexadecimal.
  void ReadAdjusted(const std::string& key, std::vector<Checkpoint::Adjusted>* adjusted) const {
    std::string_view text = String(key);
    while (!text.empty()) {
      const size_t space = std::min(text.find(' '), text.size());
      const std::string_view entry = text.substr(0, space);
      const size_t colon = std::min(entry.find(':'), entry.size());
      const std::string_view digest = entry.substr(std::min(colon + 1, entry.size()));
      adjusted->push_back({ParseNumber<int64_t>(key, entry.substr(0, colon)),
                           ParseNumber<uint64_t>(key, digest, 16)});
      text.remove_prefix(std::min(space + 1, text.size()));
    }
  }
  void ReadFloats(const std::string& key, std::vector<float>* values) const {
    std::string_view text = String(key);
    while (!text.empty()) {
      const size_t space = std::min(text.find(' '), text.size());
      values->push_back(ParseNumber<float>(key, text.substr(0, space)));
      text.remove_prefix(std::min(space + 1, text.size()));
    }
  }

 private:
  const std::map<std::string, std::string>& metadata_;
};

Metadata Describe(const Checkpoint& checkpoint) {
  const auto boolean = [](bool value) { return value ? "true" : "false"; };
  Metadata metadata = {
      {"format", std::string(kFormat)},
      {"spec_hash", checkpoint.spec_hash},
      {"step", Text(checkpoint.step)},
      {"epoch", Text(checkpoint.epoch)},
      {"end_of_epoch", boolean(checkpoint.end_of_epoch)},
      {"seed", Text(checkpoint.seed)},
      {"fingerprint", checkpoint.fingerprint},
      {"exact", boolean(checkpoint.exact)},
      {"epoch_loss_sum", Text(checkpoint.epoch_loss_sum)},
      {"epoch_correct", Text(checkpoint.epoch_correct)},
      {"epoch_images", Text(checkpoint.epoch_images)},
      {"epoch_gradient_norms", Text(checkpoint.epoch_gradient_norms)},
      {"update_ratio", Text(checkpoint.update_ratio)},
      {"dead_units", Text(checkpoint.dead_units)},
      {"normalise_mean", Text(checkpoint.normalise_mean)},
      {"normalise_inverse_std", Text(checkpoint.normalise_inverse_std)},
  };
  if (!checkpoint.adjusted.empty()) metadata.emplace_back("adjusted", Text(checkpoint.adjusted));
  return metadata;
}

void ReadDescription(const Fields& fields, Checkpoint* checkpoint) {
  if (fields.String("format") != kFormat) {
    Fail("format", fields.String("format"), std::string(kFormat).c_str());
  }
  checkpoint->spec_hash = fields.String("spec_hash");
  fields.ReadCount("step", &checkpoint->step);
  fields.ReadCount("epoch", &checkpoint->epoch);
  fields.ReadBool("end_of_epoch", &checkpoint->end_of_epoch);
  fields.Read("seed", &checkpoint->seed);
  checkpoint->fingerprint = fields.String("fingerprint");
  fields.ReadBool("exact", &checkpoint->exact);
  fields.Read("epoch_loss_sum", &checkpoint->epoch_loss_sum);
  fields.ReadCount("epoch_correct", &checkpoint->epoch_correct);
  fields.ReadCount("epoch_images", &checkpoint->epoch_images);
  if (fields.Has("epoch_gradient_norms")) {
    fields.Read("epoch_gradient_norms", &checkpoint->epoch_gradient_norms);
    fields.Read("update_ratio", &checkpoint->update_ratio);
    fields.Read("dead_units", &checkpoint->dead_units);
  }
  if (fields.Has("adjusted")) fields.ReadAdjusted("adjusted", &checkpoint->adjusted);
  fields.ReadFloats("normalise_mean", &checkpoint->normalise_mean);
  fields.ReadFloats("normalise_inverse_std", &checkpoint->normalise_inverse_std);
}

// Views of all parameters and statistics, in order.
std::vector<TensorView> ModelTensors(const Checkpoint& checkpoint) {
  std::vector<TensorView> tensors;
  std::span<const float> parameters = checkpoint.state.parameters;
  std::span<const float> statistics = checkpoint.state.statistics;
  for (const Parameter& parameter : checkpoint.parameters) {
    std::span<const float>& rest = parameter.trainable() ? parameters : statistics;
    const auto size = static_cast<size_t>(parameter.size());
    if (size > rest.size()) throw Error("checkpoint: no values for tensor " + parameter.name);
    tensors.push_back({parameter.name, parameter.dims, rest.first(size)});
    rest = rest.subspan(size);
  }
  if (!parameters.empty() || !statistics.empty()) {
    throw Error("checkpoint: found more values than its tensors have");
  }
  return tensors;
}

void AddMoments(const Checkpoint& checkpoint, std::string_view prefix,
                std::span<const float> moments, std::vector<TensorView>* tensors) {
  if (moments.empty()) return;
  for (const Parameter& parameter : checkpoint.parameters) {
    if (!parameter.trainable()) continue;
    const auto size = static_cast<size_t>(parameter.size());
    if (size > moments.size()) throw Error("checkpoint: no moments for tensor " + parameter.name);
    tensors->push_back({std::string(prefix) + parameter.name, parameter.dims, moments.first(size)});
    moments = moments.subspan(size);
  }
}

Parameter::Role RoleOf(const std::string& name) {
  using Role = Parameter::Role;
  static constexpr std::pair<std::string_view, Role> kRoles[] = {
      {"weight", Role::kWeight},
      {"bias", Role::kBias},
      {"gamma", Role::kGamma},
      {"beta", Role::kBeta},
      {"running_mean", Role::kRunningMean},
      {"running_var", Role::kRunningVar},
  };
  const std::string_view last = std::string_view(name).substr(name.rfind('.') + 1);
  for (const auto& [text, role] : kRoles) {
    if (last == text) return role;
  }
  throw Error("checkpoint: tensor \"" + name.substr(0, 80) +
              "\": expected a name that ends in weight, bias, gamma, beta, running_mean or "
              "running_var");
}

// Reads the moments of all trainable parameters, from tensors[next] on, if they are there.
void ReadMoments(std::string_view bytes, const SafetensorsFile& file, std::string_view prefix,
                 const std::vector<Parameter>& parameters, size_t* next, std::vector<float>* out) {
  if (*next >= file.tensors.size() || !file.tensors[*next].name.starts_with(prefix)) return;
  for (const Parameter& parameter : parameters) {
    if (!parameter.trainable()) continue;
    const std::string expected = std::string(prefix) + parameter.name;
    const bool there = *next < file.tensors.size();
    if (!there || file.tensors[*next].name != expected ||
        file.tensors[*next].dims != parameter.dims) {
      throw Error("checkpoint: found " +
                  (there ? "tensor \"" + file.tensors[*next].name.substr(0, 80) + "\""
                         : std::string("no tensor")) +
                  ", expected \"" + expected + "\" in the shape of its parameter");
    }
    AppendValues(bytes, file.tensors[(*next)++], out);
  }
}

}  // namespace

std::string SerializeCheckpoint(const Checkpoint& checkpoint) {
  std::vector<TensorView> tensors = ModelTensors(checkpoint);
  AddMoments(checkpoint, kMoment1, checkpoint.state.moment1, &tensors);
  AddMoments(checkpoint, kMoment2, checkpoint.state.moment2, &tensors);
  return WriteSafetensors(tensors, Describe(checkpoint));
}

Checkpoint ParseCheckpoint(std::string_view bytes) {
  const SafetensorsFile file = ParseSafetensors(bytes);
  Checkpoint checkpoint;
  ReadDescription(Fields(file.metadata), &checkpoint);
  size_t next = 0;
  for (; next < file.tensors.size(); ++next) {
    const TensorEntry& tensor = file.tensors[next];
    if (tensor.name.starts_with("optimizer.")) break;
    Parameter parameter{tensor.name, RoleOf(tensor.name), tensor.dims};
    AppendValues(
        bytes, tensor,
        parameter.trainable() ? &checkpoint.state.parameters : &checkpoint.state.statistics);
    checkpoint.parameters.push_back(std::move(parameter));
  }
  ReadMoments(bytes, file, kMoment1, checkpoint.parameters, &next, &checkpoint.state.moment1);
  ReadMoments(bytes, file, kMoment2, checkpoint.parameters, &next, &checkpoint.state.moment2);
  if (next != file.tensors.size()) {
    throw Error("checkpoint: found tensor \"" + file.tensors[next].name.substr(0, 80) +
                "\", expected parameters, then first moments, then second moments");
  }
  return checkpoint;
}

std::string SerializeModel(const Checkpoint& checkpoint,
                           const std::vector<std::pair<std::string, std::string>>& metadata) {
  return WriteSafetensors(ModelTensors(checkpoint), metadata);
}

}  // namespace trainyard::engine
