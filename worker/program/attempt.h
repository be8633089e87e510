// One attempt of a program, from its assignment to its ending.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "worker/agent/checkpoint_publisher.h"
#include "worker/agent/ending.h"
#include "worker/program/epochs.h"
#include "worker/program/heartbeat.h"
#include "worker/program/metrics_file.h"
#include "worker/program/pack.h"
#include "worker/program/process.h"
#include "worker/program/program_runner.h"

namespace trainyard::program {

class Attempt {
 public:
  Attempt(const v1::Start& start, const ProgramOptions& options, agent::BlobClient& blobs,
          agent::BlobCache& cache, agent::Uplink& uplink, agent::AttemptControl& control);

  agent::Ending Run();
  // Removes what the program left; checkpoints on their way stay.
  void Clear();

  int64_t step() const { return epochs_.step(); }
  const std::string& folder() const { return folder_; }

 private:
  absl::Status Prepare();
  absl::Status Restore();
  absl::Status LinkData();
  absl::StatusOr<Command> MakeCommand();

  agent::Ending Train();
  std::optional<Exit> Watch(Process& process, Output& output);
  void Listen(Output& output, bool last);
  void Hear(const Said& said, Source source);
  void HearPrinted(const Said& said);
  void TellJudgement(const Judgement& judgement, Source source);
  void OnEpoch(EpochLine line);
  void Report(const EpochLine& row, bool with_checkpoint);
  void AnswerAdjustments();
  // Sets `halt_` where the trial is to end behind an epoch that ended at this step.
  void EndBehind(int epoch, int64_t step);
  // The last epoch that was reported: none after the one that the trial ends behind.
  int done() const { return halt_.empty() ? epochs_.done() : last_row_.epoch; }
  void ReportModel(const ModelLine& line);
  // Tells people, each `about` once.
  void Note(const std::string& about, const std::string& text);

  void Judge();
  agent::Ending Completed();
  agent::Ending StoppedEnding();
  void Store(State state, const std::vector<std::string>& files, bool end_of_epoch, bool last);
  void StoreAtEnd(bool released);
  void StoreOnStop();
  State StateNow() const;

  const v1::Start& start_;
  const ProgramOptions& options_;
  agent::BlobClient& blobs_;
  agent::BlobCache& cache_;
  agent::Uplink& uplink_;
  agent::AttemptControl& control_;
  const std::string folder_;
  const bool sandboxed_;

  Workspace space_;
  std::string resume_from_;
  bool continued_ = false;
  Epochs epochs_;
  Heartbeat heartbeat_;
  std::unique_ptr<MetricsFile> metrics_;
  std::unique_ptr<agent::CheckpointPublisher> publisher_;

  // What it said.
  PrintedMetrics printed_;
  bool epochs_in_file_ = false;
  EpochLine last_row_;  // as reported
  ModelLine model_;
  std::string error_;
  std::set<std::string> noted_;
  int models_reported_ = 0;
  int64_t output_bytes_ = 0;
  bool terminated_ = false;  // the program was asked to end

  // Where it is to end before its time. A program knows no steps but those of its epochs' ends: a
  // stop takes effect at the first one that is not before it.
  std::vector<int64_t> stops_;  // of the adjustments, which can be nothing else
  std::string halt_;            // why it ends here; empty: it goes on

  // What is stored.
  std::optional<Entry> stored_entry_;
  Stamps stored_output_;
  int stored_epoch_ = 0;
  bool stored_any_ = false;  // by this attempt
};

}  // namespace trainyard::program
