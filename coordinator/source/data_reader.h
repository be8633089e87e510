// What data files say about themselves: sizes, classes, counts, hashes. Nothing is decoded and
// memory doesn't grow with what a header claims; the worker's engine reads the pixels.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "network/shapes.h"
#include "trainyard/v1/spec.pb.h"

namespace trainyard::coordinator {

// Where a file of the spec lies on this machine: out of the snapshot, under a data root, or
// fetched.
using LocateFile = std::function<absl::StatusOr<std::string>(const v1::DataFile&)>;

// Opens every file and returns `data` with image, classes, class names, counts and the files'
// SHA-256 (not those of folders). Problems carry the spec's path ("data.train.images") and name the
// file, what was found and what was expected: missing, truncated, wrong magic, counts that
// disagree, labels out of range, another hash than the spec's.
v1::Data OpenData(const v1::Data& data, const LocateFile& locate,
                  std::vector<network::Problem>* problems);

// Notes the SHA-256 of a file that is none of the data's, such as the spec's weights.
void OpenFile(const std::string& path, const LocateFile& locate, v1::DataFile* file,
              std::vector<network::Problem>* problems);

}  // namespace trainyard::coordinator
