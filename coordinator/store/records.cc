#include "coordinator/store/records.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <utility>

#include "coordinator/convert/stored.h"
#include "coordinator/convert/stored_names.h"
#include "coordinator/core/step.h"
#include "coordinator/store/database.h"
#include "coordinator/store/guarded.h"
#include "coordinator/store/schema.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

// Taken for as long as the process lives; the kernel lets go of it however the process ends.
absl::StatusOr<UniqueFd> LockFolder(const fs::path& folder) {
  const fs::path path = folder / "lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return FileError(errno, "open", path);
  char text[32] = {};
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FileError(errno, "lock", path);
    const ssize_t got = ::pread(fd.get(), text, sizeof text - 1, 0);
    return absl::FailedPreconditionError(
        fmt::format("state folder {} is in use by another coordinator (pid {}); stop it, or choose "
                    "another folder",
                    folder.string(), got > 0 ? text : "unknown"));
  }
  // The pid is a courtesy to whoever is refused; on a full disk it goes without.
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(fd.get(), 0) == 0 && ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) {
    return fd;
  }
  return fd;
}

// SQLite has no NaN: it stores NULL.
void BindMetric(Database::Query& query, int index, double value) {
  if (std::isnan(value)) {
    query->bind(index);
  } else {
    query->bind(index, value);
  }
}

void SaveCounters(Database& database, const core::Counters& counters) {
  const auto& [project, push, job, trial, attempt, worker, launch, checkpoint, notice, fencing,
               cursor] = counters;
  Database::Query query = database.Prepare(
      "INSERT OR REPLACE INTO counters (id, project, push, job, trial, attempt, worker, launch, "
      "checkpoint, notice, fencing, cursor) "
      "VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)");
  query.Bind(project, push, job, trial, attempt, worker, launch, checkpoint, notice, fencing,
             cursor);
  query.Run();
}

// Bodies are bound as blobs: a string_view would become text.
struct Body {
  std::string bytes;
};

void BindTo(Database::Query& query, int index, const Body& body) {
  query->bind(index, static_cast<const void*>(body.bytes.data()),
              static_cast<int>(body.bytes.size()));
}
template <typename Value>
void BindTo(Database::Query& query, int index, const Value& value) {
  query->bind(index, value);
}

// Inserts or replaces one row; `columns` are "id, over, body" with as many values.
template <typename... Values>
void SaveRow(Database& database, const char* upsert, const Values&... values) {
  Database::Query query = database.Prepare(upsert);
  int index = 0;
  (BindTo(query, ++index, values), ...);
  query.Run();
}

void Save(Database& database, const core::Project& project) {
  SaveRow(database,
          "INSERT INTO projects (id, over, body) VALUES (?1, ?2, ?3) "
          "ON CONFLICT (id) DO UPDATE SET over = ?2, body = ?3",
          project.id.value, int{core::Over(project)}, Body{Encode(project)});
}

void Save(Database& database, const core::Push& push) {
  SaveRow(database,
          "INSERT INTO pushes (id, over, project, body) VALUES (?1, ?2, ?3, ?4) "
          "ON CONFLICT (id) DO UPDATE SET over = ?2, project = ?3, body = ?4",
          push.id.value, int{core::Over(push)}, push.project.value, Body{Encode(push)});
}

void Save(Database& database, const core::Job& job) {
  SaveRow(database,
          "INSERT INTO jobs (id, over, published, identity, request_key, name, body) "
          "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) "
          "ON CONFLICT (id) DO UPDATE SET over = ?2, published = ?3, identity = ?4, "
          "request_key = ?5, name = ?6, body = ?7",
          job.id.value, int{core::Over(job)}, int{job.model.has_value()}, job.identity,
          job.request.request_key, job.request.name, Body{Encode(job)});
}

void Save(Database& database, const core::Trial& trial) {
  SaveRow(database,
          "INSERT INTO trials (id, job, body) VALUES (?1, ?2, ?3) "
          "ON CONFLICT (id) DO UPDATE SET job = ?2, body = ?3",
          trial.id.value, trial.job.value, Body{Encode(trial)});
}

void Save(Database& database, const core::Attempt& attempt) {
  SaveRow(database,
          "INSERT INTO attempts (id, job, trial, body) VALUES (?1, ?2, ?3, ?4) "
          "ON CONFLICT (id) DO UPDATE SET job = ?2, trial = ?3, body = ?4",
          attempt.id.value, attempt.job.value, attempt.trial.value, Body{Encode(attempt)});
}

