// Reads a State back, and keeps what cannot be read from doing more harm than it must.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

#include "coordinator/convert/stored.h"
#include "coordinator/core/step.h"
#include "coordinator/store/database.h"
#include "coordinator/store/guarded.h"
#include "coordinator/store/records.h"

namespace trainyard::coordinator {
namespace {

using SetAside = Records::SetAside;

// A record's row, as far as it could be read.
template <typename Record>
struct Row {
  int64_t id = 0;
  core::JobId job;  // the column beside the body; none in a table without one
  absl::StatusOr<Record> record = absl::UnknownError("");
};

// The rows of one table. `sql` selects id, job (or 0) and body.
template <typename Record>
std::vector<Row<Record>> ReadRows(Database& database, const std::string& sql, int64_t argument) {
  Database::Query query = database.Prepare(sql);
  if (query->getBindParameterCount() > 0) query.Bind(argument);
  std::vector<Row<Record>> rows;
  while (query.Next()) {
    Row<Record>& row = rows.emplace_back();
    row.id = query->getColumn(0).getInt64();
    row.job.value = query->getColumn(1).getInt64();
    const SQLite::Column body = query->getColumn(2);
    row.record = Decode<Record>(
        {static_cast<const char*>(body.getBlob()), static_cast<size_t>(body.getBytes())});
    if (row.record.ok() && row.record->id.value != row.id) {
      row.record = absl::DataLossError(
          fmt::format("found the record of {}, expected {}", row.record->id.value, row.id));
    }
    if constexpr (requires { row.record->job; }) {
      if (row.job && row.record.ok() && row.record->job != row.job) {
        row.record = absl::DataLossError(
            fmt::format("found job {}, expected {}", row.record->job.value, row.job.value));
      }
    }
  }
  return rows;
}

template <typename Record>
std::string CauseOf(const char* table, const Row<Record>& row) {
  return fmt::format("{} row {}: {}", table, row.id, std::string(row.record.status().message()));
}

double Metric(const SQLite::Column& column) {
  return column.isNull() ? std::numeric_limits<double>::quiet_NaN() : column.getDouble();
}

// What older rows, and programs, do not tell is zero.
double Told(const SQLite::Column& column) { return column.isNull() ? 0 : column.getDouble(); }

// `where` selects from epochs.
void ReadEpochs(Database& database, const std::string& where, int64_t argument,
                core::State& state) {
  Database::Query query = database.Prepare(
      "SELECT trial, epoch, attempt, job, step, exact, superseded, reported_wall_ms, train_loss, "
      "train_accuracy, val_loss, val_accuracy, learning_rate, images_per_second, seconds, "
      "gradient_norm, update_ratio, dead_units "
      "FROM epochs WHERE " +
      where);
  if (query->getBindParameterCount() > 0) query.Bind(argument);
  while (query.Next()) {
    const auto column = [&](int index) { return query->getColumn(index); };
    core::Epoch epoch;
    epoch.key = {{column(0).getInt64()}, column(1).getInt(), {column(2).getInt64()}};
    epoch.job.value = column(3).getInt64();
    epoch.step = column(4).getInt64();
    epoch.exact = column(5).getInt() != 0;
    epoch.superseded = column(6).getInt() != 0;
    epoch.reported_wall_ms = column(7).getInt64();
    epoch.metrics = {Metric(column(8)),  Metric(column(9)), Metric(column(10)), Metric(column(11)),
                     Metric(column(12)), Told(column(15)),  Told(column(16)),   Told(column(17))};
    epoch.images_per_second = Metric(column(13));
    epoch.seconds = Metric(column(14));
    state.epochs.emplace(epoch.key, epoch);
  }
}

class Loader {
 public:
  Loader(Database& database, Records::Loaded& loaded)
      : database_(database), state_(loaded.state), set_aside_(loaded.set_aside) {}

