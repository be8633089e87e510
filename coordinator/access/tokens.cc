#include "coordinator/access/tokens.h"

#include <fcntl.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "coordinator/access/secrets.h"
#include "coordinator/store/files.h"
#include "coordinator/store/guarded.h"

namespace trainyard::coordinator {
namespace {

constexpr const char* kTokenMigrations[] = {
    R"sql(
CREATE TABLE tokens (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, role INTEGER NOT NULL, sha256 TEXT NOT NULL UNIQUE,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, last_used_ms INTEGER NOT NULL,
  revoked_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX tokens_in_use ON tokens (name) WHERE revoked_ms = 0;
)sql",
};

constexpr int64_t kDayMs = 86'400'000;
constexpr int64_t kLifetimeMax = 3650 * kDayMs;
constexpr int64_t kForgetAfterMs = 90 * kDayMs;
constexpr int64_t kNoteUseEveryMs = 60'000;  // "last used" is for people, and costs a write
constexpr size_t kNameMax = 64;
constexpr size_t kTokensMax = 10'000;

absl::Status CheckName(const std::string& name) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  };
  if (!name.empty() && name.size() <= kNameMax &&
      std::isalnum(static_cast<unsigned char>(name[0])) &&
      std::all_of(name.begin(), name.end(), plain)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "name: found ", name.empty() ? "nothing" : "a text of another kind", ", expected 1 to ",
      kNameMax, " letters, digits, '-', '_' or '.', the first one a letter or digit"));
}

absl::Status CheckNew(const std::string& name, Role role, int64_t lifetime_ms) {
  if (auto status = CheckName(name); !status.ok()) return status;
  if (role < v1::Token::VIEWER || role > v1::Token::JOIN) {
    return absl::InvalidArgumentError(absl::StrCat("role: found number ", static_cast<int>(role),
                                                   ", expected viewer, submitter, admin or join"));
  }
  if (lifetime_ms < 0 || lifetime_ms > kLifetimeMax) {
    return absl::InvalidArgumentError(absl::StrCat("lifetime_ms: found ", lifetime_ms,
                                                   ", expected 0 (for ever) to ", kLifetimeMax,
                                                   " (ten years)"));
  }
  return absl::OkStatus();
}

// Why it opens nothing any more; OK while it does.
absl::Status CheckLives(const v1::Token& token, int64_t now_ms) {
  if (token.revoked()) {
    return absl::UnauthenticatedError(absl::StrCat("the token '", token.name(), "' was revoked"));
  }
  if (token.expires_ms() != 0 && token.expires_ms() <= now_ms) {
    return absl::UnauthenticatedError(absl::StrCat(
        "the token '", token.name(), "' expired at ",
        absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixMillis(token.expires_ms()),
                         absl::UTCTimeZone())));
  }
  return absl::OkStatus();
}

}  // namespace

std::string RoleName(Role role) {
  switch (role) {
    case v1::Token::VIEWER:
      return "viewer";
    case v1::Token::SUBMITTER:
      return "submitter";
    case v1::Token::ADMIN:
      return "admin";
    case v1::Token::JOIN:
      return "join";
    default:
      return "unknown";
  }
}

TokenStore::TokenStore(std::unique_ptr<Database> database, Clock* clock)
    : database_(std::move(database)), clock_(clock) {}

absl::StatusOr<std::unique_ptr<TokenStore>> TokenStore::Open(const std::filesystem::path& folder,
                                                             Clock* clock) {
  const std::filesystem::path path = folder / "tokens.db";
  // SQLite gives the files beside it the mode of this one.
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return FileError(errno, "open", path);
  fd.Close();
  auto database = Database::Open(path, kTokenMigrations);
  if (!database.ok()) return database.status();
  std::unique_ptr<TokenStore> store(new TokenStore(*std::move(database), clock));
  const absl::Status loaded = Guarded(store->mutex_, *store->database_, "load the tokens", [&] {
    store->Load();
    store->ForgetLongDead();
    return absl::OkStatus();
  });
  if (!loaded.ok()) return loaded;
  return store;
}

void TokenStore::Load() {
  auto query = database_->Prepare(
      "SELECT id, name, role, sha256, created_ms, expires_ms, last_used_ms, revoked_ms FROM tokens "
      "ORDER BY id");
  while (query.Next()) {
    Row row;
    row.id = query->getColumn(0).getInt64();
    row.token.set_name(query->getColumn(1).getString());
    row.token.set_role(static_cast<Role>(query->getColumn(2).getInt()));
    row.hash = query->getColumn(3).getString();
    row.token.set_created_ms(query->getColumn(4).getInt64());
    row.token.set_expires_ms(query->getColumn(5).getInt64());
    row.token.set_last_used_ms(query->getColumn(6).getInt64());
    row.noted_ms = row.token.last_used_ms();
    row.revoked_ms = query->getColumn(7).getInt64();
    row.token.set_revoked(row.revoked_ms != 0);
    rows_.push_back(std::move(row));
  }
}

