#include "coordinator/source/spec_writer.h"

#include <fmt/format.h>
#include <yaml-cpp/emitter.h>
#include <yaml-cpp/emittermanip.h>

#include <map>
#include <stdexcept>
#include <string>

#include "coordinator/source/spec_values.h"
#include "proto/spec_convert.h"

namespace trainyard::coordinator {
namespace {

using YAML::BeginMap;
using YAML::BeginSeq;
using YAML::Emitter;
using YAML::EndMap;
using YAML::EndSeq;
using YAML::Flow;

// The shortest text that reads back as the same number.
std::string Real(double value) { return fmt::format("{}", value); }

template <class T>
void Entry(Emitter& out, const char* key, const T& value) {
  out << YAML::Key << key << YAML::Value << value;
}
void Entry(Emitter& out, const char* key, double value) { Entry(out, key, Real(value)); }

// ---- Data --------------------------------------------------------------------------------------

void WriteFile(Emitter& out, const v1::DataFile& file) {
  const std::string& place = !file.url().empty()         ? file.url()
                             : !file.host_path().empty() ? file.host_path()
                                                         : file.path();
  if (file.sha256().empty()) {
    out << place;
    return;
  }
  out << Flow << BeginMap;
  Entry(out, file.url().empty() ? "path" : "url", place);
  Entry(out, "sha256", file.sha256());
  out << EndMap;
}

void WriteFiles(Emitter& out, const char* key,
                const google::protobuf::RepeatedPtrField<v1::DataFile>& files) {
  if (files.empty()) return;
  out << YAML::Key << key << YAML::Value;
  if (files.size() == 1) {
    WriteFile(out, files[0]);
    return;
  }
  out << BeginSeq;
  for (const v1::DataFile& file : files) WriteFile(out, file);
  out << EndSeq;
}

void WriteSet(Emitter& out, const char* key, const v1::DataSet& set) {
  out << YAML::Key << key << YAML::Value << BeginMap;
  WriteFiles(out, "images", set.images());
  WriteFiles(out, "labels", set.labels());
  out << EndMap;
}

void WriteShape(Emitter& out, const char* key, int channels, int height, int width) {
  out << YAML::Key << key << YAML::Value << Flow << BeginMap;
  Entry(out, "channels", channels);
  Entry(out, "height", height);
  Entry(out, "width", width);
  out << EndMap;
}

void WriteData(Emitter& out, const v1::Data& data) {
  const char* format = data.format() == v1::DATA_FORMAT_IDX     ? "idx"
                       : data.format() == v1::DATA_FORMAT_CIFAR ? "cifar"
                                                                : "folder";
  out << YAML::Key << "data" << YAML::Value << BeginMap;
  Entry(out, "format", format);
  WriteSet(out, "train", data.train());
  if (data.has_validation()) WriteSet(out, "validation", data.validation());
  if (data.has_test()) WriteSet(out, "test", data.test());
  if (data.has_image()) {
    WriteShape(out, "image", data.image().channels(), data.image().height(), data.image().width());
  }
  if (!data.class_names().empty()) {
    out << YAML::Key << "class_names" << YAML::Value << Flow << BeginSeq;
    for (const std::string& name : data.class_names()) out << name;
    out << EndSeq;
  }
  if (data.classes() != 0) Entry(out, "classes", data.classes());
  out << EndMap;
}

// ---- Network -----------------------------------------------------------------------------------

void WriteLayers(Emitter& out, const std::vector<network::Layer>& layers);

void WriteExtent(Emitter& out, const char* key, const network::Extent& extent) {
  out << YAML::Key << key << YAML::Value;
  if (extent.height == extent.width) {
    out << extent.height;
  } else {
    out << Flow << BeginSeq << extent.height << extent.width << EndSeq;
  }
}

void WritePadding(Emitter& out, const network::Padding& padding) {
  if (padding == network::Padding{}) return;
  out << YAML::Key << "padding" << YAML::Value;
  if (padding.same) {
    out << "same";
  } else if (padding.top == padding.bottom && padding.left == padding.right &&
             padding.top == padding.left) {
    out << padding.top;
  } else {
    out << Flow << BeginMap;
    Entry(out, "top", padding.top);
    Entry(out, "bottom", padding.bottom);
    Entry(out, "left", padding.left);
    Entry(out, "right", padding.right);
    out << EndMap;
  }
}

// Writes the value of `- kind: value`; only what differs from the defaults.
struct LayerValue {
  Emitter& out;

