// One event as one good line: time, kind, and what happened. On a terminal with colours, symbols
// and wrapped lines; in a pipe always exactly one plain line an event.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "cli/style.h"
#include "trainyard/v1/resources.pb.h"

namespace trainyard::cli {

// How a job's or trial's state reads, and its colour.
Cell StateCell(v1::JobState state);
Cell StateCell(v1::TrialState state);
Cell StateCell(v1::Worker::State state);
bool IsOver(v1::JobState state);

// "train.lr 0.1 -> 0.05; 3 more ..." of a tweak's changes, harmless for a terminal.
using Changes = google::protobuf::RepeatedPtrField<v1::Change>;
std::string ChangesText(const Changes& changes);

// How many a trial is to have before it ends or halts; 0: a program's own number, which is not
// known.
int PlannedEpochs(const v1::Trial& trial);

class EventLines {
 public:
  // `with_job`: events of several jobs follow, so each line names its own.
  EventLines(const Style& style, bool with_job) : style_(style), with_job_(with_job) {}
  // Which epochs are marked as the best so far; by default the highest validation accuracy.
  void RankByLoss() { by_loss_ = true; }

  // Every checkpoint; by default only the first of each attempt, as there may be many in an epoch.
  void ShowCheckpoints() { all_checkpoints_ = true; }

  // With a newline at the end; empty for an event that is not shown.
  std::string Render(const v1::Event& event);

 private:
  std::string EpochText(const v1::Epoch& epoch, int room) const;
  bool IsBest(int64_t job, const v1::Epoch& epoch);

  const Style style_;
  const bool with_job_;
  bool by_loss_ = false;
  bool all_checkpoints_ = false;
  std::set<std::pair<int64_t, int>> told_checkpoint_;  // jobs and trials, of the running attempt
  std::map<int64_t, double> best_;                     // by job
};

}  // namespace trainyard::cli
