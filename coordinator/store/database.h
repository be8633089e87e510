// A SQLite file of ours: settings, tables and their versions, statements, errors.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainyard::coordinator {

// One connection, not thread-safe. Functions without a Status throw SQLite::Exception.
class Database {
 public:
  // Creates or opens the file and brings its tables up to date: `migrations` are performed in
  // order, each one once.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::filesystem::path& path,
                                                        std::span<const char* const> migrations);

  // A statement, prepared once and reset when the Query goes out of scope.
  class Query {
   public:
    explicit Query(SQLite::Statement& statement) : statement_(statement) {}
    Query(const Query&) = delete;
    ~Query() {
      statement_.tryReset();
      statement_.clearBindings();
    }
    SQLite::Statement* operator->() { return &statement_; }
    // Binds ?1, ?2, ... in order.
    template <typename... Values>
    Query& Bind(const Values&... values) {
      int index = 0;
      (statement_.bind(++index, values), ...);
      return *this;
    }
    bool Next() { return statement_.executeStep(); }
    void Run() { statement_.exec(); }

   private:
    SQLite::Statement& statement_;
  };
  Query Prepare(const std::string& sql);

  SQLite::Database& sqlite() { return sqlite_; }
  const std::filesystem::path& path() const { return path_; }

  // RESOURCE_EXHAUSTED for a full disk, UNAVAILABLE for a failing one, FAILED_PRECONDITION while
  // another program holds the file, DATA_LOSS for a damaged one, else INTERNAL. Names the file.
  static absl::Status ToStatus(const SQLite::Exception& error, const std::string& doing,
                               const std::filesystem::path& path);

 private:
  explicit Database(const std::filesystem::path& path);
  void Configure();
  absl::Status Migrate(std::span<const char* const> migrations);

  const std::filesystem::path path_;
  SQLite::Database sqlite_;
  std::map<std::string, std::unique_ptr<SQLite::Statement>> statements_;  // by their text
};

}  // namespace trainyard::coordinator
