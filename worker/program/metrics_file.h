// TRAINYARD_METRICS_FILE as it grows: each line once. What the program puts in its place later is
// not looked at.
#pragma once

#include <string>
#include <vector>

#include "worker/program/lines.h"
#include "worker/program/metrics.h"

namespace trainyard::program {

class MetricsFile {
 public:
  // The file exists.
  explicit MetricsFile(const std::string& path);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  // What was added since. `last`: the line without an end too, and all there is.
  std::vector<Said> Read(bool last);

  // What was wrong with the first line that was wrong; empty: nothing.
  const std::string& problem() const { return problem_; }
  bool used() const { return line_ > 0; }

 private:
  void Take(std::string_view line, bool cut, std::vector<Said>* said);

  const int file_;
  LineSplitter splitter_{kMetricsLineBytesMax};
  int64_t line_ = 0;
  std::string problem_;
};

}  // namespace trainyard::program
