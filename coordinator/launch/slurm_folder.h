// The folder of one launch, on a file system that the coordinator and every node share: the job's
// script, the worker's access files and output, and the notes that the job leaves of its course.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/launch/launcher.h"

namespace trainyard::coordinator {

// What a job noted of itself, see SlurmScript.
struct SlurmNotes {
  int64_t started_job = 0;    // the one that started the worker; 0: none yet
  std::optional<int> status;  // how the worker ended
  bool out_of_memory = false;
  std::set<int64_t> refused;  // jobs that were to start a second worker
};

// Lines that are not complete, or not ours, are left out.
SlurmNotes ParseNotes(std::string_view text);

class SlurmFolder {
 public:
  explicit SlurmFolder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  std::string script() const { return path_ + "/job.sh"; }
  std::string log() const { return path_ + "/output.log"; }
  bool Exists() const;

  // Makes it, for nobody but its owner. False: it was there already, so the launch may have been
  // submitted.
  absl::StatusOr<bool> Make() const;
  absl::Status WriteScript(const std::string& script) const;
  absl::Status WriteAccess(const AccessFiles& files) const;
  void DropAccess() const;
  absl::Status NoteJob(int64_t job) const;
  std::optional<int64_t> ReadJob() const;
  SlurmNotes ReadNotes() const;

 private:
  std::string path_;
};

}  // namespace trainyard::coordinator
