// Reports that the coordinator has not acknowledged yet, in the order of their sequence numbers.
// Not thread-safe: the session's.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "trainyard/v1/worker.pb.h"

namespace trainyard::agent {

bool SameAttempt(const v1::AttemptRef& a, const v1::AttemptRef& b);

// The attempt that a report (epoch, checkpoint, adjusted, ended, ...) is about.
const v1::AttemptRef& AttemptOf(const v1::WorkerMessage& report);

// How an attempt is named in logs: "job 3, attempt 12".
std::string Describe(const v1::AttemptRef& attempt);

class ReportBuffer {
 public:
  // Gives the report the next sequence number and keeps it. A checkpoint report replaces those of
  // checkpoints in mid-epoch of the same attempt that wait before it: nobody continues from them
  // any more. Those of an epoch's end all stay, for any of them may turn out to be the best. The
  // bound on all of it is the caller's, who asks for size() before it adds an epoch.
  int64_t Add(v1::WorkerMessage report);

  // Forgets everything up to `sequence`. An acknowledgement that comes twice, or of a report that
  // was replaced, changes nothing.
  void Acknowledge(int64_t sequence);

  // Forgets what waits of this attempt.
  void Drop(const v1::AttemptRef& attempt);

  // The first report beyond `sequence`, or null.
  const v1::WorkerMessage* After(int64_t sequence) const;

  bool empty() const { return reports_.empty(); }
  size_t size() const { return reports_.size(); }
  int64_t last_sequence() const { return last_sequence_; }

 private:
  int64_t last_sequence_ = 0;
  std::deque<v1::WorkerMessage> reports_;
};

}  // namespace trainyard::agent