  absl::Status Load() {
    if (absl::Status status = LoadCounters(); !status.ok()) return status;
    LoadIdentities();
    LoadFree("projects", "SELECT id, 0, body FROM projects WHERE over = 0", state_.projects);
    LoadFree("pushes", "SELECT id, 0, body FROM pushes WHERE over = 0", state_.pushes);
    LoadJobs();
    LoadOwned("trials", state_.trials);
    LoadOwned("attempts", state_.attempts);
    LoadOwned("checkpoints", state_.checkpoints);
    Load("checkpoints", "SELECT id, job, body FROM checkpoints WHERE state = 'dropping'",
         state_.checkpoints);
    ReadEpochs(database_, "job IN (SELECT id FROM jobs WHERE over = 0)", 0, state_);
    Load("notices", "SELECT id, job, body FROM notices WHERE over = 0", state_.notices);
    LoadFree("launches", "SELECT id, 0, body FROM launches WHERE over = 0", state_.launches);
    LoadWorkers();
    core::Forget(state_);
    return absl::OkStatus();
  }

 private:
  absl::Status LoadCounters() {
    Database::Query query = database_.Prepare(
        "SELECT project, push, job, trial, attempt, worker, launch, checkpoint, notice, fencing, "
        "cursor FROM counters");
    const bool found = query.Next();
    if (!found) {
      Database::Query history = database_.Prepare("SELECT count(*) FROM (SELECT 1 FROM history)");
      history.Next();
      if (history->getColumn(0).getInt64() == 0) return absl::OkStatus();  // nothing was saved yet
      return absl::DataLossError(
          fmt::format("{}: table counters is empty, expected one row; restore the file from a copy",
                      database_.path().string()));
    }
    auto& [project, push, job, trial, attempt, worker, launch, checkpoint, notice, fencing,
           cursor] = state_.counters;
    int index = 0;
    for (int64_t* counter : {&project, &push, &job, &trial, &attempt, &worker, &launch, &checkpoint,
                             &notice, &fencing, &cursor}) {
      *counter = query->getColumn(index++).getInt64();
    }
    return absl::OkStatus();
  }

  void LoadIdentities() {
    Database::Query query = database_.Prepare("SELECT id, identity, request_key FROM jobs");
    while (query.Next()) {
      const core::JobId job{query->getColumn(0).getInt64()};
      const std::string identity = query->getColumn(1).getString();
      const std::string request_key = query->getColumn(2).getString();
      if (!identity.empty()) state_.identities[identity] = job;
      if (!request_key.empty()) state_.request_keys[request_key] = job;
    }
  }

  // Rows that can be read go into `records`, the others are set aside.
  template <typename Key, typename Record>
  void Load(const char* table, const std::string& sql, std::map<Key, Record>& records) {
    for (Row<Record>& row : ReadRows<Record>(database_, sql, 0)) {
      if (row.record.ok()) {
        records.emplace(Key{row.id}, *std::move(row.record));
      } else {
        Keep(table, row.id, row.job, CauseOf(table, row));
      }
    }
  }

  // Of a table whose rows belong to no job.
  template <typename Key, typename Record>
  void LoadFree(const char* table, const std::string& sql, std::map<Key, Record>& records) {
    Load(table, sql, records);
  }

  // Of a table whose rows belong to a job: those of jobs that are not over.
  template <typename Key, typename Record>
  void LoadOwned(const char* table, std::map<Key, Record>& records) {
    Load(table,
         fmt::format("SELECT id, job, body FROM {} WHERE job IN (SELECT id FROM jobs WHERE over = "
                     "0)",
                     table),
         records);
  }

  // A job that cannot be read stands there as far as its columns tell, for core to give it up.
  void LoadJobs() {
    for (Row<core::Job>& row :
         ReadRows<core::Job>(database_, "SELECT id, id, body FROM jobs WHERE over = 0", 0)) {
      if (!row.record.ok()) {
        Keep("jobs", row.id, row.job, CauseOf("jobs", row));
        row.record = JobFromColumns(row.job);
      }
      state_.jobs.emplace(row.job, *std::move(row.record));
    }
  }

  core::Job JobFromColumns(core::JobId id) {
    Database::Query query =
        database_.Prepare("SELECT identity, request_key, name FROM jobs WHERE id = ?1");
    query.Bind(id.value);
    query.Next();
    core::Job job;
    job.id = id;
    job.identity = query->getColumn(0).getString();
    job.request.request_key = query->getColumn(1).getString();
    job.request.name = query->getColumn(2).getString();
    return job;
  }

