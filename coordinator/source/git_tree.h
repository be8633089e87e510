// The files of one commit, as a snapshot.
#pragma once

#include <git2.h>

#include "absl/status/statusor.h"
#include "coordinator/source/git.h"

namespace trainyard::coordinator {

absl::StatusOr<SnapshotInfo> SnapshotOfCommit(git_repository* repository, const git_oid& commit,
                                              const SnapshotLimits& limits, const ByteSink& sink,
                                              const Cancelled& cancelled);

}  // namespace trainyard::coordinator
