// An attempt's folder, as its program sees it.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainyard/v1/spec.pb.h"
#include "worker/agent/data_loader.h"
#include "worker/program/tree.h"

namespace trainyard::program {

// Paths; all but `packed` and `restored` are the program's business.
struct Workspace {
  std::string root;
  std::string source;       // the program's working folder: its own copy, which it may write into
  std::string home, tmp;    // empty at the start
  std::string data;         // one entry for each of `data_at`
  std::string checkpoints;  // entries
  std::string output;
  std::string exchange;  // where the next two are
  std::string metrics, params;
  std::string packed;                          // checkpoints on their way to the coordinator
  std::string restored;                        // what came from there
  std::map<std::string, std::string> data_at;  // by name: where on this host
  Stamps stamps;                               // of the source as it came
};

// Makes the folder, with the snapshot in it (none where the hash is empty) and the params file.
// Errors as those of DataLoader, which works in `root`/source.
absl::StatusOr<Workspace> MakeWorkspace(const std::string& root, const v1::Program& program,
                                        const v1::ProgramChanges& changes,
                                        const std::string& snapshot_sha256,
                                        agent::DataLoader& loader);

// What TRAINYARD_PARAMS_FILE holds: the changes that are set, flat.
std::string ParamsJson(const v1::ProgramChanges& changes);

}  // namespace trainyard::program
