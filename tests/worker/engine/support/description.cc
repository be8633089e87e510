#include "tests/worker/engine/support/description.h"

#include <stdexcept>
#include <string>

namespace trainyard::engine {
namespace {

using nlohmann::json;

network::Extent ParseExtent(const json& options, const char* key, network::Extent fallback) {
  if (!options.contains(key)) return fallback;
  return {options[key][0].get<int>(), options[key][1].get<int>()};
}

network::Padding ParsePadding(const json& options) {
  network::Padding padding;
  if (!options.contains("padding")) return padding;
  const json& value = options["padding"];
  if (value == "same") {
    padding.same = true;
    return padding;
  }
  padding.top = value[0];
  padding.bottom = value[1];
  padding.left = value[2];
  padding.right = value[3];
  return padding;
}

network::Conv ParseConv(const json& options) {
  network::Conv conv;
  conv.filters = options["filters"];
  conv.kernel = ParseExtent(options, "kernel", conv.kernel);
  conv.stride = ParseExtent(options, "stride", conv.stride);
  conv.padding = ParsePadding(options);
  conv.groups = options.value("groups", 1);
  conv.bias = options.value("bias", true);
  return conv;
}

network::Pool ParsePool(const json& options, network::PoolKind kind) {
  network::Pool pool;
  pool.kind = kind;
  pool.kernel = ParseExtent(options, "kernel", pool.kernel);
  pool.stride = ParseExtent(options, "stride", pool.stride);
  pool.padding = ParsePadding(options);
  return pool;
}

std::vector<network::Layer> ParseLayers(const json& layers);

network::Layer ParseLayer(const std::string& kind, const json& options) {
  if (kind == "conv") return {ParseConv(options)};
  if (kind == "batch_norm") {
    return {network::BatchNorm{options.value("momentum", 0.9), options.value("epsilon", 1e-5)}};
  }
  if (kind == "relu") return {network::Relu{options.value("slope", 0.0)}};
  if (kind == "max_pool") return {ParsePool(options, network::PoolKind::kMax)};
  if (kind == "avg_pool") return {ParsePool(options, network::PoolKind::kAverage)};
  if (kind == "global_avg_pool") return {network::GlobalAvgPool{}};
  if (kind == "dropout") return {network::Dropout{options.value("rate", 0.5)}};
  if (kind == "flatten") return {network::Flatten{}};
  if (kind == "dense") return {network::Dense{options["units"], options.value("bias", true)}};
  if (kind == "residual") {
    return {network::Residual{ParseLayers(options["body"]),
                              ParseLayers(options.value("shortcut", json::array()))}};
  }
  throw std::runtime_error("unknown kind of layer: " + kind);
}

std::vector<network::Layer> ParseLayers(const json& layers) {
  std::vector<network::Layer> parsed;
  for (const json& layer : layers) {
    const auto entry = layer.begin();
    parsed.push_back(ParseLayer(entry.key(), entry.value()));
  }
  return parsed;
}

network::ScheduleKind ParseScheduleKind(const std::string& kind) {
  if (kind == "constant") return network::ScheduleKind::kConstant;
  if (kind == "step") return network::ScheduleKind::kStep;
  if (kind == "cosine") return network::ScheduleKind::kCosine;
  if (kind == "one_cycle") return network::ScheduleKind::kOneCycle;
  throw std::runtime_error("unknown kind of schedule: " + kind);
}

network::Precision ParsePrecision(const std::string& precision) {
  if (precision == "fp32") return network::Precision::kFp32;
  if (precision == "tf32") return network::Precision::kTf32;
  if (precision == "bf16") return network::Precision::kBf16;
  throw std::runtime_error("unknown precision: " + precision);
}

void ParseOptimizer(const json& options, network::Optimizer* optimizer) {
  network::Optimizer& o = *optimizer;
  if (options.value("kind", "sgd") == "adamw") o.kind = network::OptimizerKind::kAdamW;
  o.learning_rate = options.value("learning_rate", o.learning_rate);
  o.momentum = options.value("momentum", o.momentum);
  o.nesterov = options.value("nesterov", o.nesterov);
  o.beta1 = options.value("beta1", o.beta1);
  o.beta2 = options.value("beta2", o.beta2);
  o.epsilon = options.value("epsilon", o.epsilon);
  o.weight_decay = options.value("weight_decay", o.weight_decay);
  o.clip_norm = options.value("clip_norm", o.clip_norm);
}

}  // namespace

network::Network ParseNetwork(const json& description) {
  const json& input = description["input"];
  return {
      {input[0], input[1], input[2]}, description["classes"], ParseLayers(description["layers"])};
}

network::Training ParseTraining(const json& description) {
  network::Training training;
  training.epochs = description.value("epochs", training.epochs);
  training.batch_size = description.value("batch_size", training.batch_size);
  training.label_smoothing = description.value("label_smoothing", training.label_smoothing);
  training.seed = description.value("seed", training.seed);
  training.precision = ParsePrecision(description.value("precision", "fp32"));
  ParseOptimizer(description.value("optimizer", json::object()), &training.optimizer);
  const json schedule = description.value("schedule", json::object());
  network::Schedule& s = training.schedule;
  s.kind = ParseScheduleKind(schedule.value("kind", "cosine"));
  s.warmup_epochs = schedule.value("warmup_epochs", s.warmup_epochs);
  s.final_factor = schedule.value("final_factor", s.final_factor);
  s.peak_at = schedule.value("peak_at", s.peak_at);
  const json augmentation = description.value("augmentation", json::object());
  training.augmentation.flip = augmentation.value("flip", false);
  training.augmentation.shift = augmentation.value("shift", 0);
  training.augmentation.cutout = augmentation.value("cutout", 0);
  return training;
}

}  // namespace trainyard::engine
