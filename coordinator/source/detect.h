// What a repository is and how it would be run, by its looks alone: native or a program, which of
// its files is started, with which framework. Nothing of it is executed.
//
//   auto found = Detect(*FilesOfArchive(archive), {});
//
// The rules are those of docs/detection.md.
#pragma once

#include "absl/status/statusor.h"
#include "coordinator/source/detect_files.h"
#include "coordinator/source/detect_source.h"
#include "trainyard/v1/resources.pb.h"
#include "trainyard/v1/spec.pb.h"

namespace trainyard::coordinator {

// `said`: what trainyard.yaml already says of the program, which wins; the rest is found out.
// INVALID_ARGUMENT where it is not clear: what was seen, line by line, and how to say what is
// meant.
absl::StatusOr<v1::Detection> Detect(const SourceFiles& files, const v1::Program& said,
                                     const DetectLimits& limits = {});

// Warns of each data set that the program loads and that it is neither given nor may fetch.
void WarnOfData(v1::Detection* detection);

}  // namespace trainyard::coordinator
