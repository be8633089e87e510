// One value of a result's JSON form, for pipelines that have a shell and no JSON parser.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>

namespace trainyard::cli {

// Whether `path` is names joined by dots, each with [N] or [] (every element) behind it or not:
// "state", "trials[0].best_metric", "trials[].restarts".
absl::Status CheckField(const std::string& path);

// What `path` leads to, one line each: text without quotes, all else as JSON.
absl::StatusOr<std::string> FieldOf(const std::string& json, const std::string& path);

}  // namespace trainyard::cli
