#include "worker/program/workspace.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace trainyard::program {
namespace {

namespace fs = std::filesystem;

// Names become entries of a folder; the spec's reader holds them to more than this.
bool IsEntryName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= 200 &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace

absl::StatusOr<Workspace> MakeWorkspace(const std::string& root, const v1::Program& program,
                                        const v1::ProgramChanges& changes,
                                        const std::string& snapshot_sha256,
                                        agent::DataLoader& loader) {
  Workspace space;
  space.root = root;
  space.source = root + "/source";
  space.home = root + "/home";
  space.tmp = root + "/tmp";
  space.data = root + "/data";
  space.checkpoints = root + "/checkpoints";
  space.output = root + "/output";
  space.exchange = root + "/exchange";
  space.metrics = space.exchange + "/metrics.jsonl";
  space.params = space.exchange + "/params.json";
  space.packed = root + "/packed";
  space.restored = root + "/restored";
  for (const std::string& folder :
       {space.source, space.home, space.tmp, space.data, space.checkpoints, space.output,
        space.exchange, space.packed, space.restored}) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) return absl::UnavailableError(absl::StrCat(folder, ": ", error.message()));
  }
  // Nobody else's, on a machine that others use too.
  std::error_code ignored;
  fs::permissions(root, fs::perms::owner_all, ignored);
  if (!snapshot_sha256.empty()) {
    if (auto status = loader.UnpackSnapshot(snapshot_sha256); !status.ok()) return status;
  }
  space.stamps = StampFiles(space.source);
  for (const v1::ProgramData& data : program.data()) {
    const std::string place = absl::StrCat("program.data.", data.name());
    if (!IsEntryName(data.name())) {
      return absl::InvalidArgumentError(absl::StrCat(place, ": expected a plain name"));
    }
    absl::StatusOr<std::string> path = loader.Locate(data.file());
    if (!path.ok()) {
      return absl::Status(path.status().code(), absl::StrCat(place, ": ", path.status().message()));
    }
    space.data_at[data.name()] = *std::move(path);
  }
  std::ofstream params(space.params);
  params << ParamsJson(changes) << "\n";
  params.close();
  std::ofstream(space.metrics).close();
  if (!params) return absl::UnavailableError(absl::StrCat(space.params, ": cannot be written"));
  return space;
}

std::string ParamsJson(const v1::ProgramChanges& changes) {
  nlohmann::json params = nlohmann::json::object();
  if (changes.epochs() > 0) params["epochs"] = changes.epochs();
  if (changes.batch_size() > 0) params["batch_size"] = changes.batch_size();
  if (!changes.optimizer().empty()) params["optimizer"] = changes.optimizer();
  if (changes.learning_rate() > 0) params["learning_rate"] = changes.learning_rate();
  if (changes.width() > 0) params["width"] = changes.width();
  if (changes.added_convs() > 0) params["added_convs"] = changes.added_convs();
  if (changes.added_dense() > 0) params["added_dense"] = changes.added_dense();
  if (changes.dropout() > 0) params["dropout"] = changes.dropout();
  return params.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace trainyard::program
