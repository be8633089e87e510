// Which of a repository's Python files is the one to start.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/source/detect_signs.h"
#include "coordinator/source/detect_source.h"

namespace trainyard::coordinator {

// A place that trains.
struct Training {
  PythonProgram::Code code = 0;
  int line = 0;
  TrainingSign sign;
};

struct Entry {
  int file = 0;
  std::vector<PythonProgram::Code> start = {};
  std::string function = {};          // to call, where the file itself does not
  const CommandHint* hint = nullptr;  // that names it; may be null
  int name_weight = 0;                // how much its name says that it trains

  int hint_weight() const { return hint == nullptr ? 0 : hint->weight; }
};

class EntryFinder {
 public:
  explicit EntryFinder(const LookedAt& looked);

  // All files that train when they are started, best first; those as good as the first are as
  // likely.
  const std::vector<Entry>& entries() const { return entries_; }
  size_t best() const { return best_; }  // how many are as good as the first

  // Where nothing was seen to train: the file that is called so, or started by a script or
  // container and called something like it, if it uses a framework. Code can train in ways that do
  // not show.
  std::optional<Entry> Likely() const;
  // The file that a command starts, whether it trains or not.
  std::optional<Entry> Find(const CommandHint& hint) const;
  // What trains once `start` runs, nearest first.
  std::vector<Training> TrainingsOf(const std::vector<PythonProgram::Code>& start) const;
  // Trains, but does not run when its file is started, or its file does not count.
  std::vector<Training> Others() const;
  // argv that starts it, in the folder of the source.
  std::vector<std::string> Command(const Entry& entry) const;

 private:
  bool UsesFramework(const Entry& entry) const;
  void FindTrainings();
  void FindEntries();
  void UseHints();
  void AddFunction(const CommandHint& hint);
  void DropImported();
  void Rank();

  const LookedAt& looked_;
  const PythonProgram& program_;
  std::vector<Training> trainings_;  // by code
  std::vector<bool> trains_;         // by code
  std::vector<Entry> entries_;
  size_t best_ = 0;
};

}  // namespace trainyard::coordinator
