// A program's checkpoint as one blob, and back: an uncompressed tar, the same bytes for the same
// files.
//
//   state.json        epochs and steps so far, and what the epoch was worth
//   checkpoint/NAME   the entry that the program continues from, a file or a folder
//   output/...        what it wrote into TRAINYARD_OUTPUT_DIR
//   files/...         model files that it wrote into its working folder, at its end
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/program/metrics.h"
#include "worker/program/workspace.h"

namespace trainyard::program {

struct State {
  int epoch = 0;  // reported
  int64_t step = 0;
  double val_accuracy = kUnsaid, val_loss = kUnsaid;  // of that epoch
  std::optional<EpochLine> held;                      // the next one, not reported yet
  std::string entry;                                  // its name; empty: none
  std::string description;                            // of the model
  int64_t parameters = 0;
};

struct Blob {
  std::string sha256;
  int64_t bytes = 0;
};

// Writes the blob to `file`. `files`: of the working folder, relative. RESOURCE_EXHAUSTED: disk
// full; NOT_FOUND: the entry is gone.
absl::StatusOr<Blob> Pack(const Workspace& space, const State& state,
                          const std::vector<std::string>& files, const std::string& file);

// Puts what is in the blob to its places. DATA_LOSS where it is none of ours.
absl::StatusOr<State> Unpack(const std::string& file, const Workspace& space);

// The entry that was written last, and what tells it from one of the same name; nothing if there is
// none. Names that start with "." are not finished.
struct Entry {
  std::string name;
  Stamp stamp;
  bool operator==(const Entry&) const = default;
};
std::optional<Entry> NewestEntry(const Workspace& space);
std::optional<Entry> FindEntry(const Workspace& space, const std::string& name);

// Model files in the working folder that are new or changed against the source, relative, sorted.
std::vector<std::string> ModelFiles(const Workspace& space);

// What a job publishes of a checkpoint that was unpacked: name for people, and where it is.
struct Published {
  std::string name, path;
};
std::vector<Published> FilesToPublish(const Workspace& space, const State& state);

}  // namespace trainyard::program
