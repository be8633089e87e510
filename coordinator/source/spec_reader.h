// trainyard.yaml -> JobSpec, strictly, with every problem and its place.
//
// Two phases, since images tell what the file need not say:
//   auto parsed = ReadSpec({text, "trainyard.yaml", overrides});   // what can be said without data
//   auto opened = OpenData(parsed->spec.data, ...);               // data_reader.h
//   CompleteSpec(*opened, &*parsed);                               // shapes, classes, all the rest
//
// Errors are INVALID_ARGUMENT, one problem a line, by line and column, at most 20:
//   trainyard.yaml:12:21: network.layers[3].conv.kernel: found 9, expected at most 7 (the input
//   ...)
//   --set train.lr: found 0, expected a number greater than 0, at most 100
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/source/job_spec.h"
#include "coordinator/source/spec_section.h"
#include "coordinator/source/yaml_tree.h"
#include "network/shapes.h"

namespace trainyard::coordinator {

struct SpecText {
  std::string text;
  std::string file_name = "trainyard.yaml";  // for messages
  std::vector<std::string> overrides = {};   // "train.lr=0.05", applied in order
  std::string default_name = {};             // of a job whose spec has no name
};

// Where each part of a spec was written.
class SpecOrigin {
 public:
  SpecOrigin() = default;
  SpecOrigin(const SpecText& text, YamlNode root);

  // The place of the longest part of `path` that was written.
  Place Find(const std::string& path) const;
  // The problems as one error; OK if there are none.
  absl::Status Error(const std::vector<SpecProblem>& problems) const;
  absl::Status Error(const std::vector<network::Problem>& problems) const;

 private:
  std::string file_name_;
  std::vector<std::string> override_keys_;
  YamlNode root_;
};

struct ParsedSpec {
  JobSpec spec;
  SpecOrigin origin;
};

// With an input written in the network and classes in the data, all that can be said is said here.
absl::StatusOr<ParsedSpec> ReadSpec(const SpecText& text);

// Fills in what `data` (the spec's, as OpenData returns it) tells: input shape, classes, counts;
// then checks network and training against them.
absl::Status CompleteSpec(const v1::Data& data, ParsedSpec* parsed);

}  // namespace trainyard::coordinator
