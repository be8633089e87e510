// A job as people want to see it: what was asked, its trials as a table, the best model and where
// it lies.
#pragma once

#include <optional>
#include <string>

#include "cli/exit_code.h"
#include "cli/style.h"
#include "trainyard/v1/client.pb.h"
#include "trainyard/v1/resources.pb.h"

namespace trainyard::cli {

// "val_accuracy >= 0.92", "val_accuracy >= 0.92 with confidence 0.95", or empty.
std::string TargetText(const v1::Target& target);
// "validation accuracy 0.9140"; of what has none, its loss.
std::string ValidationText(const v1::Model& model);
// "val_accuracy 0.9051" of the job's best epoch, or empty.
std::string BestText(const v1::Job& job);
// "gpu=h100, site=berlin", or empty.
std::string LabelsText(const google::protobuf::Map<std::string, std::string>& labels);
// The code that a finished job's state stands for; kDone while it is not finished.
ExitCode ExitCodeOf(v1::JobState state);

// The whole view. `state_dir`: the coordinator's, empty if unknown; none if nobody can get the
// model from there.
std::string RenderJob(const v1::Job& job, const std::optional<std::string>& state_dir,
                      const Style& style, int64_t now_ms);
// The table of trials alone.
std::string RenderTrials(const v1::Job& job, const Style& style);
// One line for the end of `wait`: "job 7 fashion-mnist succeeded: target met ...".
std::string JobLine(const v1::Job& job);

}  // namespace trainyard::cli
