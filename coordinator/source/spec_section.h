// Reading one map of the spec, or of another file of that kind: each key is known, each value of
// the right type, everything wrong is collected with its place. What a value means is for
// spec_data.cc, spec_network.cc and the others.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/source/spec_keys.h"
#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {

struct SpecProblem {
  Place place;
  std::string path;     // "train.lr"
  std::string message;  // "found 0, expected a number greater than 0, at most 100"
};

class SpecProblems {
 public:
  void Add(const Place& place, std::string path, std::string message) {
    list_.push_back({place, std::move(path), std::move(message)});
  }
  // A derived complaint about a place that has one already helps nobody.
  bool Has(const Place& place) const;
  const std::vector<SpecProblem>& list() const { return list_; }

 private:
  std::vector<SpecProblem> list_;
};

// The root of a file, or nothing after adding a problem; a duplicate key is a problem beside the
// root. `expected` says what an empty file lacks.
std::optional<YamlNode> ParseRoot(std::string_view text, std::string_view expected,
                                  SpecProblems* problems);

// The problems as one INVALID_ARGUMENT in the order of their places, at most 20; OK if there are
// none. `override_keys` are those that places name by their index.
absl::Status ProblemsError(std::string_view file_name, const std::vector<SpecProblem>& problems,
                           const std::vector<std::string>& override_keys = {});

template <class T>
struct Choice {
  std::string_view word;
  T value;
};

// Each returns whether it read a value; otherwise it has added a problem and left `out` alone.
bool ReadInteger(const YamlNode& node, const std::string& path, int64_t low, int64_t high,
                 int64_t* out, SpecProblems* problems);
bool ReadReal(const YamlNode& node, const std::string& path, double* out, SpecProblems* problems);
bool ReadBoolean(const YamlNode& node, const std::string& path, bool* out, SpecProblems* problems);
bool ReadText(const YamlNode& node, const std::string& path, std::string* out,
              SpecProblems* problems);
// Index of the word that was found, or -1.
int ReadWord(const YamlNode& node, const std::string& path,
             const std::vector<std::string_view>& words, SpecProblems* problems);

// A map, or nothing at all (an absent or empty section has only defaults). Anything else, and every
// key that the section doesn't know, is a problem.
class Section {
 public:
  Section(const YamlNode* node, std::string path, const SpecSection& keys, SpecProblems* problems);
  // A section of trainyard.yaml.
  Section(const YamlNode* node, std::string path, std::string_view name, SpecProblems* problems)
      : Section(node, std::move(path), SpecSectionNamed(name), problems) {}

  // The value written for `key`, or null.
  const YamlNode* Find(std::string_view key) const;
  std::string PathOf(std::string_view key) const;
  const std::string& path() const { return path_; }
  Place place() const { return place_; }

  // Each leaves `out` alone where the key is absent or wrong.
  template <class T>
  void Integer(std::string_view key, int64_t low, int64_t high, T* out) const {
    int64_t value;
    const YamlNode* node = Find(key);
    if (node && ReadInteger(*node, PathOf(key), low, high, &value, problems_)) *out = value;
  }
  void Real(std::string_view key, double* out) const;
  void Boolean(std::string_view key, bool* out) const;
  void Text(std::string_view key, std::string* out) const;
  void Seed(std::string_view key, uint64_t* out) const;
  template <class T>
  void Word(std::string_view key, const std::vector<Choice<T>>& choices, T* out) const {
    const YamlNode* node = Find(key);
    if (node == nullptr) return;
    std::vector<std::string_view> words;
    for (const auto& choice : choices) words.push_back(choice.word);
    int index = ReadWord(*node, PathOf(key), words, problems_);
    if (index >= 0) *out = choices[index].value;
  }

  // Adds a problem and returns false where the key is absent.
  bool Require(std::string_view key, std::string_view what) const;
  void Problem(std::string_view key, std::string message) const;

 private:
  const YamlNode* node_ = nullptr;  // a map, or null
  std::string path_;
  Place place_;
  SpecProblems* problems_;
};

}  // namespace trainyard::coordinator
