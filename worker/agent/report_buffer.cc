#include "worker/agent/report_buffer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace trainyard::agent {

bool SameAttempt(const v1::AttemptRef& a, const v1::AttemptRef& b) {
  return a.attempt() == b.attempt() && a.fencing() == b.fencing();
}

const v1::AttemptRef& AttemptOf(const v1::WorkerMessage& report) {
  switch (report.message_case()) {
    case v1::WorkerMessage::kEpoch:
      return report.epoch().attempt();
    case v1::WorkerMessage::kCheckpoint:
      return report.checkpoint().attempt();
    case v1::WorkerMessage::kEnded:
      return report.ended().attempt();
    case v1::WorkerMessage::kFinished:
      return report.finished().attempt();
    case v1::WorkerMessage::kAdjusted:
      return report.adjusted().attempt();
    case v1::WorkerMessage::kProgram:
      return report.program().attempt();
    default:
      return v1::AttemptRef::default_instance();
  }
}

std::string Describe(const v1::AttemptRef& attempt) {
  return absl::StrCat("job ", attempt.job(), ", attempt ", attempt.attempt());
}

int64_t ReportBuffer::Add(v1::WorkerMessage report) {
  if (report.has_checkpoint()) {
    std::erase_if(reports_, [&](const v1::WorkerMessage& waiting) {
      return waiting.has_checkpoint() && !waiting.checkpoint().end_of_epoch() &&
             SameAttempt(AttemptOf(waiting), AttemptOf(report));
    });
  }
  report.set_sequence(++last_sequence_);
  reports_.push_back(std::move(report));
  return last_sequence_;
}

void ReportBuffer::Acknowledge(int64_t sequence) {
  while (!reports_.empty() && reports_.front().sequence() <= sequence) reports_.pop_front();
}

void ReportBuffer::Drop(const v1::AttemptRef& attempt) {
  std::erase_if(reports_, [&](const v1::WorkerMessage& waiting) {
    return SameAttempt(AttemptOf(waiting), attempt);
  });
}

const v1::WorkerMessage* ReportBuffer::After(int64_t sequence) const {
  const auto found = std::find_if(
      reports_.begin(), reports_.end(),
      [sequence](const v1::WorkerMessage& report) { return report.sequence() > sequence; });
  return found == reports_.end() ? nullptr : &*found;
}

}  // namespace trainyard::agent
