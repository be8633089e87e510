// What people type: durations, budgets, overrides, jobs, addresses and sources. Every refusal names
// the text, and what it should have been.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace trainyard::cli {

// "2h", "90m", "45s", "500ms", "1h30m", "1d" in milliseconds.
absl::StatusOr<int64_t> ParseDuration(const std::string& text);

// "trials=8,time=2h,epochs=30" as overrides: "budget.trials=8", ...
absl::StatusOr<std::vector<std::string>> ParseBudget(const std::string& text);

// Whether `text` is KEY=VALUE with a key such as "train.lr" or "network.layers[0].conv.filters".
absl::Status CheckOverride(const std::string& text);

// A job's number.
absl::StatusOr<int64_t> ParseJob(const std::string& text);

// "host:port", "host" (port 7700), "[::1]:7700" or "unix:/path", in the form that gRPC takes.
absl::StatusOr<std::string> ParseAddress(const std::string& text);

// What `submit` was given.
struct Source {
  enum class Kind { kFolder, kCheckoutRevision, kRemote };
  Kind kind = Kind::kFolder;
  std::string location;  // absolute path, or URL
  std::string revision;  // empty: the folder as it stands, or the URL's default branch
};

// PATH, PATH@REV (a commit of the Git repository there), URL or URL@REV. An existing path wins over
// any other reading.
absl::StatusOr<Source> ParseSource(const std::string& text);

}  // namespace trainyard::cli
