// What a program says of itself, line by line: in its metrics file, as JSON on its output, or as
// people's programs print it anyway. Never throws, whatever the line is.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "trainyard/v1/worker.pb.h"

namespace trainyard::program {

inline constexpr double kUnsaid = std::numeric_limits<double>::quiet_NaN();
inline constexpr int kEpochsMax = 20'000;
inline constexpr size_t kMetricsLineBytesMax = 64 << 10;

// `{"epoch": 3, ...}`; a number that was not given is NaN.
struct EpochLine {
  int epoch = 0;
  int64_t step = 0;  // 0: not said
  double loss = kUnsaid, accuracy = kUnsaid, val_loss = kUnsaid, val_accuracy = kUnsaid;
  double learning_rate = kUnsaid, seconds = kUnsaid, images_per_second = kUnsaid;
  bool diverged = false;   // a loss was given, and it is not a number
  std::string checkpoint;  // name of the entry that these numbers are of; empty: not said
};
struct StepLine {
  int64_t step = 0;
};
struct PhaseLine {
  v1::Phase phase = v1::PHASE_UNSPECIFIED;
};
// `{"result": {...}}`: of what it has now.
struct Judgement {
  double accuracy = kUnsaid, loss = kUnsaid;
};
struct ModelLine {
  std::string description;
  int64_t parameters = 0;
  std::vector<v1::Change> changes;
};
struct NoteLine {
  std::string text;
};
struct ErrorLine {
  std::string text;
};
using Said =
    std::variant<EpochLine, StepLine, PhaseLine, Judgement, ModelLine, NoteLine, ErrorLine>;

// A line of the metrics file. What is wrong with it goes to `problem`; what is right with it counts
// all the same.
std::vector<Said> ParseMetricsLine(std::string_view line, std::string* problem);

// Makes sense of what programs print: "Epoch 3/10" and Keras' progress lines, `name=value` and
// `name: value`, JSON lines. An epoch is complete when the next one begins, or at the end.
class PrintedMetrics {
 public:
  // `line` is clean text.
  std::vector<Said> Add(std::string_view line);
  std::vector<Said> End();

 private:
  std::vector<Said> Complete();

  std::optional<EpochLine> open_;
  Judgement judgement_;  // printed while it is open
  int offset_ = 0;       // epochs of earlier fits, each of which counts from 1
  int printed_ = 0;      // the open one, as it is printed
  int64_t batches_ = 0;  // of the open one, from its progress lines
};

// The number in accuracy.txt: alone, or as `name=value`; nothing if there is none.
std::optional<Judgement> ParseAccuracyFile(std::string_view text);

}  // namespace trainyard::program
