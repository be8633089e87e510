// Plans of cuDNN on disk, from run to run: fused ones take it a second each to compile.
#pragma once

#include <optional>
#include <string>

namespace trainyard::kernels::cuda {

struct StoredPlan {
  std::string engine;  // what computes it, in one line
  std::string text;    // cuDNN's own
};

// One file for each key. A file is there whole or is taken as absent: what is torn, of another
// version, or of another key whose hash is the same. Any number of processes may use a folder at
// once. Deleting files costs time alone.
class PlanFiles {
 public:
  // An empty folder: nothing is found and nothing kept.
  explicit PlanFiles(std::string folder) : folder_(std::move(folder)) {}

  // `key`: everything that the plan depends on, in one line.
  std::optional<StoredPlan> Read(const std::string& key) const;
  // A folder that cannot be written to keeps nothing.
  void Write(const std::string& key, const StoredPlan& plan) const;
  // Where the key's plan is kept.
  std::string PathOf(const std::string& key) const;

 private:
  std::string folder_;
};

}  // namespace trainyard::kernels::cuda
