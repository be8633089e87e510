// What the coordinator knows, on disk: one SQLite file, written in one transaction per batch of
// steps.
//
// One process at a time holds a state folder. Inside it one connection does everything under a
// mutex, so every function may be called from any thread; readers see what was committed, never
// half a batch. A row that cannot be read costs its own job only: see Loaded::set_aside.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/state.h"
#include "coordinator/store/files.h"
#include "trainyard/v1/resources.pb.h"

namespace trainyard::coordinator {

class Database;

class Records {
 public:
  // Creates or opens `folder`/records.db and brings its tables up to date. FAILED_PRECONDITION,
  // naming the pid, while another coordinator uses the folder, and where a newer version wrote the
  // records; DATA_LOSS if the file is no database. Open this before Blobs, which rely on the
  // folder's lock.
  static absl::StatusOr<std::unique_ptr<Records>> Open(const std::filesystem::path& folder);
  ~Records();

  // A record that could not be read, and why: the table, the row, what was found, what was
  // expected.
  struct SetAside {
    core::JobId job;  // none: a record that belongs to no job
    std::string cause;
  };
  struct Loaded {
    core::State state;  // without settings and volatile parts
    // The jobs named here are in the state as far as they could be read; CoordinatorRecovered is to
    // give them up. The rows are kept, in the table set_aside too.
    std::vector<SetAside> set_aside;
  };
  // What was saved last, without what is over (core::Forget). DATA_LOSS if the counters, which all
  // else hangs on, or the file itself cannot be read.
  absl::StatusOr<Loaded> Load();

  // Writes what changed, or nothing at all: RESOURCE_EXHAUSTED on a full disk, UNAVAILABLE where
  // the disk fails otherwise. After an error the same call may be repeated. `events` are
  // changes.history as watchers will see it.
  absl::Status Save(const core::State& state, const core::Changes& changes,
                    const std::vector<v1::Event>& events);

  // ---- History ----

  // At most `limit` events after the cursor, oldest first; of one job, or of everything (no job).
  absl::StatusOr<std::vector<v1::Event>> Events(core::JobId job, int64_t after_cursor, int limit);
  absl::StatusOr<int64_t> LastCursor();

  // Of every job that ever was, newest first.
  absl::StatusOr<std::vector<core::JobId>> Jobs(int limit);
  // Those with a published model, oldest first.
  absl::StatusOr<std::vector<core::JobId>> JobsWithModel();

  enum class Detail { kSummary, kEpochs };
  // One job, ended ones too, with its trials, attempts, checkpoints, workers, project and (kEpochs)
  // its rows of metrics; of those, rows that cannot be read are left out. NOT_FOUND; DATA_LOSS.
  absl::StatusOr<core::State> LoadJob(core::JobId job, Detail detail);

  // True while a sound checkpoint of any job, ended ones too, is made of this blob: then it must
  // not be deleted.
  absl::StatusOr<bool> IsSoundCheckpoint(std::string_view sha256);

 private:
  Records(UniqueFd lock, std::unique_ptr<Database> database);

  // The folder's lock is let go of last.
  const UniqueFd lock_;
  std::mutex mutex_;
  const std::unique_ptr<Database> database_;  // guarded by mutex_
};

}  // namespace trainyard::coordinator
