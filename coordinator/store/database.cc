#include "coordinator/store/database.h"

#include <fmt/format.h>
#include <sqlite3.h>

namespace trainyard::coordinator {

Database::Database(const std::filesystem::path& path)
    : path_(path), sqlite_(path.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE) {}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::filesystem::path& path,
                                                         std::span<const char* const> migrations) {
  try {
    std::unique_ptr<Database> database(new Database(path));
    database->Configure();
    if (absl::Status status = database->Migrate(migrations); !status.ok()) return status;
    return database;
  } catch (const SQLite::Exception& error) {
    return ToStatus(error, "open the tables", path);
  }
}

void Database::Configure() {
  // Exclusive locking before the first access: the index of the write-ahead log then stays in this
  // process, where no second connection can be reset under. The log is cut back to the last size
  // named here after each checkpoint, which comes every 1000 pages.
  sqlite_.exec(
      "PRAGMA locking_mode = EXCLUSIVE;"
      "PRAGMA journal_mode = WAL;"
      "PRAGMA synchronous = FULL;"
      "PRAGMA wal_autocheckpoint = 1000;"
      "PRAGMA journal_size_limit = 8388608;"
      "PRAGMA temp_store = MEMORY;"
      "PRAGMA foreign_keys = ON;");
}

absl::Status Database::Migrate(std::span<const char* const> migrations) {
  SQLite::Transaction transaction(sqlite_, SQLite::TransactionBehavior::IMMEDIATE);
  sqlite_.exec(
      "CREATE TABLE IF NOT EXISTS migrations ("
      "  version INTEGER PRIMARY KEY, applied TEXT NOT NULL) STRICT");
  const int found = sqlite_.execAndGet("SELECT coalesce(max(version), 0) FROM migrations");
  const int known = static_cast<int>(migrations.size());
  if (found > known) {
    return absl::FailedPreconditionError(
        fmt::format("{} was written by a newer version: found records of version {}, expected at "
                    "most {}",
                    path_.string(), found, known));
  }
  for (int version = found + 1; version <= known; ++version) {
    sqlite_.exec(migrations[version - 1]);
    SQLite::Statement insert(sqlite_, "INSERT INTO migrations VALUES (?1, datetime('now'))");
    insert.bind(1, version);
    insert.exec();
  }
  transaction.commit();
  return absl::OkStatus();
}

Database::Query Database::Prepare(const std::string& sql) {
  std::unique_ptr<SQLite::Statement>& statement = statements_[sql];
  if (!statement) statement = std::make_unique<SQLite::Statement>(sqlite_, sql);
  return Query(*statement);
}

absl::Status Database::ToStatus(const SQLite::Exception& error, const std::string& doing,
                                const std::filesystem::path& path) {
  const std::string text = fmt::format("cannot {} in {}: {}", doing, path.string(), error.what());
  switch (error.getErrorCode()) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(text);
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
      return absl::UnavailableError(text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::FailedPreconditionError(text + " (another program has the file open)");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(text);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
      return absl::PermissionDeniedError(text);
    default:
      return absl::InternalError(text);
  }
}

}  // namespace trainyard::coordinator
