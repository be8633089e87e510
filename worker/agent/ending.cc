#include "worker/agent/ending.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace trainyard::agent {

using v1::AttemptEnded;

Ending EndingOf(const absl::Status& error, const AttemptControl& control, int64_t step) {
  if (absl::IsCancelled(error) && control.wish() >= Wish::kStop) {
    return {AttemptEnded::STOPPED, absl::StrCat("stopped (", control.reason(),
                                                ") before training; it stands at step ", step)};
  }
  return {absl::IsInvalidArgument(error) ? AttemptEnded::FAILED_FINALLY : AttemptEnded::FAILED,
          std::string(error.message())};
}

AttemptEnded::Outcome OutcomeOf(const kernels::Error& error, AttemptEnded::Outcome otherwise) {
  if (dynamic_cast<const kernels::OutOfMemory*>(&error) != nullptr) {
    return AttemptEnded::OUT_OF_MEMORY;
  }
  if (dynamic_cast<const kernels::Unavailable*>(&error) != nullptr ||
      dynamic_cast<const kernels::KernelFailed*>(&error) != nullptr) {
    return AttemptEnded::FAILED;
  }
  if (dynamic_cast<const kernels::DeviceLost*>(&error) != nullptr) return AttemptEnded::DEVICE_LOST;
  return otherwise;
}

Ending WithoutGpu(const std::string& why) {
  return {AttemptEnded::FAILED,
          absl::StrCat("the job needs a GPU, and this worker trains on the CPU",
                       why.empty() ? "" : ": ", why)};
}

v1::WorkerMessage AdjustReportOf(const v1::AttemptRef& attempt, int number, bool taken,
                                 int64_t step) {
  v1::WorkerMessage message;
  v1::AdjustReport* report = message.mutable_adjusted();
  *report->mutable_attempt() = attempt;
  report->set_number(number);
  report->set_taken(taken);
  report->set_step(step);
  return message;
}

Ending Stopped(CheckpointPublisher& publisher, const AttemptControl& control, int64_t step,
               bool with_checkpoint, const std::string& folder) {
  using Drained = CheckpointPublisher::Drained;
  const std::string at = absl::StrCat("stopped at step ", step, " (", control.reason(), "), ");
  if (!with_checkpoint) return {AttemptEnded::STOPPED, at + "without a checkpoint"};
  const Drained drained = publisher.Drain();
  if (drained == Drained::kPublished) return {AttemptEnded::STOPPED, at + "with a checkpoint"};
  std::string message = at + "but its checkpoint is not stored";
  if (drained == Drained::kKept) absl::StrAppend(&message, "; it is kept in ", folder);
  if (!publisher.trouble().empty()) absl::StrAppend(&message, ": ", publisher.trouble());
  return {AttemptEnded::STOPPED, message};
}

std::string AttemptFolder(const std::string& work_folder, const v1::AttemptRef& attempt) {
  return absl::StrCat(work_folder, "/attempt-", attempt.attempt(), "-", attempt.fencing());
}

std::optional<v1::AttemptEnded> Conclude(const v1::Start& start, const AttemptControl& control,
                                         Ending ending, int64_t step, const std::string& folder) {
  const std::optional<StopRequest> stop = control.stop();
  if (!stop || stop->publish) {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  if (control.wish() >= Wish::kAbandon) return std::nullopt;
  AttemptEnded ended;
  *ended.mutable_attempt() = start.attempt();
  ended.set_outcome(ending.outcome);
  ended.set_message(std::move(ending.message));
  ended.set_step(step);
  for (const int64_t adjusted_at : ending.adjusted_at) ended.add_adjusted_at(adjusted_at);
  return ended;
}

}  // namespace trainyard::agent
