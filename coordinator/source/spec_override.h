// `--set train.lr=0.05`: a change to the parsed spec before it is read, so that a changed value is
// held to the same checks as a written one.
#pragma once

#include <string>
#include <vector>

#include "coordinator/source/spec_section.h"
#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {

// What stands before the `=`, for messages.
std::string OverrideKey(const std::string& override_text);

// Applies overrides in order. A path names maps by key and lists by index: network.layers[3].conv.
// filters or network.layers.3.conv.filters; what it does not find in a map is made. A value that is
// written in its short form (`- dense: 10`) is spelled out when a path enters it. The value is
// YAML.
void ApplyOverrides(const std::vector<std::string>& overrides, YamlNode* root,
                    SpecProblems* problems);

}  // namespace trainyard::coordinator
