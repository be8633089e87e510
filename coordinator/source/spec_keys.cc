#include "coordinator/source/spec_keys.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "coordinator/source/text.h"

namespace trainyard::coordinator {
namespace {

// Names that other tools give to our keys.
constexpr std::pair<std::string_view, std::string_view> kSynonyms[] = {
    {"learning_rate", "lr"},
    {"optimiser", "optimizer"},
    {"batch", "batch_size"},
    {"batchsize", "batch_size"},
    {"initialization", "initialisation"},
    {"initializer", "initialisation"},
    {"normalize", "normalise"},
    {"augment", "augmentation"},
    {"scheduler", "schedule"},
    {"lr_schedule", "schedule"},
    {"training", "train"},
    {"dataset", "data"},
    {"model", "network"},
    {"num_epochs", "epochs"},
    {"kernel_size", "kernel"},
    {"pool_size", "kernel"},
    {"strides", "stride"},
    {"use_bias", "bias"},
    {"out_channels", "filters"},
    {"channels", "filters"},
    {"batchnorm", "batch_norm"},
    {"maxpool", "max_pool"},
    {"avgpool", "avg_pool"},
    {"average_pool", "avg_pool"},
    {"linear", "dense"},
    {"fc", "dense"},
    {"conv2d", "conv"},
    {"gap", "global_avg_pool"},
    {"block", "residual"},
    {"val", "validation"},
    {"p", "rate"},
    {"alpha", "negative_slope"},
    {"type", "kind"},
    {"val_split", "fraction"},
    {"mem", "memory"},
    {"cpus", "cores"},
    {"image", "images"},
};

}  // namespace

const std::vector<SpecSection>& SpecSections() {
  static const auto* sections = new std::vector<SpecSection>{
      {"",
       {"name", "data", "validation", "network", "train", "target", "tune", "budget", "checkpoint",
        "resources", "program", "changes", "weights"}},
      {"program", {"command", "framework", "network", "data"}, "command"},
      {"changes",
       {"epochs", "batch_size", "optimizer", "lr", "width", "added_convs", "added_dense",
        "dropout"}},
      {"data", {"format", "train", "validation", "test", "image", "class_names", "classes"}},
      {"set", {"images", "labels"}, "images"},
      {"file", {"path", "url", "sha256"}, "path"},
      {"image", {"channels", "height", "width"}},
      {"validation", {"fraction", "seed"}, "fraction"},
      {"network", {"input", "layers"}, "layers"},
      {"layer",
       {"conv", "batch_norm", "relu", "leaky_relu", "max_pool", "avg_pool", "global_avg_pool",
        "dropout", "flatten", "dense", "residual"}},
      {"conv", {"filters", "kernel", "stride", "padding", "groups", "bias"}},
      {"padding", {"top", "bottom", "left", "right"}},
      {"batch_norm", {"momentum", "epsilon"}},
      {"relu", {}},
      {"leaky_relu", {"negative_slope"}, "negative_slope"},
      {"max_pool", {"kernel", "stride", "padding"}, "kernel"},
      {"avg_pool", {"kernel", "stride", "padding"}, "kernel"},
      {"global_avg_pool", {}},
      {"dropout", {"rate"}, "rate"},
      {"flatten", {}},
      {"dense", {"units", "bias"}, "units"},
      {"residual", {"layers", "shortcut", "projection"}, "layers"},
      {"train",
       {"epochs", "batch_size", "optimizer", "lr", "momentum", "nesterov", "beta1", "beta2",
        "epsilon", "weight_decay", "clip_norm", "schedule", "label_smoothing", "augmentation",
        "initialisation", "precision", "seed"}},
      {"schedule",
       {"kind", "warmup_epochs", "step_epochs", "step_factor", "final_factor", "peak_at"},
       "kind"},
      {"augmentation", {"flip", "shift", "cutout", "normalise"}},
      {"target", {"metric", "at_least", "at_most", "confidence"}},
      {"tune",
       {"enabled", "max_trials", "algorithm", "parallel", "patience", "inherit", "in_flight",
        "seed", "eta", "min_epochs", "space"},
       "enabled"},
      {"range", {"min", "max", "log", "step"}},
      {"budget", {"trials", "time", "epochs"}},
      {"checkpoint", {"every_steps", "every_seconds"}},
      {"resources", {"pool", "gpu", "gpu_memory", "labels", "priority"}},
  };
  return *sections;
}

const SpecSection& SectionNamed(const std::vector<SpecSection>& sections, std::string_view name) {
  for (const SpecSection& section : sections) {
    if (section.name == name) return section;
  }
  throw std::logic_error("no section is called " + std::string(name));
}

const SpecSection& SpecSectionNamed(std::string_view name) {
  return SectionNamed(SpecSections(), name);
}

std::string_view NearestKey(const SpecSection& section, std::string_view word) {
  for (auto [other, ours] : kSynonyms) {
    bool here = std::find(section.keys.begin(), section.keys.end(), ours) != section.keys.end();
    if (word == other && here) return ours;
  }
  return NearestWord(word, section.keys);
}

}  // namespace trainyard::coordinator
