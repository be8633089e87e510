// Values with a form of their own, as trainyard.yaml and the pools file write them: durations,
// sizes, labels, names of pools.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "coordinator/source/spec_section.h"

namespace trainyard::coordinator {

// Each returns whether it read a value; otherwise it has added a problem and left `out` alone.

// "90s", "30m", "1h30m", "2d", in milliseconds. `range` names the limits in the message.
bool ReadDuration(const YamlNode& node, const std::string& path, int64_t low_ms, int64_t high_ms,
                  std::string_view range, int64_t* out, SpecProblems* problems);
// "12GiB", "800MB": from 1MiB to 65536GiB.
bool ReadBytes(const YamlNode& node, const std::string& path, int64_t* out, SpecProblems* problems);
// A map of names to values, as proto/labels.h allows them.
bool ReadLabels(const YamlNode& node, const std::string& path,
                std::map<std::string, std::string>* out, SpecProblems* problems);
// Of the names that pools may have, "process" and "external" included.
bool ReadPoolName(const YamlNode& node, const std::string& path, std::string* out,
                  SpecProblems* problems);

// Small letters, digits and -, at most 63.
bool IsPoolName(std::string_view name);
inline constexpr char kPoolNameForm[] = "a pool's name: 1 to 63 small letters, digits or -";

// What ReadBytes reads back as exactly this many.
std::string WriteBytes(int64_t bytes);

}  // namespace trainyard::coordinator
