#include "coordinator/rpc/assignment.h"

#include <algorithm>

#include "trainyard/v1/spec.pb.h"

namespace trainyard::coordinator {
namespace {

bool IsData(const core::Job& job, const std::string& sha256) {
  v1::JobSpec spec;
  if (!spec.ParseFromString(job.request.spec_blob)) return false;
  const auto is_it = [&](const v1::DataFile& file) { return file.sha256() == sha256; };
  for (const v1::DataSet* set :
       {&spec.data().train(), &spec.data().validation(), &spec.data().test()}) {
    if (std::ranges::any_of(set->images(), is_it) || std::ranges::any_of(set->labels(), is_it)) {
      return true;
    }
  }
  return false;
}

bool Needs(const core::State& state, const core::Attempt& attempt, const std::string& sha256) {
  const auto from = state.checkpoints.find(attempt.from);
  if (from != state.checkpoints.end() && from->second.sha256 == sha256) return true;
  const auto job = state.jobs.find(attempt.job);
  if (job == state.jobs.end()) return false;
  return job->second.request.snapshot_sha256 == sha256 || IsData(job->second, sha256);
}

}  // namespace

bool NeedsBlob(const core::State& state, core::LaunchId launch, const std::string& sha256) {
  return std::ranges::any_of(state.workers, [&](const auto& entry) {
    const core::Worker& worker = entry.second;
    return worker.launch == launch && worker.attempt &&
           Needs(state, state.attempts.at(worker.attempt), sha256);
  });
}

}  // namespace trainyard::coordinator
