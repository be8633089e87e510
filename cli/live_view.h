// The block at the foot of `watch JOB` on a terminal: progress, speed, and the curve of the
// target's metric over all trials. Lines of history scroll by above it.
#pragma once

#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "cli/style.h"
#include "trainyard/v1/resources.pb.h"

namespace trainyard::cli {

class LiveView {
 public:
  LiveView(std::ostream& out, const Style& style) : out_(out), style_(style) {}

  // What is known of the job; call it again whenever a trial has started.
  void SetJob(const v1::Job& job);
  // Takes an event into account.
  void Add(const v1::Event& event);
  // What is wrong with the connection; empty: nothing.
  void SetTrouble(std::string trouble) { trouble_ = std::move(trouble); }

  // Prints lines of history above the block, then the block anew. `now_ms`: wall clock.
  void Print(const std::string& lines, int64_t now_ms);
  // Takes the block away.
  void Clear();

  // The block's lines; for tests.
  std::vector<std::string> Block(int64_t now_ms) const;

 private:
  struct Curve {
    int trial = 0;
    std::vector<double> values;  // of the metric, by epoch
  };
  int EpochsPlanned() const;
  double MetricOf(const v1::Epoch& epoch) const;
  bool Better(double a, double b) const { return by_loss_ ? a < b : a > b; }
  std::string HeadLine(int64_t now_ms) const;
  std::string ProgressLine(int64_t now_ms) const;
  std::vector<std::string> ChartLines() const;

  std::ostream& out_;
  const Style style_;
  int drawn_ = 0;  // lines of the block on the screen

  v1::Job job_;  // as last told, without epochs and trials
  bool by_loss_ = false;
  std::vector<Curve> curves_;
  std::string phase_ = "queued";
  std::string trouble_;
  int trial_ = 0;
  int epoch_ = 0;              // done in this trial
  std::map<int, int> epochs_;  // that each trial has, by its number
  int restarts_ = 0;           // of this trial
  std::string checkpoint_;     // the last one, in the coordinator's words
  double rate_ = 0;            // images per second
  double seconds_ = 0;         // of the last epoch
  int64_t epoch_ms_ = 0;       // when it ended
  bool has_best_ = false;
  double best_ = 0;
  int best_trial_ = 0;
  int best_epoch_ = 0;
};

}  // namespace trainyard::cli
