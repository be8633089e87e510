#include "coordinator/core/tuner/changes.h"

#include <algorithm>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"

namespace trainyard::core {
namespace {

using network::Layer;

std::string Text(double value) { return absl::StrCat(value); }
std::string Text(int value) { return absl::StrCat(value); }
std::string Text(uint64_t value) { return absl::StrCat(value); }
std::string Text(const std::string& value) { return value; }
std::string Text(bool value) { return value ? "true" : "false"; }
std::string Text(const network::Extent& extent) {
  return absl::StrCat(extent.height, "x", extent.width);
}
std::string Text(const network::Padding& padding) {
  if (padding.same) return "same";
  return absl::StrCat(padding.top, ",", padding.bottom, ",", padding.left, ",", padding.right);
}
std::string Text(network::PoolKind kind) {
  return kind == network::PoolKind::kMax ? "max" : "average";
}
std::string Text(network::OptimizerKind kind) {
  return kind == network::OptimizerKind::kSgd ? "sgd" : "adamw";
}
std::string Text(network::Initialisation kind) {
  return kind == network::Initialisation::kHe ? "he" : "glorot";
}
std::string Text(network::Precision precision) { return network::PrecisionName(precision); }
std::string Text(network::ScheduleKind kind) {
  constexpr const char* kNames[] = {"constant", "step", "cosine", "one_cycle"};
  return kNames[static_cast<int>(kind)];
}

// A layer in a few words: "conv 3x3 x32", "dropout 0.3", "relu".
std::string Text(const Layer& layer) {
  const std::string kind = network::KindName(layer);
  if (const auto* conv = std::get_if<network::Conv>(&layer.op)) {
    return absl::StrCat(kind, " ", Text(conv->kernel), " x", conv->filters);
  }
  if (const auto* dropout = std::get_if<network::Dropout>(&layer.op)) {
    return absl::StrCat(kind, " ", dropout->rate);
  }
  if (const auto* dense = std::get_if<network::Dense>(&layer.op)) {
    return absl::StrCat(kind, " ", dense->units);
  }
  return kind;
}

class Differ {
 public:
  std::vector<Change> changes;

  template <typename T>
  void Field(const std::string& path, const T& from, const T& to) {
    if (!(from == to)) changes.push_back({path, Text(from), Text(to)});
  }

  void Layers(const std::string& path, const std::vector<Layer>& from,
              const std::vector<Layer>& to);

  // Zero and empty: as the program has it, which the message leaves out.
  void Program(const network::ProgramChanges& from, const network::ProgramChanges& to) {
    const auto field = [this]<typename T>(const char* name, const T& a, const T& b) {
      if (a == b) return;
      const auto text = [](const T& value) { return value == T{} ? std::string() : Text(value); };
      changes.push_back({absl::StrCat("changes.", name), text(a), text(b)});
    };
    field("epochs", from.epochs, to.epochs);
    field("batch_size", from.batch_size, to.batch_size);
    field("optimizer", from.optimizer, to.optimizer);
    field("lr", from.learning_rate, to.learning_rate);
    field("width", from.width, to.width);
    field("added_convs", from.added_convs, to.added_convs);
    field("added_dense", from.added_dense, to.added_dense);
    field("dropout", from.dropout, to.dropout);
  }

