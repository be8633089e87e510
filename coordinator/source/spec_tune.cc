// `tune`: whether, how often and how the next trial is found, and the space that a search has.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/core/tuner/asha.h"
#include "coordinator/core/tuner/space.h"
#include "coordinator/source/spec_parts.h"
#include "coordinator/source/text.h"
#include "proto/spec_convert.h"

namespace trainyard::coordinator {
namespace {

using Kind = YamlNode::Kind;

constexpr size_t kDimensionsMax = 32;
constexpr size_t kChoicesMax = 64;

// min, max, log and step.
bool ReadRange(const YamlNode& node, const std::string& path, v1::Dimension* dimension,
               SpecProblems* problems) {
  const Section section(&node, path, "range", problems);
  double min = 0, max = 0, step = 0;
  bool log = false;
  bool good = true;
  for (const auto& [key, value] : {std::pair("min", &min), {"max", &max}, {"step", &step}}) {
    if (const YamlNode* number = section.Find(key)) {
      good = ReadReal(*number, section.PathOf(key), value, problems) && good;
    } else if (value != &step) {
      good = section.Require(key, "both ends of the range") && good;
    }
  }
  section.Boolean("log", &log);
  if (section.Find("step") && good && step <= 0) {
    section.Problem("step", fmt::format("found {}, expected a number greater than 0", step));
    good = false;
  }
  dimension->set_min(min);
  dimension->set_max(max);
  dimension->set_log(log);
  dimension->set_step(step);
  return good;
}

bool ReadChoices(const YamlNode& node, const std::string& path, v1::Dimension* dimension,
                 SpecProblems* problems) {
  if (node.items.empty() || node.items.size() > kChoicesMax) {
    problems->Add(node.place, path,
                  fmt::format("found a list of {}, expected 1 to {} choices", node.items.size(),
                              kChoicesMax));
    return false;
  }
  const size_t before = problems->list().size();
  for (size_t i = 0; i < node.items.size(); ++i) {
    const YamlNode& item = node.items[i];
    const std::string here = fmt::format("{}[{}]", path, i);
    if (dimension->path() == "network") {
      network::Network network;
      ReadNetworkValue(item, here, &network, problems);
      if (network.input != network::Shape{}) {
        problems->Add(item.place, here + ".input",
                      "found an input, expected none: all choices look at the same images");
      }
      *dimension->add_networks() = trainyard::ToProto(network);
    } else {
      ReadText(item, here, dimension->add_choices(), problems);
    }
  }
  return problems->list().size() == before;
}

// What somebody who wrote this path may have meant.
std::string NearestPath(const std::string& path, const std::vector<std::string_view>& paths) {
  if (std::string_view nearest = NearestWord(path, paths); !nearest.empty()) {
    return std::string(nearest);
  }
  // "learning_rate", "train.learning_rate": by its last word.
  const std::string word = path.substr(path.rfind('.') + 1);
  for (const char* section : {"train", "changes"}) {
    const std::string near =
        fmt::format("{}.{}", section, NearestKey(SpecSectionNamed(section), word));
    if (std::find(paths.begin(), paths.end(), near) != paths.end()) return near;
  }
  return "";
}

std::string UnknownPath(const std::string& path, const network::Configuration& first,
                        const std::vector<std::string_view>& paths) {
  const std::string nearest = NearestPath(path, paths);
  if (!nearest.empty()) {
    return fmt::format("found the unknown path {}, did you mean {}?", Quoted(path), nearest);
  }
  return fmt::format(
      "found the unknown path {}, expected {}", Quoted(path),
      first.IsProgram()
          ? JoinOr(paths)
          : "a key of train such as train.lr, a layer's size such as "
            "network.layers[0].conv.filters, network.width, network.depth, network.dropout or "
            "network");
}

void ReadSpace(const YamlNode& node, const network::Configuration& first, v1::Tune* tune,
               SpecProblems* problems) {
  const std::string path = "tune.space";
  if (node.kind != Kind::kMap || node.entries.empty() || node.entries.size() > kDimensionsMax) {
    problems->Add(
        node.place, path,
        fmt::format("{}, expected a map of 1 to {} paths, such as train.lr, to what they "
                    "may be: {{min: 0.001, max: 0.1}} or [0.01, 0.1]",
                    node.kind == Kind::kMap ? fmt::format("found {} entries", node.entries.size())
                                            : Describe(node),
                    kDimensionsMax));
    return;
  }
  const std::vector<std::string> known = core::SpacePaths(first);
  const std::vector<std::string_view> paths(known.begin(), known.end());
  for (const YamlEntry& entry : node.entries) {
    v1::Dimension dimension;
    dimension.set_path(entry.key);
    const std::string here = path + "." + entry.key;
    bool good = false;
    if (std::find(paths.begin(), paths.end(), entry.key) == paths.end()) {
      problems->Add(entry.place, path, UnknownPath(entry.key, first, paths));
    } else if (entry.value.kind == Kind::kSequence) {
      good = ReadChoices(entry.value, here, &dimension, problems);
    } else if (entry.key == "network") {
      problems->Add(entry.value.place, here,
                    Describe(entry.value) + ", expected a list of networks");
    } else if (entry.value.kind == Kind::kMap) {
      good = ReadRange(entry.value, here, &dimension, problems);
    } else {
      problems->Add(entry.value.place, here,
                    Describe(entry.value) +
                        ", expected a range such as {min: 0.001, max: 0.1} or a list of choices");
    }
    if (good) *tune->add_space() = std::move(dimension);
  }
}

// The algorithm, and whether it fits what there is to search.
void ReadAlgorithm(const Section& section, v1::Tune* tune) {
  const bool space = section.Find("space") != nullptr;
  v1::Tune::Algorithm algorithm = space ? v1::Tune::TPE : v1::Tune::DIAGNOSE;
  section.Word<v1::Tune::Algorithm>("algorithm",
                                    {{"diagnose", v1::Tune::DIAGNOSE},
                                     {"random", v1::Tune::RANDOM},
                                     {"tpe", v1::Tune::TPE},
                                     {"asha", v1::Tune::ASHA}},
                                    &algorithm);
  if (space && algorithm == v1::Tune::DIAGNOSE) {
    section.Problem("algorithm",
                    "found diagnose beside a space, expected random, tpe or asha, or no space");
  } else if (!space && algorithm != v1::Tune::DIAGNOSE) {
    section.Problem("algorithm", Describe(*section.Find("algorithm")) +
                                     " without a space to search, expected tune.space beside it");
  }
  tune->set_algorithm(algorithm);
}

// Halving needs a rung below the last epoch, and trials that are equally long.
void CheckHalving(const Section& section, const network::Configuration& first, const v1::Tune& tune,
                  SpecProblems* problems) {
  constexpr int kTrialsMax = 1'000;
  if (tune.algorithm() != v1::Tune::ASHA) return;
  if (tune.max_trials() > kTrialsMax) {
    section.Problem("max_trials",
                    fmt::format("found {} beside asha, expected at most {}: each decision replays "
                                "all those before it",
                                tune.max_trials(), kTrialsMax));
  }
  const int epochs = first.epochs();
  const int64_t least = int64_t{tune.min_epochs()} * tune.eta();
  if (epochs < least) {
    const char* key = first.IsProgram() ? "changes.epochs" : "train.epochs";
    section.Problem("algorithm",
                    fmt::format("found asha with {} of {}, expected at least {} (min_epochs times "
                                "eta), so that trials can halt once on their way",
                                key, epochs, least));
  }
  for (const v1::Dimension& dimension : tune.space()) {
    if (dimension.path() != "train.epochs" && dimension.path() != "changes.epochs") continue;
    problems->Add(section.Find("space")->Find(dimension.path())->place,
                  section.PathOf("space") + "." + dimension.path(),
                  "found beside asha, expected none: asha itself decides how long a trial trains");
  }
}

}  // namespace

void ReadTune(const Section& root, const network::Configuration& first, v1::Tune* tune,
              SpecProblems* problems) {
  constexpr int kTrialsMax = 10'000;
  constexpr int kParallelMax = 256;
  constexpr int kEtaMax = 100;
  constexpr int kEpochsMax = 100'000;
  const core::TuningLimits defaults;
  const YamlNode* node = root.Find("tune");
  bool enabled = defaults.enabled;
  const bool word = node != nullptr && node->kind == Kind::kScalar;  // `tune: false`
  if (word) ReadBoolean(*node, "tune", &enabled, problems);
  const Section section(word ? nullptr : node, "tune", "tune", problems);
  int32_t max_trials = kMaxTrials, parallel = defaults.parallel, patience = defaults.patience,
          eta = defaults.eta, min_epochs = defaults.min_epochs;
  bool inherit = defaults.inherit, in_flight = defaults.in_flight;
  uint64_t seed = defaults.seed;
  section.Boolean("enabled", &enabled);
  section.Integer("max_trials", 1, kTrialsMax, &max_trials);
  section.Integer("parallel", 1, kParallelMax, &parallel);
  section.Integer("patience", 0, kTrialsMax, &patience);
  section.Boolean("inherit", &inherit);
  section.Boolean("in_flight", &in_flight);
  section.Seed("seed", &seed);
  section.Integer("eta", 2, kEtaMax, &eta);
  section.Integer("min_epochs", 1, kEpochsMax, &min_epochs);
  tune->set_enabled(enabled);
  tune->set_max_trials(max_trials);
  tune->set_parallel(parallel);
  tune->set_patience(patience);
  tune->set_inherit(inherit);
  tune->set_in_flight(in_flight);
  tune->set_seed(seed);
  tune->set_eta(eta);
  tune->set_min_epochs(min_epochs);
  ReadAlgorithm(section, tune);
  // Of a network that could not be read nobody knows the paths.
  if (first.IsProgram() && root.Find("network") != nullptr) return;
  if (const YamlNode* space = section.Find("space")) ReadSpace(*space, first, tune, problems);
  CheckHalving(section, first, *tune, problems);
}

}  // namespace trainyard::coordinator
