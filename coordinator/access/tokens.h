// The tokens of people, pipelines and workers that are started by hand: who may come in, as what
// and until when. Kept beside the records in a database of its own, which holds hashes and no
// secrets.
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
#include "coordinator/loop.h"
#include "coordinator/store/database.h"
#include "trainyard/v1/resources.pb.h"

namespace trainyard::coordinator {

using Role = v1::Token::Role;

// "viewer", "submitter", "admin", "join".
std::string RoleName(Role role);

// Thread-safe.
class TokenStore {
 public:
  // A token that lives, and the number by which it is asked about again.
  struct Known {
    int64_t id = 0;
    v1::Token token;
  };
  struct Created {
    v1::Token token;
    std::string secret;  // from here on nobody but the caller has it
  };

  // The folder is there, and private.
  static absl::StatusOr<std::unique_ptr<TokenStore>> Open(const std::filesystem::path& folder,
                                                          Clock* clock = &Clock::System());

  // `lifetime_ms` 0: until it is revoked. ALREADY_EXISTS: the name is taken by a token that is not
  // revoked.
  absl::StatusOr<Created> Create(const std::string& name, Role role, int64_t lifetime_ms);
  // By name; revoking it again changes nothing. NOT_FOUND.
  absl::StatusOr<v1::Token> Revoke(const std::string& name);
  // Oldest first. Those that have been dead for long are forgotten.
  std::vector<v1::Token> List() const;

  // Whose secret this is. UNAUTHENTICATED: nobody's, or of a token that is dead, saying why.
  absl::StatusOr<Known> Check(std::string_view secret);
  // Whether it still lives.
  absl::Status Recheck(int64_t id) const;
  // Whether any token of this role lives.
  bool HasLive(Role role) const;

 private:
  struct Row {
    int64_t id = 0;
    std::string hash;
    v1::Token token;
    int64_t revoked_ms = 0;
    int64_t noted_ms = 0;  // last_used_ms as the database has it
  };

  TokenStore(std::unique_ptr<Database> database, Clock* clock);
  // With mutex_ held; may throw what SQLite throws.
  void Load();
  void ForgetLongDead();
  Row* FindByName(const std::string& name);
  void NoteUse(Row& row);

  const std::unique_ptr<Database> database_;
  Clock* const clock_;
  mutable std::mutex mutex_;
  std::vector<Row> rows_;  // all that the database has, by id
};

}  // namespace trainyard::coordinator