 private:
  // Two layers of the same kind.
  void Fields(const std::string& path, const network::Conv& from, const network::Conv& to) {
    Field(path + ".filters", from.filters, to.filters);
    Field(path + ".kernel", from.kernel, to.kernel);
    Field(path + ".stride", from.stride, to.stride);
    Field(path + ".padding", from.padding, to.padding);
    Field(path + ".groups", from.groups, to.groups);
    Field(path + ".bias", from.bias, to.bias);
  }
  void Fields(const std::string& path, const network::BatchNorm& from,
              const network::BatchNorm& to) {
    Field(path + ".momentum", from.momentum, to.momentum);
    Field(path + ".epsilon", from.epsilon, to.epsilon);
  }
  void Fields(const std::string& path, const network::Relu& from, const network::Relu& to) {
    Field(path + ".negative_slope", from.negative_slope, to.negative_slope);
  }
  void Fields(const std::string& path, const network::Pool& from, const network::Pool& to) {
    Field(path + ".kind", from.kind, to.kind);
    Field(path + ".kernel", from.kernel, to.kernel);
    Field(path + ".stride", from.stride, to.stride);
    Field(path + ".padding", from.padding, to.padding);
  }
  void Fields(const std::string& path, const network::Dropout& from, const network::Dropout& to) {
    Field(path + ".rate", from.rate, to.rate);
  }
  void Fields(const std::string& path, const network::Dense& from, const network::Dense& to) {
    Field(path + ".units", from.units, to.units);
    Field(path + ".bias", from.bias, to.bias);
  }
  void Fields(const std::string& path, const network::Residual& from, const network::Residual& to) {
    Layers(path + ".layers", from.body, to.body);
    Layers(path + ".shortcut", from.shortcut, to.shortcut);
  }
  void Fields(const std::string&, const network::GlobalAvgPool&, const network::GlobalAvgPool&) {}
  void Fields(const std::string&, const network::Flatten&, const network::Flatten&) {}
};

// Length of the longest common sequence of kinds from each pair of positions on.
std::vector<std::vector<int>> CommonKinds(const std::vector<Layer>& a,
                                          const std::vector<Layer>& b) {
  std::vector<std::vector<int>> common(a.size() + 1, std::vector<int>(b.size() + 1, 0));
  for (size_t i = a.size(); i-- > 0;) {
    for (size_t j = b.size(); j-- > 0;) {
      const bool same = a[i].op.index() == b[j].op.index();
      common[i][j] =
          std::max({common[i + 1][j], common[i][j + 1], same ? common[i + 1][j + 1] + 1 : 0});
    }
  }
  return common;
}

void Differ::Layers(const std::string& path, const std::vector<Layer>& from,
                    const std::vector<Layer>& to) {
  const auto common = CommonKinds(from, to);
  size_t i = 0;
  size_t j = 0;
  while (i < from.size() || j < to.size()) {
    const bool both = i < from.size() && j < to.size();
    if (both && from[i].op.index() == to[j].op.index()) {
      const std::string here = absl::StrCat(path, "[", j, "].", network::KindName(to[j]));
      std::visit(
          [&](const auto& layer) {
            Fields(here, layer, std::get<std::decay_t<decltype(layer)>>(to[j].op));
          },
          from[i].op);
      ++i;
      ++j;
    } else if (j < to.size() && (i == from.size() || common[i][j + 1] >= common[i + 1][j])) {
      changes.push_back({absl::StrCat(path, "[", j, "]"), "", Text(to[j])});
      ++j;
    } else {
      changes.push_back({absl::StrCat(path, "[", j, "]"), Text(from[i]), ""});
      ++i;
    }
  }
}

}  // namespace

std::vector<Change> Difference(const network::Configuration& from,
                               const network::Configuration& to) {
  Differ differ;
  differ.Program(from.changes, to.changes);
  differ.Layers("network.layers", from.network.layers, to.network.layers);
  const network::Training& a = from.training;
  const network::Training& b = to.training;
  differ.Field("train.epochs", a.epochs, b.epochs);
  differ.Field("train.batch_size", a.batch_size, b.batch_size);
  differ.Field("train.optimizer", a.optimizer.kind, b.optimizer.kind);
  differ.Field("train.lr", a.optimizer.learning_rate, b.optimizer.learning_rate);
  differ.Field("train.momentum", a.optimizer.momentum, b.optimizer.momentum);
  differ.Field("train.nesterov", a.optimizer.nesterov, b.optimizer.nesterov);
  differ.Field("train.beta1", a.optimizer.beta1, b.optimizer.beta1);
  differ.Field("train.beta2", a.optimizer.beta2, b.optimizer.beta2);
  differ.Field("train.epsilon", a.optimizer.epsilon, b.optimizer.epsilon);
  differ.Field("train.weight_decay", a.optimizer.weight_decay, b.optimizer.weight_decay);
  differ.Field("train.clip_norm", a.optimizer.clip_norm, b.optimizer.clip_norm);
  differ.Field("train.schedule.kind", a.schedule.kind, b.schedule.kind);
  differ.Field("train.schedule.warmup_epochs", a.schedule.warmup_epochs, b.schedule.warmup_epochs);
  differ.Field("train.schedule.step_epochs", a.schedule.step_epochs, b.schedule.step_epochs);
  differ.Field("train.schedule.step_factor", a.schedule.step_factor, b.schedule.step_factor);
  differ.Field("train.schedule.final_factor", a.schedule.final_factor, b.schedule.final_factor);
  differ.Field("train.schedule.peak_at", a.schedule.peak_at, b.schedule.peak_at);
  differ.Field("train.augmentation.flip", a.augmentation.flip, b.augmentation.flip);
  differ.Field("train.augmentation.shift", a.augmentation.shift, b.augmentation.shift);
  differ.Field("train.augmentation.cutout", a.augmentation.cutout, b.augmentation.cutout);
  differ.Field("train.augmentation.normalise", a.augmentation.normalise, b.augmentation.normalise);
  differ.Field("train.label_smoothing", a.label_smoothing, b.label_smoothing);
  differ.Field("train.initialisation", a.initialisation, b.initialisation);
  differ.Field("train.precision", a.precision, b.precision);
  differ.Field("train.seed", a.seed, b.seed);
  return differ.changes;
}

}  // namespace trainyard::core