void Save(Database& database, const core::Checkpoint& checkpoint) {
  SaveRow(database,
          "INSERT INTO checkpoints (id, job, trial, state, sha256, body) "
          "VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
          "ON CONFLICT (id) DO UPDATE SET job = ?2, trial = ?3, state = ?4, sha256 = ?5, body = ?6",
          checkpoint.id.value, checkpoint.job.value, checkpoint.trial.value,
          std::string(StoredName(checkpoint.state)), checkpoint.sha256, Body{Encode(checkpoint)});
}

void Save(Database& database, const core::Worker& worker) {
  SaveRow(database,
          "INSERT INTO workers (id, over, body) VALUES (?1, ?2, ?3) "
          "ON CONFLICT (id) DO UPDATE SET over = ?2, body = ?3",
          worker.id.value, int{core::Over(worker)}, Body{Encode(worker)});
}

void Save(Database& database, const core::Launch& launch) {
  SaveRow(database,
          "INSERT INTO launches (id, over, body) VALUES (?1, ?2, ?3) "
          "ON CONFLICT (id) DO UPDATE SET over = ?2, body = ?3",
          launch.id.value, int{core::Over(launch)}, Body{Encode(launch)});
}

void Save(Database& database, const core::Notice& notice) {
  SaveRow(database,
          "INSERT INTO notices (id, over, job, body) VALUES (?1, ?2, ?3, ?4) "
          "ON CONFLICT (id) DO UPDATE SET over = ?2, job = ?3, body = ?4",
          notice.id.value, int{core::Over(notice)}, notice.job.value, Body{Encode(notice)});
}

void Save(Database& database, const core::Epoch& epoch) {
  const auto& [key, job, step, metrics, images_per_second, seconds, exact, superseded,
               reported_wall_ms] = epoch;
  const auto& [train_loss, train_accuracy, val_loss, val_accuracy, learning_rate, gradient_norm,
               update_ratio, dead_units] = metrics;
  Database::Query query = database.Prepare(
      "INSERT INTO epochs (trial, epoch, attempt, job, step, exact, superseded, reported_wall_ms, "
      "train_loss, train_accuracy, val_loss, val_accuracy, learning_rate, images_per_second, "
      "seconds, gradient_norm, update_ratio, dead_units) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, "
      "?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) "
      "ON CONFLICT (trial, epoch, attempt) DO UPDATE SET job = ?4, step = ?5, exact = ?6, "
      "superseded = ?7, reported_wall_ms = ?8, train_loss = ?9, train_accuracy = ?10, "
      "val_loss = ?11, val_accuracy = ?12, learning_rate = ?13, images_per_second = ?14, "
      "seconds = ?15, gradient_norm = ?16, update_ratio = ?17, dead_units = ?18");
  query.Bind(key.trial.value, key.epoch, key.attempt.value, job.value, step, int{exact},
             int{superseded}, reported_wall_ms);
  int index = 8;
  for (double metric : {train_loss, train_accuracy, val_loss, val_accuracy, learning_rate,
                        images_per_second, seconds, gradient_norm, update_ratio, dead_units}) {
    BindMetric(query, ++index, metric);
  }
  query.Run();
}

template <typename Key, typename Record>
void SaveChanged(Database& database, const std::map<Key, Record>& records,
                 const std::set<Key>& changed) {
  // A change names a record in State; at() throws where a step broke that promise.
  for (const Key& key : changed) Save(database, records.at(key));
}

void SaveHistory(Database& database, const std::vector<v1::Event>& events) {
  for (const v1::Event& event : events) {
    SaveRow(database, "INSERT INTO history (cursor, job, wall_ms, body) VALUES (?1, ?2, ?3, ?4)",
            int64_t{event.cursor()}, int64_t{event.job()}, int64_t{event.time_ms()},
            Body{event.SerializeAsString()});
  }
}

v1::Event EventOf(Database::Query& query) {
  v1::Event event;
  const SQLite::Column body = query->getColumn(2);
  if (event.ParseFromArray(body.getBlob(), body.getBytes())) return event;
  event.Clear();
  event.set_cursor(query->getColumn(0).getInt64());
  event.set_job(query->getColumn(1).getInt64());
  event.set_kind("note");
  event.set_message("this line of the history cannot be read");
  return event;
}

}  // namespace

Records::Records(UniqueFd lock, std::unique_ptr<Database> database)
    : lock_(std::move(lock)), database_(std::move(database)) {}

Records::~Records() = default;

