#include "coordinator/source/spec_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "coordinator/convert/tuning.h"
#include "coordinator/core/tuner/space.h"
#include "coordinator/source/spec_override.h"
#include "coordinator/source/spec_parts.h"
#include "proto/spec_convert.h"

namespace trainyard::coordinator {
namespace {

using Kind = YamlNode::Kind;

// One step along a path: ".conv" or "[3]". Null: it goes no further.
const YamlNode* Step(const YamlNode* node, std::string_view segment, bool index) {
  if (index) {
    size_t i = 0;
    std::from_chars(segment.data(), segment.data() + segment.size(), i);
    // A layer list may stand right under its section: `network: [...]`.
    return i < node->items.size() ? &node->items[i] : nullptr;
  }
  const YamlNode* child = node->Find(segment);
  if (child != nullptr) return child;
  if (segment == "shortcut") return node->Find("projection");
  // A short form: the value itself stands for this key.
  return segment == "layers" && node->kind == Kind::kSequence ? node : nullptr;
}

// In tune.space a key is a path itself: leaves in `rest` what stands behind it. Null: elsewhere.
const YamlNode* EnterSpace(std::string_view path, const YamlNode& node, std::string_view* rest) {
  constexpr std::string_view kSpace = "tune.space.";
  if (!path.starts_with(kSpace) || path.size() - rest->size() != kSpace.size() - 1) return nullptr;
  const YamlEntry* longest = nullptr;
  for (const YamlEntry& entry : node.entries) {
    if (!rest->substr(1).starts_with(entry.key)) continue;
    if (longest == nullptr || entry.key.size() > longest->key.size()) longest = &entry;
  }
  if (longest == nullptr) return nullptr;
  rest->remove_prefix(1 + longest->key.size());
  return &longest->value;
}

void AddProblems(const std::vector<network::Problem>& found, const SpecOrigin& origin,
                 SpecProblems* problems) {
  for (const network::Problem& problem : found) {
    Place place = origin.Find(problem.path);
    if (!problems->Has(place)) problems->Add(place, problem.path, problem.message);
  }
}

void ReadNative(const Section& section, JobSpec* spec, SpecProblems* problems) {
  ReadData(section, &spec->data, problems);
  ReadValidation(section, spec->data.has_validation(), &spec->validation, problems);
  ReadNetwork(section, &spec->configuration.network, problems);
  ReadTraining(section, &spec->configuration.training, problems);
  if (section.Find("changes")) {
    section.Problem("changes", "found beside a network, expected it beside program only");
  }
  if (const YamlNode* weights = section.Find("weights")) {
    ReadDataFile(*weights, "weights", &spec->weights, problems);
  }
}

void ReadSections(const YamlNode& root, JobSpec* spec, SpecProblems* problems) {
  Section section(&root, "", "", problems);
  section.Text("name", &spec->name);
  if (IsProgramSpec(root)) {
    ReadProgram(section, &spec->program, &spec->configuration.changes, problems);
  } else {
    ReadNative(section, spec, problems);
  }
  ReadTarget(section, IsProgramSpec(root), &spec->target, problems);
  ReadTune(section, spec->configuration, &spec->tune, problems);
  ReadBudget(section, &spec->budget, problems);
  ReadCheckpoint(section, &spec->checkpoint, problems);
  ReadResources(section, &spec->resources, problems);
}

// All that the network's and the training's own checks find with what is known so far.
std::vector<network::Problem> CheckNative(const network::Configuration& configuration) {
  const network::Network& network = configuration.network;
  bool known = network.input != network::Shape{} && network.classes != 0;
  auto problems = known ? CheckNetwork(network) : CheckLayers(network);
  auto training = CheckTraining(configuration.training, network);
  problems.insert(problems.end(), training.begin(), training.end());
  return problems;
}

// Trial 1, then what a search would make of it.
std::vector<network::Problem> CheckConfiguration(JobSpec* spec) {
  const network::Configuration& first = spec->configuration;
  auto problems = first.IsProgram() ? CheckChanges(first.changes) : CheckNative(first);
  if (!problems.empty()) return problems;
  // All networks to choose from look at the same images.
  const v1::Network images = trainyard::ToProto(
      network::Network{.input = first.network.input, .classes = first.network.classes});
  for (v1::Dimension& dimension : *spec->tune.mutable_space()) {
    for (v1::Network& network : *dimension.mutable_networks()) {
      *network.mutable_input() = images.input();
      network.set_classes(images.classes());
    }
  }
  return core::CheckSpace(FromTune(spec->tune).space, first);
}

}  // namespace

SpecOrigin::SpecOrigin(const SpecText& text, YamlNode root)
    : file_name_(text.file_name), root_(std::move(root)) {
  for (const std::string& item : text.overrides) override_keys_.push_back(OverrideKey(item));
}

Place SpecOrigin::Find(const std::string& path) const {
  const YamlNode* node = &root_;
  std::string_view rest = path;
  while (!rest.empty()) {
    if (const YamlNode* dimension = EnterSpace(path, *node, &rest)) node = dimension;
    if (rest.empty()) break;
    bool index = rest[0] == '[';
    if (rest[0] == '.' || index) rest.remove_prefix(1);
    std::string_view segment = rest.substr(0, rest.find_first_of(index ? "]" : ".["));
    rest.remove_prefix(std::min(rest.size(), segment.size() + index));
    const YamlNode* child = Step(node, segment, index);
    if (child == nullptr) break;
    node = child;
  }
  return node->place;
}

absl::Status SpecOrigin::Error(const std::vector<SpecProblem>& problems) const {
  return ProblemsError(file_name_, problems, override_keys_);
}

absl::Status SpecOrigin::Error(const std::vector<network::Problem>& problems) const {
  SpecProblems placed;
  AddProblems(problems, *this, &placed);
  return Error(placed.list());
}

absl::StatusOr<ParsedSpec> ReadSpec(const SpecText& text) {
  SpecProblems problems;
  auto root = ParseRoot(text.text, "a spec with data and network", &problems);
  if (!root) return SpecOrigin(text, {}).Error(problems.list());

  ApplyOverrides(text.overrides, &*root, &problems);
  ParsedSpec parsed;
  parsed.spec.name = text.default_name;
  ReadSections(*root, &parsed.spec, &problems);
  const bool program = IsProgramSpec(*root);
  parsed.origin = SpecOrigin(text, *std::move(root));
  network::Configuration& configuration = parsed.spec.configuration;
  if (!program) configuration.network.classes = parsed.spec.data.classes();
  // Without layers that could be read there is nothing to check.
  if (program || !configuration.IsProgram() || problems.list().empty()) {
    AddProblems(CheckConfiguration(&parsed.spec), parsed.origin, &problems);
  }
  absl::Status status = parsed.origin.Error(problems.list());
  if (!status.ok()) return status;
  return parsed;
}

absl::Status CompleteSpec(const v1::Data& data, ParsedSpec* parsed) {
  network::Network& network = parsed->spec.configuration.network;
  const v1::Image& image = data.image();
  network::Shape input{image.channels(), image.height(), image.width()};
  if (network.input != network::Shape{} && network.input != input) {
    return parsed->origin.Error(std::vector<network::Problem>{
        {"network.input",
         fmt::format("found {}x{}x{}, expected the data's {}x{}x{} (or leave it out)",
                     network.input.channels, network.input.height, network.input.width,
                     input.channels, input.height, input.width)}});
  }
  parsed->spec.data = data;
  network.input = input;
  network.classes = data.classes();
  return parsed->origin.Error(CheckConfiguration(&parsed->spec));
}

}  // namespace trainyard::coordinator
