// What is shown to a coordinator: access folders, token files and the environment, good and bad
// ones; and the commands about tokens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cli/access_options.h"
#include "cli/exit_code.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kKey = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

class AccessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "trainyard-cli-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    Forget();
  }
  void TearDown() override {
    Forget();
    fs::remove_all(folder_);
  }
  static void Forget() {
    unsetenv("TRAINYARD_TOKEN");
    unsetenv("TRAINYARD_ACCESS");
    unsetenv("TRAINYARD_CA");
  }

  std::string File(const std::string& name, const std::string& content, mode_t mode = 0600) {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    chmod(path.c_str(), mode);
    return path;
  }
  std::string Folder(const std::string& name, const std::string& token) {
    return fs::path(File(name + "/token", token)).parent_path();
  }
  std::string TokenOf(const AccessOptions& options) {
    const auto keys = ReadKeys(options, &warnings_);
    EXPECT_TRUE(keys.ok()) << keys.status();
    return keys.ok() ? keys->token : "";
  }
  std::string WhyNot(const AccessOptions& options) {
    const auto keys = ReadKeys(options, &warnings_);
    EXPECT_EQ(keys.status().code(), absl::StatusCode::kInvalidArgument) << keys.status();
    return std::string(keys.status().message());
  }

  fs::path folder_;
  std::vector<std::string> warnings_;
  ScriptedServer server_;
};

TEST_F(AccessTest, WhatIsTypedGoesBeforeTheEnvironmentAndAFileBeforeTheFolder) {
  EXPECT_EQ(TokenOf({}), "");
  setenv("TRAINYARD_ACCESS", Folder("usual", "of-usual-folder\n").c_str(), 1);
  EXPECT_EQ(TokenOf({}), "of-usual-folder");
  setenv("TRAINYARD_TOKEN", "of-environment", 1);
  EXPECT_EQ(TokenOf({}), "of-environment");
  const std::string typed = Folder("typed", "of-typed-folder\r\n");
  EXPECT_EQ(TokenOf({.folder = typed}), "of-typed-folder");
  const std::string file = File("a.token", "of-file");
  EXPECT_EQ(TokenOf({.folder = typed, .token_file = file}), "of-file");
  EXPECT_EQ(TokenOf({.token_file = file}), "of-file");
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(AccessTest, ACertificateOfTheEnvironmentCountsWhereNoneIsNamed) {
  setenv("TRAINYARD_CA", "/none", 1);
  EXPECT_THAT(WhyNot({}), HasSubstr("TRAINYARD_CA: /none"));
  EXPECT_THAT(WhyNot({.ca_file = "/other"}), HasSubstr("--ca: /other"));
  EXPECT_EQ(TokenOf({.folder = Folder("typed", "of-folder")}), "of-folder");
}

TEST_F(AccessTest, ATokenThatOthersCanReadIsWarnedOf) {
  EXPECT_EQ(TokenOf({.token_file = File("open", "secret", 0640)}), "secret");
  EXPECT_THAT(warnings_, ElementsAre(AllOf(HasSubstr("open"), HasSubstr("chmod 600"),
                                           Not(HasSubstr("secret:")))));
}

TEST_F(AccessTest, WhatIsNoAccessFolderIsRefusedByName) {
  EXPECT_THAT(WhyNot({.folder = "/none"}), AllOf(HasSubstr("--access"), HasSubstr("no such")));
  EXPECT_THAT(WhyNot({.folder = File("file", "x")}), HasSubstr("no such folder"));
  fs::create_directory(folder_ / "empty");
  EXPECT_THAT(WhyNot({.folder = folder_ / "empty"}), HasSubstr("neither a file token nor ca.pem"));
  setenv("TRAINYARD_ACCESS", "/none", 1);
  EXPECT_THAT(WhyNot({}), HasSubstr("TRAINYARD_ACCESS: "));
  const std::string with_key = Folder("key", "t");
  File("key/key.pem", kKey);
  EXPECT_THAT(WhyNot({.folder = with_key}), HasSubstr("only one of cert.pem and key.pem"));
  File("key/key.pem", "x");
  EXPECT_THAT(WhyNot({.folder = with_key}), HasSubstr("key.pem: found 1 bytes"));
}

TEST_F(AccessTest, WhatIsNoTokenIsRefusedAndNotRepeated) {
  for (const std::string& bad :
       {std::string(), std::string("\n\n"), std::string("two words"), std::string("two\nlines"),
        std::string("be\all"), std::string("n\0l", 3), std::string("\xc3\xa4"),
        std::string(257, 'x'), std::string(2 << 20, 'x')}) {
    const std::string why = WhyNot({.token_file = File("bad", bad)});
    EXPECT_THAT(why, HasSubstr("--token-file: "));
    EXPECT_LT(why.size(), 400u);
    if (bad.size() > 2) {
      EXPECT_THAT(why, Not(HasSubstr(bad)));
    }
  }
  EXPECT_THAT(WhyNot({.token_file = folder_}), HasSubstr("is no file"));
  EXPECT_THAT(WhyNot({.token_file = "/none"}), HasSubstr("/none"));
  setenv("TRAINYARD_TOKEN", "two words", 1);
  EXPECT_THAT(WhyNot({}), AllOf(HasSubstr("TRAINYARD_TOKEN"), Not(HasSubstr("two words"))));
}

TEST_F(AccessTest, WhatIsNoCertificateIsRefused) {
  for (const char* bad :
       {"", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", kKey}) {
    EXPECT_THAT(WhyNot({.ca_file = File("ca.pem", bad)}),
                AllOf(HasSubstr("--ca: "), HasSubstr("expected a certificate as PEM")));
  }
  EXPECT_THAT(WhyNot({.ca_file = "/none"}), HasSubstr("cannot be read"));
}

TEST_F(AccessTest, EachCallShowsTheTokenOnce) {
  RunCli(server_, {"token", "list", "--access", Folder("mine", "ty_mine\n")});
  RunCli(server_, {"token", "list"});
  EXPECT_THAT(server_.shown, ElementsAre("Bearer ty_mine"));
}

TEST_F(AccessTest, WhoIsNotLetInIsToldWhyAndExitsWith8) {
  server_.errors["ListTokens"] = {grpc::StatusCode::UNAUTHENTICATED, "the token 'a' was revoked"};
  Outcome outcome = RunCli(server_, {"token", "list"});
  EXPECT_EQ(outcome.code, kRefused);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("'a' was revoked"), HasSubstr("--token-file")));
  server_.errors["ListTokens"] = {grpc::StatusCode::PERMISSION_DENIED, "expected role admin"};
  outcome = RunCli(server_, {"token", "list"});
  EXPECT_EQ(outcome.code, kRefused);
  EXPECT_THAT(outcome.err, HasSubstr("expected role admin"));
}

