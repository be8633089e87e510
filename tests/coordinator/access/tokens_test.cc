// Tokens and launch tokens: made once, kept as hashes, dead when they should be.
#include "coordinator/access/tokens.h"

#include <set>

#include "coordinator/access/secrets.h"
#include "gmock/gmock.h"
#include "tests/coordinator/access/folder.h"

namespace trainyard::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int64_t kDayMs = 86'400'000;

class TokensTest : public FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    Open();
  }
  void Open() {
    store_.reset();
    auto store = TokenStore::Open(folder_, &clock_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  std::string Create(const std::string& name, Role role = v1::Token::VIEWER,
                     int64_t lifetime_ms = 0) {
    const auto created = store_->Create(name, role, lifetime_ms);
    EXPECT_TRUE(created.ok()) << created.status();
    return created.ok() ? created->secret : "";
  }
  std::string WhyNot(const std::string& secret) {
    const auto known = store_->Check(secret);
    EXPECT_EQ(known.status().code(), absl::StatusCode::kUnauthenticated) << known.status();
    return std::string(known.status().message());
  }

  SetClock clock_;
  std::unique_ptr<TokenStore> store_;
};

TEST_F(TokensTest, ATokenIsKnownByItsSecretAlsoAfterARestart) {
  const std::string secret = Create("ci", v1::Token::SUBMITTER);
  EXPECT_THAT(secret, StartsWith("ty_"));
  EXPECT_EQ(secret.size(), 46u);
  for (int start = 0; start < 2; ++start) {
    const auto known = store_->Check(secret);
    ASSERT_TRUE(known.ok()) << known.status();
    EXPECT_EQ(known->token.name(), "ci");
    EXPECT_EQ(known->token.role(), v1::Token::SUBMITTER);
    EXPECT_EQ(known->token.last_used_ms(), clock_.now_ms);
    EXPECT_TRUE(store_->Recheck(known->id).ok());
    Open();
  }
}

TEST_F(TokensTest, NoTwoSecretsAreTheSameAndNoneIsOnDisk) {
  std::set<std::string> secrets;
  for (int i = 0; i < 50; ++i) secrets.insert(Create("t" + std::to_string(i)));
  EXPECT_EQ(secrets.size(), 50u);
  store_.reset();
  for (const auto& file : std::filesystem::directory_iterator(folder_)) {
    EXPECT_EQ(Mode(file.path()), 0600u) << file.path();
    for (const std::string& secret : secrets) {
      EXPECT_THAT(Read(file.path()), Not(HasSubstr(secret.substr(3)))) << file.path();
    }
  }
}

TEST_F(TokensTest, WhatIsNobodysSecretOpensNothing) {
  const std::string secret = Create("ci");
  std::string altered = secret;
  altered.back() = altered.back() == 'A' ? 'B' : 'A';
  for (const std::string& wrong :
       {std::string(), altered, secret.substr(0, 45), secret + "A", std::string("ci"),
        HashOfSecret(secret), std::string(1 << 20, 'x'), std::string("\0\n\x7f", 3)}) {
    EXPECT_THAT(WhyNot(wrong), HasSubstr("does not know the token"));
  }
}

TEST_F(TokensTest, ARevokedTokenIsDeadForGoodAndItsNameFree) {
  const std::string first = Create("ci");
  const int64_t id = store_->Check(first)->id;
  const auto taken = store_->Create("ci", v1::Token::ADMIN, 0);
  EXPECT_EQ(taken.status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(store_->Revoke("ci").ok());
  EXPECT_TRUE(store_->Revoke("ci")->revoked()) << "again, and nothing happens";
  const std::string second = Create("ci");
  Open();
  EXPECT_THAT(WhyNot(first), HasSubstr("'ci' was revoked"));
  EXPECT_EQ(store_->Recheck(id).code(), absl::StatusCode::kUnauthenticated);
  EXPECT_TRUE(store_->Check(second).ok());
  EXPECT_EQ(store_->List().size(), 2u);
  EXPECT_EQ(store_->Revoke("nobody").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(TokensTest, ATokenDiesWithItsLifetime) {
  const std::string secret = Create("short", v1::Token::JOIN, 1000);
  EXPECT_TRUE(store_->HasLive(v1::Token::JOIN));
  clock_.now_ms += 999;
  EXPECT_TRUE(store_->Check(secret).ok());
  clock_.now_ms += 1;
  EXPECT_THAT(WhyNot(secret), HasSubstr("'short' expired at 2023-11-14 22:13:21 UTC"));
  EXPECT_FALSE(store_->HasLive(v1::Token::JOIN));
}

TEST_F(TokensTest, TheLongDeadAreForgotten) {
  Create("kept");
  Create("revoked");
  Create("expired", v1::Token::VIEWER, 1);
  ASSERT_TRUE(store_->Revoke("revoked").ok());
  clock_.now_ms += 91 * kDayMs;
  Open();
  ASSERT_EQ(store_->List().size(), 1u);
  EXPECT_EQ(store_->List()[0].name(), "kept");
  Create("expired");
}

TEST_F(TokensTest, BadRequestsAreRefusedAndSayWhatWasExpected) {
  for (const std::string& name :
       {std::string(), std::string("two words"), std::string("-dash"), std::string("bell\a"),
        std::string("new\nline"), std::string("'; DROP TABLE tokens; --"), std::string("n\0l", 3),
        std::string("\xc3\xa4"), std::string(65, 'x'), std::string(1 << 20, 'x')}) {
    const auto created = store_->Create(name, v1::Token::VIEWER, 0);
    EXPECT_EQ(created.status().code(), absl::StatusCode::kInvalidArgument) << name.substr(0, 80);
    EXPECT_LT(created.status().message().size(), 200u);
    EXPECT_EQ(store_->Revoke(name).status().code(), absl::StatusCode::kInvalidArgument);
  }
  for (const int role : {-1, 0, 5, 1000}) {
    const auto created = store_->Create("a", static_cast<Role>(role), 0);
    EXPECT_EQ(created.status().code(), absl::StatusCode::kInvalidArgument) << role;
  }
  for (const int64_t lifetime_ms : {int64_t{-1}, INT64_MIN, INT64_MAX, 4000 * kDayMs}) {
    const auto created = store_->Create("a", v1::Token::VIEWER, lifetime_ms);
    EXPECT_EQ(created.status().code(), absl::StatusCode::kInvalidArgument) << lifetime_ms;
  }
  EXPECT_TRUE(store_->List().empty());
}

TEST_F(TokensTest, ADamagedFileIsAnErrorThatNamesIt) {
  store_.reset();
  Write(folder_ / "tokens.db", std::string(4096, 'x'));
  const auto store = TokenStore::Open(folder_, &clock_);
  EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("tokens.db"));
}

class LaunchTokensTest : public FolderTest {};

TEST_F(LaunchTokensTest, ALaunchTokenNamesItsLaunchAlsoAfterARestart) {
  std::string token;
  {
    const auto tokens = LaunchTokens::Open(folder_ / "launch.key");
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    token = tokens->Issue(17);
  }
  EXPECT_EQ(Mode(folder_ / "launch.key"), 0600u);
  const auto tokens = LaunchTokens::Open(folder_ / "launch.key");
  EXPECT_EQ(tokens->Check(token), 17);
  EXPECT_EQ(tokens->Issue(17), token);
  EXPECT_NE(tokens->Issue(18), token);
}

TEST_F(LaunchTokensTest, ACoordinatorKeepsItsIdAlsoWhenItsKeyIsMadeAnew) {
  const auto id = LastingId(folder_ / "coordinator.id");
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_THAT(*id, ::testing::MatchesRegex("[0-9a-f]{16}"));
  ASSERT_TRUE(LaunchTokens::Open(folder_ / "launch.key").ok());
  std::filesystem::remove(folder_ / "launch.key");
  EXPECT_EQ(LastingId(folder_ / "coordinator.id").value_or(""), *id);
  EXPECT_NE(LastingId(folder_ / "another.id").value_or(""), *id);
}

TEST_F(LaunchTokensTest, AForgedOneIsNone) {
  const auto tokens = LaunchTokens::Open(folder_ / "launch.key");
  const auto others = LaunchTokens::Open(folder_ / "other.key");
  const std::string token = tokens->Issue(17);
  const std::string mac = token.substr(token.rfind("17_") + 3);
  for (const std::string& forged :
       {others->Issue(17), "tyl_18_" + mac, "tyl_017_" + mac, "tyl_+17_" + mac, "tyl_ 17_" + mac,
        "tyl_-17_" + mac, "tyl_0_" + mac, "tyl__" + mac, "tyl_99999999999999999999_" + mac,
        token.substr(0, token.size() - 1), token + "A", token + "=", std::string("tyl_"),
        std::string("tyl_17"), std::string("ty_17_") + mac, std::string()}) {
    EXPECT_FALSE(tokens->Check(forged)) << forged;
  }
}

TEST_F(LaunchTokensTest, AKeyThatWasCutShortIsNotUsed) {
  Write(folder_ / "launch.key", "short");
  const auto tokens = LaunchTokens::Open(folder_ / "launch.key");
  EXPECT_EQ(tokens.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(tokens.status().message()), HasSubstr("launch.key"));
}

}  // namespace
}  // namespace trainyard::coordinator