  void operator()(const network::Conv& conv) const {
    out << Flow << BeginMap;
    Entry(out, "filters", conv.filters);
    WriteExtent(out, "kernel", conv.kernel);
    if (conv.stride != network::Extent{1, 1}) WriteExtent(out, "stride", conv.stride);
    WritePadding(out, conv.padding);
    if (conv.groups != 1) Entry(out, "groups", conv.groups);
    if (!conv.bias) Entry(out, "bias", false);
    out << EndMap;
  }
  void operator()(const network::BatchNorm& norm) const {
    out << Flow << BeginMap;
    Entry(out, "momentum", norm.momentum);
    Entry(out, "epsilon", norm.epsilon);
    out << EndMap;
  }
  void operator()(const network::Pool& pool) const {
    out << Flow << BeginMap;
    WriteExtent(out, "kernel", pool.kernel);
    if (pool.stride != pool.kernel) WriteExtent(out, "stride", pool.stride);
    WritePadding(out, pool.padding);
    out << EndMap;
  }
  void operator()(const network::Relu& relu) const { out << Real(relu.negative_slope); }
  void operator()(const network::Dropout& dropout) const { out << Real(dropout.rate); }
  void operator()(const network::Dense& dense) const {
    if (dense.bias) {
      out << dense.units;
      return;
    }
    out << Flow << BeginMap;
    Entry(out, "units", dense.units);
    Entry(out, "bias", false);
    out << EndMap;
  }
  void operator()(const network::Residual& residual) const {
    out << BeginMap << YAML::Key << "layers" << YAML::Value;
    WriteLayers(out, residual.body);
    if (!residual.shortcut.empty()) {
      out << YAML::Key << "shortcut" << YAML::Value;
      WriteLayers(out, residual.shortcut);
    }
    out << EndMap;
  }
  void operator()(const network::GlobalAvgPool&) const {}
  void operator()(const network::Flatten&) const {}
};

// A layer whose kind alone says everything: `- relu`.
bool IsWord(const network::Layer& layer) {
  if (const auto* norm = std::get_if<network::BatchNorm>(&layer.op)) {
    return *norm == network::BatchNorm{};
  }
  return KindName(layer) == "relu" || std::holds_alternative<network::GlobalAvgPool>(layer.op) ||
         std::holds_alternative<network::Flatten>(layer.op);
}

void WriteLayers(Emitter& out, const std::vector<network::Layer>& layers) {
  out << BeginSeq;
  for (const network::Layer& layer : layers) {
    if (IsWord(layer)) {
      out << KindName(layer);
      continue;
    }
    out << BeginMap << YAML::Key << KindName(layer) << YAML::Value;
    std::visit(LayerValue{out}, layer.op);
    out << EndMap;
  }
  out << EndSeq;
}

void WriteNetwork(Emitter& out, const network::Network& network) {
  out << YAML::Key << "network" << YAML::Value << BeginMap;
  if (network.input != network::Shape{}) {
    WriteShape(out, "input", network.input.channels, network.input.height, network.input.width);
  }
  out << YAML::Key << "layers" << YAML::Value;
  WriteLayers(out, network.layers);
  out << EndMap;
}

// ---- Training ----------------------------------------------------------------------------------

const char* Word(network::ScheduleKind kind) {
  switch (kind) {
    case network::ScheduleKind::kConstant:
      return "constant";
    case network::ScheduleKind::kStep:
      return "step";
    case network::ScheduleKind::kCosine:
      return "cosine";
    case network::ScheduleKind::kOneCycle:
      return "one_cycle";
  }
  throw std::logic_error("unknown schedule");
}

void WriteSchedule(Emitter& out, const network::Schedule& schedule) {
  out << YAML::Key << "schedule" << YAML::Value << BeginMap;
  Entry(out, "kind", Word(schedule.kind));
  Entry(out, "warmup_epochs", schedule.warmup_epochs);
  Entry(out, "step_epochs", schedule.step_epochs);
  Entry(out, "step_factor", schedule.step_factor);
  Entry(out, "final_factor", schedule.final_factor);
  Entry(out, "peak_at", schedule.peak_at);
  out << EndMap;
}

void WriteTraining(Emitter& out, const network::Training& training) {
  const network::Optimizer& optimizer = training.optimizer;
  out << YAML::Key << "train" << YAML::Value << BeginMap;
  Entry(out, "epochs", training.epochs);
  Entry(out, "batch_size", training.batch_size);
  Entry(out, "optimizer", optimizer.kind == network::OptimizerKind::kSgd ? "sgd" : "adamw");
  Entry(out, "lr", optimizer.learning_rate);
  Entry(out, "momentum", optimizer.momentum);
  Entry(out, "nesterov", optimizer.nesterov);
  Entry(out, "beta1", optimizer.beta1);
  Entry(out, "beta2", optimizer.beta2);
  Entry(out, "epsilon", optimizer.epsilon);
  Entry(out, "weight_decay", optimizer.weight_decay);
  Entry(out, "clip_norm", optimizer.clip_norm);
  WriteSchedule(out, training.schedule);
  Entry(out, "label_smoothing", training.label_smoothing);
  out << YAML::Key << "augmentation" << YAML::Value << Flow << BeginMap;
  Entry(out, "flip", training.augmentation.flip);
  Entry(out, "shift", training.augmentation.shift);
  Entry(out, "cutout", training.augmentation.cutout);
  Entry(out, "normalise", training.augmentation.normalise);
  out << EndMap;
  Entry(out, "initialisation",
        training.initialisation == network::Initialisation::kHe ? "he" : "glorot");
  Entry(out, "precision", network::PrecisionName(training.precision));
  Entry(out, "seed", training.seed);
  out << EndMap;
}

void WriteNative(Emitter& out, const JobSpec& spec) {
  WriteData(out, spec.data);
  if (!spec.data.has_validation()) {
    out << YAML::Key << "validation" << YAML::Value << Flow << BeginMap;
    Entry(out, "fraction", spec.validation.fraction());
    Entry(out, "seed", spec.validation.seed());
    out << EndMap;
  }
  WriteNetwork(out, spec.configuration.network);
  if (spec.weights.ByteSizeLong() != 0) {
    out << YAML::Key << "weights" << YAML::Value;
    WriteFile(out, spec.weights);
  }
  WriteTraining(out, spec.configuration.training);
}

// ---- Programs ----------------------------------------------------------------------------------

void WriteProgram(Emitter& out, const v1::Program& program) {
  out << YAML::Key << "program" << YAML::Value << BeginMap;
  if (!program.command().empty()) {
    out << YAML::Key << "command" << YAML::Value << Flow << BeginSeq;
    for (const std::string& word : program.command()) out << YAML::DoubleQuoted << word;
    out << EndSeq;
  }
  if (!program.framework().empty()) Entry(out, "framework", program.framework());
  Entry(out, "network", program.network());
  if (!program.data().empty()) {
    out << YAML::Key << "data" << YAML::Value << BeginMap;
    for (const v1::ProgramData& data : program.data()) {
      out << YAML::Key << data.name() << YAML::Value;
      WriteFile(out, data.file());
    }
    out << EndMap;
  }
  out << EndMap;
}

void WriteChanges(Emitter& out, const network::ProgramChanges& changes) {
  if (changes == network::ProgramChanges{}) return;
  out << YAML::Key << "changes" << YAML::Value << Flow << BeginMap;
  const auto entry = [&out]<typename T>(const char* key, const T& value) {
    if (value != T{}) Entry(out, key, value);
  };
  entry("epochs", changes.epochs);
  entry("batch_size", changes.batch_size);
  entry("optimizer", changes.optimizer);
  entry("lr", changes.learning_rate);
  entry("width", changes.width);
  entry("added_convs", changes.added_convs);
  entry("added_dense", changes.added_dense);
  entry("dropout", changes.dropout);
  out << EndMap;
}

// ---- Limits ------------------------------------------------------------------------------------

void WriteTarget(Emitter& out, const v1::Target& target) {
  const bool accuracy = target.metric() != v1::Target::VAL_LOSS;
  if (target.confidence() == 0) {
    Entry(out, "target",
          std::string(accuracy ? "val_accuracy >= " : "val_loss <= ") + Real(target.bound()));
    return;
  }
  out << YAML::Key << "target" << YAML::Value << Flow << BeginMap;
  Entry(out, "metric", accuracy ? "val_accuracy" : "val_loss");
  Entry(out, accuracy ? "at_least" : "at_most", target.bound());
  Entry(out, "confidence", target.confidence());
  out << EndMap;
}

void WriteDimension(Emitter& out, const v1::Dimension& dimension) {
  out << YAML::Key << dimension.path() << YAML::Value;
  if (!dimension.networks().empty()) {
    out << BeginSeq;
    for (const v1::Network& network : dimension.networks()) {
      WriteLayers(out, trainyard::FromProto(network).layers);
    }
    out << EndSeq;
    return;
  }
  if (!dimension.choices().empty()) {
    out << Flow << BeginSeq;
    for (const std::string& choice : dimension.choices()) out << choice;
    out << EndSeq;
    return;
  }
  out << Flow << BeginMap;
  Entry(out, "min", dimension.min());
  Entry(out, "max", dimension.max());
  if (dimension.log()) Entry(out, "log", true);
  if (dimension.step() != 0) Entry(out, "step", dimension.step());
  out << EndMap;
}

const char* Word(v1::Tune::Algorithm algorithm) {
  switch (algorithm) {
    case v1::Tune::RANDOM:
      return "random";
    case v1::Tune::TPE:
      return "tpe";
    case v1::Tune::ASHA:
      return "asha";
    default:
      return "diagnose";
  }
}

void WriteTune(Emitter& out, const v1::Tune& tune) {
  out << YAML::Key << "tune" << YAML::Value << BeginMap;
  Entry(out, "enabled", tune.enabled());
  Entry(out, "max_trials", tune.max_trials());
  Entry(out, "algorithm", Word(tune.algorithm()));
  // Zero in specs that were stored before there was a choice.
  if (tune.parallel() != 0) Entry(out, "parallel", tune.parallel());
  Entry(out, "patience", tune.patience());
  Entry(out, "inherit", tune.inherit());
  Entry(out, "in_flight", tune.in_flight());
  Entry(out, "seed", tune.seed());
  if (tune.eta() != 0) Entry(out, "eta", tune.eta());
  if (tune.min_epochs() != 0) Entry(out, "min_epochs", tune.min_epochs());
  if (!tune.space().empty()) {
    out << YAML::Key << "space" << YAML::Value << BeginMap;
    for (const v1::Dimension& dimension : tune.space()) WriteDimension(out, dimension);
    out << EndMap;
  }
  out << EndMap;
}

void WriteLimits(Emitter& out, const JobSpec& spec) {
  WriteTarget(out, spec.target);
  WriteTune(out, spec.tune);
  const v1::Budget& budget = spec.budget;
  if (budget.trials() != 0 || budget.time_ms() != 0 || budget.epochs() != 0) {
    out << YAML::Key << "budget" << YAML::Value << Flow << BeginMap;
    if (budget.trials() != 0) Entry(out, "trials", budget.trials());
    if (budget.time_ms() != 0) Entry(out, "time", Real(budget.time_ms() / 1e3) + "s");
    if (budget.epochs() != 0) Entry(out, "epochs", budget.epochs());
    out << EndMap;
  }
  out << YAML::Key << "checkpoint" << YAML::Value << Flow << BeginMap;
  Entry(out, "every_steps", spec.checkpoint.every_steps());
  Entry(out, "every_seconds", spec.checkpoint.every_ms() / 1e3);
  out << EndMap;
}

void WriteResources(Emitter& out, const v1::Resources& resources) {
  const char* gpu = resources.gpu() == v1::Resources::NONE       ? "none"
                    : resources.gpu() == v1::Resources::REQUIRED ? "required"
                                                                 : "any";
  out << YAML::Key << "resources" << YAML::Value << Flow << BeginMap;
  if (!resources.pool().empty()) Entry(out, "pool", resources.pool());
  Entry(out, "gpu", gpu);
  if (resources.gpu_memory_bytes() != 0) {
    Entry(out, "gpu_memory", WriteBytes(resources.gpu_memory_bytes()));
  }
  if (!resources.labels().empty()) {
    out << YAML::Key << "labels" << YAML::Value << Flow << BeginMap;
    // Sorted, so that the same spec is written the same.
    std::map<std::string, std::string> labels(resources.labels().begin(), resources.labels().end());
    for (const auto& [name, value] : labels) Entry(out, name.c_str(), value);
    out << EndMap;
  }
  Entry(out, "priority", resources.priority());
  out << EndMap;
}

}  // namespace

std::string WriteSpec(const JobSpec& spec) {
  Emitter out;
  out << BeginMap;
  if (!spec.name.empty()) Entry(out, "name", spec.name);
  if (spec.IsProgram()) {
    WriteProgram(out, spec.program);
    WriteChanges(out, spec.configuration.changes);
  } else {
    WriteNative(out, spec);
  }
  WriteLimits(out, spec);
  WriteResources(out, spec.resources);
  out << EndMap;
  return std::string(out.c_str(), out.size()) + "\n";
}

}  // namespace trainyard::coordinator
