#include "coordinator/core/tuner/fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "network/shapes.h"

namespace trainyard::core {
namespace {

using network::Layer;

// The words of an enum, in its order.
template <typename Kind>
std::vector<std::string> Words() {
  if constexpr (std::is_same_v<Kind, network::OptimizerKind>) {
    return {"sgd", "adamw"};
  } else if constexpr (std::is_same_v<Kind, network::ScheduleKind>) {
    return {"constant", "step", "cosine", "one_cycle"};
  } else if constexpr (std::is_same_v<Kind, network::Initialisation>) {
    return {"he", "glorot"};
  } else {
    static_assert(std::is_same_v<Kind, bool>);
    return {"false", "true"};
  }
}

void AddLayers(const std::string& path, std::vector<Layer>& layers, std::vector<Field>& fields) {
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string here = absl::StrCat(path, "[", i, "].", network::KindName(layers[i]));
    if (auto* conv = std::get_if<network::Conv>(&layers[i].op)) {
      fields.push_back({here + ".filters", &conv->filters});
      fields.push_back({here + ".kernel", &conv->kernel});
    } else if (auto* dense = std::get_if<network::Dense>(&layers[i].op)) {
      fields.push_back({here + ".units", &dense->units});
    } else if (auto* dropout = std::get_if<network::Dropout>(&layers[i].op)) {
      fields.push_back({here + ".rate", &dropout->rate});
    } else if (auto* residual = std::get_if<network::Residual>(&layers[i].op)) {
      AddLayers(here + ".layers", residual->body, fields);
      AddLayers(here + ".shortcut", residual->shortcut, fields);
    }
  }
}

void AddTraining(network::Training& training, std::vector<Field>& fields) {
  network::Optimizer& optimizer = training.optimizer;
  network::Schedule& schedule = training.schedule;
  network::Augmentation& augmentation = training.augmentation;
  fields.insert(fields.end(), {{"train.epochs", &training.epochs},
                               {"train.batch_size", &training.batch_size},
                               {"train.optimizer", &optimizer.kind},
                               {"train.lr", &optimizer.learning_rate},
                               {"train.momentum", &optimizer.momentum},
                               {"train.nesterov", &optimizer.nesterov},
                               {"train.beta1", &optimizer.beta1},
                               {"train.beta2", &optimizer.beta2},
                               {"train.epsilon", &optimizer.epsilon},
                               {"train.weight_decay", &optimizer.weight_decay},
                               {"train.clip_norm", &optimizer.clip_norm},
                               {"train.schedule.kind", &schedule.kind},
                               {"train.schedule.warmup_epochs", &schedule.warmup_epochs},
                               {"train.schedule.step_epochs", &schedule.step_epochs},
                               {"train.schedule.step_factor", &schedule.step_factor},
                               {"train.schedule.final_factor", &schedule.final_factor},
                               {"train.schedule.peak_at", &schedule.peak_at},
                               {"train.augmentation.flip", &augmentation.flip},
                               {"train.augmentation.shift", &augmentation.shift},
                               {"train.augmentation.cutout", &augmentation.cutout},
                               {"train.augmentation.normalise", &augmentation.normalise},
                               {"train.label_smoothing", &training.label_smoothing},
                               {"train.initialisation", &training.initialisation}});
}

}  // namespace

std::vector<Field> FieldsOf(network::Configuration& configuration) {
  std::vector<Field> fields;
  if (!configuration.IsProgram()) {
    AddTraining(configuration.training, fields);
    AddLayers("network.layers", configuration.network.layers, fields);
    return fields;
  }
  network::ProgramChanges& changes = configuration.changes;
  return {{"changes.epochs", &changes.epochs},
          {"changes.batch_size", &changes.batch_size},
          {"changes.optimizer", &changes.optimizer},
          {"changes.lr", &changes.learning_rate},
          {"changes.width", &changes.width},
          {"changes.added_convs", &changes.added_convs},
          {"changes.added_dense", &changes.added_dense},
          {"changes.dropout", &changes.dropout}};
}

std::optional<FieldRef> FieldAt(network::Configuration& configuration, const std::string& path) {
  std::vector<Field> fields;
  if (configuration.IsProgram()) {
    fields = FieldsOf(configuration);
  } else if (absl::StartsWith(path, "network.layers")) {
    AddLayers("network.layers", configuration.network.layers, fields);
  } else {
    AddTraining(configuration.training, fields);
  }
  for (const Field& field : fields) {
    if (field.path == path) return field.ref;
  }
  return std::nullopt;
}

bool IsWhole(const FieldRef& field) {
  return std::holds_alternative<int*>(field) || std::holds_alternative<network::Extent*>(field);
}

bool IsNumber(const FieldRef& field) {
  return IsWhole(field) || std::holds_alternative<double*>(field);
}

double Get(const FieldRef& field) {
  if (const auto* whole = std::get_if<int*>(&field)) return **whole;
  if (const auto* sides = std::get_if<network::Extent*>(&field)) return (*sides)->height;
  return *std::get<double*>(field);
}

void Set(const FieldRef& field, double value) {
  if (const auto* real = std::get_if<double*>(&field)) {
    **real = value;
    return;
  }
  const int whole = static_cast<int>(std::lround(value));
  if (const auto* sides = std::get_if<network::Extent*>(&field)) {
    **sides = {whole, whole};
  } else {
    *std::get<int*>(field) = whole;
  }
}

bool Set(const FieldRef& field, const std::string& text) {
  if (IsNumber(field)) {
    constexpr double kIntMax = 1 << 30;
    const std::optional<double> value = ParseNumber(text);
    if (!value) return false;
    if (IsWhole(field) && (*value != std::floor(*value) || std::abs(*value) > kIntMax))
      return false;
    Set(field, *value);
    return true;
  }
  if (const auto* name = std::get_if<std::string*>(&field)) {
    **name = text;
    return true;
  }
  return std::visit(
      [&](auto* word) {
        using Kind = std::decay_t<decltype(*word)>;
        if constexpr (std::is_enum_v<Kind> || std::is_same_v<Kind, bool>) {
          const std::vector<std::string> words = Words<Kind>();
          const auto found = std::find(words.begin(), words.end(), text);
          if (found == words.end()) return false;
          *word = static_cast<Kind>(found - words.begin());
          return true;
        }
        return false;
      },
      field);
}

std::string Expected(const FieldRef& field) {
  if (IsWhole(field)) return "a whole number";
  if (std::holds_alternative<double*>(field)) return "a finite number";
  if (std::holds_alternative<std::string*>(field)) return "text";
  return std::visit(
      [](auto* word) -> std::string {
        using Kind = std::decay_t<decltype(*word)>;
        if constexpr (std::is_enum_v<Kind> || std::is_same_v<Kind, bool>) {
          return absl::StrJoin(Words<Kind>(), " or ");
        }
        return "";
      },
      field);
}

std::optional<double> ParseNumber(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

}  // namespace trainyard::core
