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

  // What is known of the job; call it again when Add says so.
  void SetJob(const v1::Job& job);
  // Takes an event into account. True: a trial's length may be another one now.
  bool Add(const v1::Event& event);
  // What is wrong with the connection; empty: nothing.
  void SetTrouble(std::string trouble) { trouble_ = std::move(trouble); }

  // Prints lines of history above the block, then the block anew. `now_ms`: wall clock.
  void Print(const std::string& lines, int64_t now_ms);
  // Takes the block away.
  void Clear();

  // The block's lines; for tests.
  std::vector<std::string> Block(int64_t now_ms) const;

 private:
  // A trial, as far as events told.
  struct Trial {
    std::string phase = "starting";
    bool ended = false;
    int epoch = 0;  // done
    int restarts = 0;
    std::string checkpoint;      // the last one, in the coordinator's words
    double rate = 0;             // images per second
    double seconds = 0;          // of the last epoch
    int64_t epoch_ms = 0;        // when it ended
    std::vector<double> values;  // of the target's metric, by epoch
  };
  void AddEpoch(const v1::Event& event, Trial& trial);
  double MetricOf(const v1::Epoch& epoch) const;
  bool Better(double a, double b) const { return by_loss_ ? a < b : a > b; }
  // The trials that run, by number; where none does, the one that was told of last.
  std::vector<int> Shown() const;
  int Planned(int number) const;  // epochs before the trial ends or halts; 0: unknown
  std::string HeadLine(const std::vector<int>& shown, int64_t now_ms) const;
  std::string Restarts(const Trial& trial) const;
  std::string BarAndEpoch(int number, int width) const;
  std::string ProgressLine(int number, int64_t now_ms) const;
  std::string ShortProgressLine(int number) const;
  // The curves that fit into so many columns: what has ended long ago goes first.
  std::vector<int> Drawn(int columns) const;
  std::vector<std::string> ChartLines() const;
  std::string FootLine() const;

  std::ostream& out_;
  const Style style_;
  int drawn_ = 0;  // lines of the block on the screen

  v1::Job job_;  // as last told, without epochs and trials
  bool by_loss_ = false;
  std::map<int, int> planned_;    // epochs by trial
  std::map<int, Trial> trials_;   // by number
  int latest_ = 0;                // the one that was told of last
  std::string phase_ = "queued";  // of the job; empty: see its trials
  std::string trouble_;
  bool has_best_ = false;
  double best_ = 0;
  int best_trial_ = 0;
  int best_epoch_ = 0;
};

}  // namespace trainyard::cli