void TokenStore::ForgetLongDead() {
  const int64_t before_ms = clock_->WallMs() - kForgetAfterMs;
  database_
      ->Prepare(
          "DELETE FROM tokens WHERE (revoked_ms != 0 AND revoked_ms < ?1) OR "
          "(expires_ms != 0 AND expires_ms < ?1)")
      .Bind(before_ms)
      .Run();
  std::erase_if(rows_, [&](const Row& row) {
    return (row.revoked_ms != 0 && row.revoked_ms < before_ms) ||
           (row.token.expires_ms() != 0 && row.token.expires_ms() < before_ms);
  });
}

absl::StatusOr<TokenStore::Created> TokenStore::Create(const std::string& name, Role role,
                                                       int64_t lifetime_ms) {
  using Result = absl::StatusOr<Created>;
  if (auto status = CheckNew(name, role, lifetime_ms); !status.ok()) return status;
  auto secret = NewSecret();
  if (!secret.ok()) return secret.status();
  return Guarded(mutex_, *database_, "create a token", [&]() -> Result {
    if (const Row* taken = FindByName(name); taken != nullptr && !taken->token.revoked()) {
      return absl::AlreadyExistsError(absl::StrCat(
          "there is a token '", name, "' already: revoke it first, or take another name"));
    }
    ForgetLongDead();
    if (rows_.size() >= kTokensMax) {
      return absl::ResourceExhaustedError(
          absl::StrCat("there are ", kTokensMax, " tokens already"));
    }
    Row row;
    row.hash = HashOfSecret(*secret);
    row.token.set_name(name);
    row.token.set_role(role);
    row.token.set_created_ms(clock_->WallMs());
    if (lifetime_ms > 0) row.token.set_expires_ms(row.token.created_ms() + lifetime_ms);
    database_
        ->Prepare(
            "INSERT INTO tokens (name, role, sha256, created_ms, expires_ms, last_used_ms, "
            "revoked_ms) VALUES (?1, ?2, ?3, ?4, ?5, 0, 0)")
        .Bind(name, static_cast<int>(role), row.hash, row.token.created_ms(),
              row.token.expires_ms())
        .Run();
    row.id = database_->sqlite().getLastInsertRowid();
    rows_.push_back(row);
    return Created{row.token, *secret};
  });
}

TokenStore::Row* TokenStore::FindByName(const std::string& name) {
  // The newest of that name: all before it are revoked.
  const auto found = std::find_if(rows_.rbegin(), rows_.rend(),
                                  [&](const Row& row) { return row.token.name() == name; });
  return found == rows_.rend() ? nullptr : &*found;
}

absl::StatusOr<v1::Token> TokenStore::Revoke(const std::string& name) {
  using Result = absl::StatusOr<v1::Token>;
  if (auto status = CheckName(name); !status.ok()) return status;
  return Guarded(mutex_, *database_, "revoke a token", [&]() -> Result {
    Row* row = FindByName(name);
    if (row == nullptr) return absl::NotFoundError(absl::StrCat("no token '", name, "'"));
    if (row->token.revoked()) return row->token;
    const int64_t now_ms = clock_->WallMs();
    database_->Prepare("UPDATE tokens SET revoked_ms = ?2 WHERE id = ?1")
        .Bind(row->id, now_ms)
        .Run();
    row->revoked_ms = now_ms;
    row->token.set_revoked(true);
    return row->token;
  });
}

std::vector<v1::Token> TokenStore::List() const {
  std::lock_guard lock(mutex_);
  std::vector<v1::Token> tokens;
  for (const Row& row : rows_) tokens.push_back(row.token);
  return tokens;
}

absl::StatusOr<TokenStore::Known> TokenStore::Check(std::string_view secret) {
  const std::string hash = HashOfSecret(secret);
  std::lock_guard lock(mutex_);
  Row* found = nullptr;
  for (Row& row : rows_) {
    if (SameSecret(row.hash, hash)) found = &row;
  }
  if (found == nullptr) {
    return absl::UnauthenticatedError("this coordinator does not know the token");
  }
  if (auto status = CheckLives(found->token, clock_->WallMs()); !status.ok()) return status;
  NoteUse(*found);
  return Known{found->id, found->token};
}

void TokenStore::NoteUse(Row& row) {
  const int64_t now_ms = clock_->WallMs();
  row.token.set_last_used_ms(now_ms);
  if (now_ms - row.noted_ms < kNoteUseEveryMs) return;
  row.noted_ms = now_ms;
  try {
    database_->Prepare("UPDATE tokens SET last_used_ms = ?2 WHERE id = ?1")
        .Bind(row.id, now_ms)
        .Run();
  } catch (const SQLite::Exception&) {
    // On a full disk people come in all the same.
  }
}

absl::Status TokenStore::Recheck(int64_t id) const {
  std::lock_guard lock(mutex_);
  for (const Row& row : rows_) {
    if (row.id == id) return CheckLives(row.token, clock_->WallMs());
  }
  return absl::UnauthenticatedError("this coordinator does not know the token any more");
}

bool TokenStore::HasLive(Role role) const {
  std::lock_guard lock(mutex_);
  return std::any_of(rows_.begin(), rows_.end(), [&](const Row& row) {
    return row.token.role() == role && CheckLives(row.token, clock_->WallMs()).ok();
  });
}

}  // namespace trainyard::coordinator
