// `program` and `changes`: a program of the user's, and what is changed of it from outside.
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/source/spec_parts.h"
#include "coordinator/source/spec_values.h"
#include "proto/labels.h"
#include "proto/runtimes.h"

namespace trainyard::coordinator {
namespace {

using Kind = YamlNode::Kind;

constexpr int kArgumentsMax = 256;
constexpr size_t kDataMax = 64;
constexpr char kNameForm[] =
    "a name of 1 to 63 letters, digits, '.', '-' and '_', the first a letter or digit";

}  // namespace

bool IsDataName(const std::string& name) {
  return IsLabelText(name, "._-") && IsAsciiAlphanumeric(name[0]);
}

namespace {

// A list is argv; text is a line for the shell.
void ReadCommand(const YamlNode& node, const std::string& path, v1::Program* program,
                 SpecProblems* problems) {
  if (node.kind != Kind::kSequence) {
    std::string line;
    if (!ReadText(node, path, &line, problems)) return;
    if (line.find_first_not_of(" \t\n") == std::string::npos) {
      problems->Add(node.place, path, Describe(node) + ", expected a command");
      return;
    }
    for (const std::string& word : {std::string("sh"), std::string("-c"), line}) {
      program->add_command(word);
    }
    return;
  }
  if (node.items.empty() || node.items.size() > kArgumentsMax) {
    problems->Add(node.place, path,
                  fmt::format("found a list of {}, expected a program and its arguments, at most "
                              "{}",
                              node.items.size(), kArgumentsMax));
    return;
  }
  for (size_t i = 0; i < node.items.size(); ++i) {
    std::string word;
    ReadText(node.items[i], fmt::format("{}[{}]", path, i), &word, problems);
    program->add_command(word);
  }
}

void ReadProgramData(const YamlNode& node, v1::Program* program, SpecProblems* problems) {
  const std::string path = "program.data";
  if (node.kind != Kind::kMap || node.entries.size() > kDataMax) {
    problems->Add(node.place, path,
                  fmt::format("{}, expected a map of at most {} names to files or folders",
                              Describe(node), kDataMax));
    return;
  }
  for (const YamlEntry& entry : node.entries) {
    if (!IsDataName(entry.key)) {
      problems->Add(entry.place, path,
                    "found the name " + Quoted(entry.key) + ", expected " + kNameForm);
      continue;
    }
    v1::ProgramData* data = program->add_data();
    data->set_name(entry.key);
    ReadDataFile(entry.value, path + "." + entry.key, data->mutable_file(), problems);
  }
}

void ReadChanges(const Section& root, network::ProgramChanges* changes, SpecProblems* problems) {
  const YamlNode* node = root.Find("changes");
  if (node == nullptr) return;
  constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();
  const Section section(node, "changes", "changes", problems);
  section.Integer("epochs", 0, kIntMax, &changes->epochs);
  section.Integer("batch_size", 0, kIntMax, &changes->batch_size);
  section.Text("optimizer", &changes->optimizer);
  section.Real("lr", &changes->learning_rate);
  section.Real("width", &changes->width);
  section.Integer("added_convs", 0, kIntMax, &changes->added_convs);
  section.Integer("added_dense", 0, kIntMax, &changes->added_dense);
  section.Real("dropout", &changes->dropout);
}

}  // namespace

bool IsProgramSpec(const YamlNode& root) {
  if (root.Find("program") != nullptr) return true;
  for (const char* key : {"network", "data", "train", "validation"}) {
    if (root.Find(key) != nullptr) return false;
  }
  return true;
}

void ReadProgram(const Section& root, v1::Program* program, network::ProgramChanges* changes,
                 SpecProblems* problems) {
  for (const char* key : {"network", "data", "train", "validation", "weights"}) {
    if (root.Find(key) == nullptr) continue;
    root.Problem(key, "found beside program, expected one of the two: a program brings its own");
  }
  ReadChanges(root, changes, problems);
  const YamlNode* node = root.Find("program");
  if (node == nullptr) return;
  if (node->kind == Kind::kScalar || node->kind == Kind::kSequence) {
    return ReadCommand(*node, "program", program, problems);
  }
  const Section section(node, "program", "program", problems);
  if (const YamlNode* command = section.Find("command")) {
    ReadCommand(*command, "program.command", program, problems);
  }
  std::string framework;
  std::vector<Choice<std::string>> frameworks;
  for (const char* name : kFrameworks) frameworks.push_back({name, name});
  section.Word<std::string>("framework", frameworks, &framework);
  program->set_framework(framework);
  bool network = false;
  section.Boolean("network", &network);
  program->set_network(network);
  if (const YamlNode* data = section.Find("data")) ReadProgramData(*data, program, problems);
}

}  // namespace trainyard::coordinator