absl::StatusOr<std::unique_ptr<Records>> Records::Open(const fs::path& folder) {
  std::error_code error;
  const fs::path absolute = fs::absolute(folder, error);
  if (error) return FileError(error.value(), "find", folder);
  if (absl::Status status = CreateFolders(absolute); !status.ok()) return status;
  absl::StatusOr<UniqueFd> lock = LockFolder(absolute);
  if (!lock.ok()) return lock.status();
  absl::StatusOr<std::unique_ptr<Database>> database =
      Database::Open(absolute / "records.db", kMigrations);
  if (!database.ok()) return database.status();
  if (absl::Status status = SyncFolder(absolute); !status.ok()) return status;
  return std::unique_ptr<Records>(new Records(*std::move(lock), *std::move(database)));
}

absl::Status Records::Save(const core::State& state, const core::Changes& changes,
                           const std::vector<v1::Event>& events) {
  return Guarded(mutex_, *database_, "save", [&]() -> absl::Status {
    SQLite::Transaction transaction(database_->sqlite(), SQLite::TransactionBehavior::IMMEDIATE);
    if (changes.counters) SaveCounters(*database_, state.counters);
    SaveChanged(*database_, state.projects, changes.projects);
    SaveChanged(*database_, state.pushes, changes.pushes);
    SaveChanged(*database_, state.jobs, changes.jobs);
    SaveChanged(*database_, state.trials, changes.trials);
    SaveChanged(*database_, state.attempts, changes.attempts);
    SaveChanged(*database_, state.epochs, changes.epochs);
    SaveChanged(*database_, state.checkpoints, changes.checkpoints);
    SaveChanged(*database_, state.workers, changes.workers);
    SaveChanged(*database_, state.launches, changes.launches);
    SaveChanged(*database_, state.notices, changes.notices);
    SaveHistory(*database_, events);
    transaction.commit();
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<v1::Event>> Records::Events(core::JobId job, int64_t after_cursor,
                                                       int limit) {
  using Result = absl::StatusOr<std::vector<v1::Event>>;
  return Guarded(mutex_, *database_, "read the history", [&]() -> Result {
    Database::Query query = database_->Prepare(
        job ? "SELECT cursor, job, body FROM history WHERE job = ?1 AND cursor > ?2 "
              "ORDER BY cursor LIMIT ?3"
            : "SELECT cursor, job, body FROM history WHERE ?1 = 0 AND cursor > ?2 "
              "ORDER BY cursor LIMIT ?3");
    query.Bind(job.value, after_cursor, limit);
    std::vector<v1::Event> events;
    while (query.Next()) events.push_back(EventOf(query));
    return events;
  });
}

absl::StatusOr<int64_t> Records::LastCursor() {
  return Guarded(mutex_, *database_, "read the history", [&]() -> absl::StatusOr<int64_t> {
    Database::Query query = database_->Prepare("SELECT coalesce(max(cursor), 0) FROM history");
    query.Next();
    return query->getColumn(0).getInt64();
  });
}

absl::StatusOr<std::vector<core::JobId>> Records::Jobs(int limit) {
  using Result = absl::StatusOr<std::vector<core::JobId>>;
  return Guarded(mutex_, *database_, "list the jobs", [&]() -> Result {
    Database::Query query = database_->Prepare("SELECT id FROM jobs ORDER BY id DESC LIMIT ?1");
    query.Bind(limit);
    std::vector<core::JobId> jobs;
    while (query.Next()) jobs.push_back({query->getColumn(0).getInt64()});
    return jobs;
  });
}

absl::StatusOr<std::vector<core::JobId>> Records::JobsWithModel() {
  using Result = absl::StatusOr<std::vector<core::JobId>>;
  return Guarded(mutex_, *database_, "list the models", [&]() -> Result {
    Database::Query query =
        database_->Prepare("SELECT id FROM jobs WHERE published = 1 ORDER BY id");
    std::vector<core::JobId> jobs;
    while (query.Next()) jobs.push_back({query->getColumn(0).getInt64()});
    return jobs;
  });
}

absl::StatusOr<bool> Records::IsSoundCheckpoint(std::string_view sha256) {
  return Guarded(mutex_, *database_, "look for a checkpoint", [&]() -> absl::StatusOr<bool> {
    Database::Query query = database_->Prepare(
        "SELECT 1 FROM checkpoints WHERE state = 'sound' AND sha256 = ?1 LIMIT 1");
    query.Bind(std::string(sha256));
    return query.Next();
  });
}

}  // namespace trainyard::coordinator