  // A worker that cannot be read may hold an attempt of a sound job, which must not suffer: it
  // stands there as the attempt tells, and goes on under its number.
  void LoadWorkers() {
    for (Row<core::Worker>& row :
         ReadRows<core::Worker>(database_, "SELECT id, 0, body FROM workers WHERE over = 0", 0)) {
      if (!row.record.ok()) {
        Keep("workers", row.id, {}, CauseOf("workers", row));
        row.record = WorkerFromAttempts({row.id});
      }
      state_.workers.emplace(core::WorkerId{row.id}, *std::move(row.record));
    }
  }

  core::Worker WorkerFromAttempts(core::WorkerId id) const {
    core::Worker worker;
    worker.id = id;
    worker.name = fmt::format("worker {} (its record cannot be read)", id.value);
    for (const auto& [attempt_id, attempt] : state_.attempts) {
      if (!attempt.held() || attempt.worker != id) continue;
      worker.state = core::WorkerState::kBusy;
      worker.attempt = attempt_id;
    }
    return worker;
  }

  // Remembers the row as it is. It may not work on a full disk; then the log has to do.
  void Keep(const char* table, int64_t id, core::JobId job, const std::string& cause) {
    set_aside_.push_back({job, cause});
    try {
      Database::Query query = database_.Prepare(
          fmt::format("INSERT OR IGNORE INTO set_aside (kind, id, cause, body, found) "
                      "SELECT '{0}', id, ?2, body, datetime('now') FROM {0} WHERE id = ?1",
                      table));
      query.Bind(id, cause);
      query.Run();
    } catch (const SQLite::Exception&) {
    }
  }

  Database& database_;
  core::State& state_;
  std::vector<SetAside>& set_aside_;
};

template <typename Key, typename Record>
void LoadReadable(Database& database, const std::string& sql, int64_t argument,
                  std::map<Key, Record>& records) {
  for (Row<Record>& row : ReadRows<Record>(database, sql, argument)) {
    if (row.record.ok()) records.emplace(Key{row.id}, *std::move(row.record));
  }
}

}  // namespace

absl::StatusOr<Records::Loaded> Records::Load() {
  return Guarded(mutex_, *database_, "load", [&]() -> absl::StatusOr<Loaded> {
    Loaded loaded;
    if (absl::Status status = Loader(*database_, loaded).Load(); !status.ok()) return status;
    return loaded;
  });
}

absl::StatusOr<core::State> Records::LoadJob(core::JobId id, Detail detail) {
  return Guarded(mutex_, *database_, "load a job", [&]() -> absl::StatusOr<core::State> {
    core::State state;
    auto rows =
        ReadRows<core::Job>(*database_, "SELECT id, id, body FROM jobs WHERE id = ?1", id.value);
    if (rows.empty()) return absl::NotFoundError(fmt::format("there is no job {}", id.value));
    Row<core::Job>& row = rows.front();
    if (!row.record.ok()) return absl::DataLossError(CauseOf("jobs", row));
    const int64_t project = row.record->request.project.value;
    state.jobs.emplace(id, *std::move(row.record));
    LoadReadable(*database_, "SELECT id, 0, body FROM projects WHERE id = ?1", project,
                 state.projects);
    LoadReadable(*database_, "SELECT id, job, body FROM trials WHERE job = ?1", id.value,
                 state.trials);
    LoadReadable(*database_, "SELECT id, job, body FROM attempts WHERE job = ?1", id.value,
                 state.attempts);
    LoadReadable(*database_, "SELECT id, job, body FROM checkpoints WHERE job = ?1", id.value,
                 state.checkpoints);
    for (const auto& [attempt_id, attempt] : state.attempts) {
      if (!attempt.worker) continue;
      LoadReadable(*database_, "SELECT id, 0, body FROM workers WHERE id = ?1",
                   attempt.worker.value, state.workers);
    }
    if (detail == Detail::kEpochs) ReadEpochs(*database_, "job = ?1", id.value, state);
    return state;
  });
}

}  // namespace trainyard::coordinator
