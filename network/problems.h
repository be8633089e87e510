// Words that the checks share; not for others.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "network/shapes.h"

namespace trainyard::network {

inline std::string Text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "infinity" : "-infinity";
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

inline std::string Text(const Shape& shape) {
  return std::to_string(shape.channels) + "x" + std::to_string(shape.height) + "x" +
         std::to_string(shape.width);
}

// Collects what is wrong, each with its path.
class Problems {
 public:
  void Add(std::string path, std::string message) {
    list_.push_back({std::move(path), std::move(message)});
  }

  // All bounds are inclusive.
  void Range(const std::string& path, int64_t value, int64_t low, int64_t high) {
    if (value >= low && value <= high) return;
    Add(path, "found " + std::to_string(value) + ", expected a whole number from " +
                  std::to_string(low) + " to " + std::to_string(high));
  }

  // Bounds as text, since some are exclusive; `good` is false for NaN by its comparisons.
  void Real(const std::string& path, double value, bool good, const std::string& expected) {
    if (good && std::isfinite(value)) return;
    Add(path, "found " + Text(value) + ", expected " + expected);
  }

  size_t size() const { return list_.size(); }
  std::vector<Problem> Take() { return std::move(list_); }

 private:
  std::vector<Problem> list_;
};

}  // namespace trainyard::network