TEST_F(AccessTest, CreatePrintsTheSecretAloneAndForProgramsTheWholeAnswer) {
  Outcome outcome =
      RunCli(server_, {"token", "create", "ci", "--role", "submitter", "--expires", "30d"});
  EXPECT_EQ(outcome.code, kDone);
  EXPECT_EQ(outcome.out, "ty_scripted\n");
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("token ci of role submitter, valid until 2024-05-31"),
                                 Not(HasSubstr("ty_"))));
  ASSERT_EQ(server_.created.size(), 1u);
  EXPECT_EQ(server_.created[0].role(), v1::Token::SUBMITTER);
  EXPECT_EQ(server_.created[0].lifetime_ms(), int64_t{30} * 86'400'000);
  outcome = RunCli(server_, {"token", "create", "ci", "--role", "join", "--output", "json"});
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("\"secret\": \"ty_scripted\""), HasSubstr("JOIN")));
  EXPECT_EQ(server_.created[1].lifetime_ms(), 0);
}

TEST_F(AccessTest, CreateRefusesWhatIsNoRoleOrLifetime) {
  const std::vector<std::vector<std::string>> wrong = {
      {"token", "create"},
      {"token", "create", "ci"},
      {"token", "create", "ci", "--role", "king"},
      {"token", "create", "ci", "--role", "2"},
      {"token", "create", "ci", "--role", ""},
      {"token", "create", "ci", "--role", "admin", "--expires", "soon"},
      {"token", "create", "ci", "--role", "admin", "--expires=-5d"},
      {"token", "create", "ci", "--role", "admin", "--expires", "0s"},
      {"token", "revoke"},
      {"token"}};
  for (const auto& arguments : wrong) {
    EXPECT_EQ(RunCli(server_, arguments).code, kUsage) << arguments.back();
  }
  EXPECT_THAT(server_.created, IsEmpty());
}

TEST_F(AccessTest, ListShowsStatesAndRevokeSaysWhatFollows) {
  v1::Token token;
  token.set_name("a\x1b[31m");
  token.set_role(v1::Token::VIEWER);
  server_.tokens.push_back(token);
  token.set_name("old");
  token.set_expires_ms(1);
  server_.tokens.push_back(token);
  token.set_name("gone");
  token.set_revoked(true);
  server_.tokens.push_back(token);
  const Outcome listed = RunCli(server_, {"token", "list"});
  EXPECT_THAT(listed.out, AllOf(HasSubstr("valid until revoked"), HasSubstr("expired 1970"),
                                HasSubstr("revoked "), Not(HasSubstr("\x1b"))));
  EXPECT_THAT(RunCli(server_, {"token", "revoke", "ci"}).out, HasSubstr("token ci revoked"));
  EXPECT_THAT(server_.calls, ::testing::Contains("RevokeToken ci"));
}

}  // namespace
}  // namespace trainyard::cli
