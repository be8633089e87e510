// Specs that several tests start from.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coordinator/source/spec_reader.h"

namespace trainyard::coordinator {

// The smallest spec there is.
inline constexpr char kSmallSpec[] = R"(data:
  format: idx
  train: {images: train-images.gz, labels: train-labels.gz}
network:
  layers:
    - flatten
    - dense: 10
)";

// Replaces the one occurrence of `from`.
inline std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

inline absl::StatusOr<ParsedSpec> Read(const std::string& text,
                                       std::vector<std::string> overrides = {}) {
  return ReadSpec({.text = text, .overrides = std::move(overrides)});
}

// The message of a spec that must be refused.
inline std::string Refusal(const std::string& text, std::vector<std::string> overrides = {}) {
  auto parsed = Read(text, std::move(overrides));
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text.substr(0, 2'000);
  return std::string(parsed.status().message());
}

inline JobSpec Accepted(const std::string& text, std::vector<std::string> overrides = {}) {
  auto parsed = Read(text, std::move(overrides));
  EXPECT_TRUE(parsed.ok()) << parsed.status().message() << "\n" << text;
  return parsed.ok() ? parsed->spec : JobSpec();
}

}  // namespace trainyard::coordinator
