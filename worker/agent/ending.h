// How an attempt ends: what the runners share of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "trainyard/v1/worker.pb.h"
#include "worker/agent/attempt_control.h"
#include "worker/agent/checkpoint_publisher.h"

namespace trainyard::agent {

struct Ending {
  v1::AttemptEnded::Outcome outcome = v1::AttemptEnded::OUTCOME_UNSPECIFIED;
  std::string message;                    // for people
  std::vector<int64_t> adjusted_at = {};  // kCompleted: the steps of the adjustments that it held
};

// By the error's kind: what may be mended elsewhere or later, what no attempt of this job on such a
// device can mend, what is none of the job's fault; of other errors `otherwise`.
v1::AttemptEnded::Outcome OutcomeOf(const kernels::Error& error,
                                    v1::AttemptEnded::Outcome otherwise);

// Of a job that needs a GPU, on a worker that has none and why.
Ending WithoutGpu(const std::string& why);

// What became of an adjustment that was sent.
v1::WorkerMessage AdjustReportOf(const v1::AttemptRef& attempt, int number, bool taken,
                                 int64_t step);

// Of an attempt that ran into this error before it trained, standing at this step.
Ending EndingOf(const absl::Status& error, const AttemptControl& control, int64_t step);

// Of a stopped one: waits for its checkpoints where they are wanted, and says what became of them.
Ending Stopped(CheckpointPublisher& publisher, const AttemptControl& control, int64_t step,
               bool with_checkpoint, const std::string& folder);

// The folder of an attempt: `<work folder>/attempt-<id>-<fencing>`.
std::string AttemptFolder(const std::string& work_folder, const v1::AttemptRef& attempt);

// Clears the attempt's folder, unless only it has the newest checkpoint, and makes the report;
// nothing where the attempt was abandoned.
std::optional<v1::AttemptEnded> Conclude(const v1::Start& start, const AttemptControl& control,
                                         Ending ending, int64_t step, const std::string& folder);

}  // namespace trainyard::agent
