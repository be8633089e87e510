// Shows that the file of hooks is read strictly, that secrets come from where it says, and that no
// message holds one.
#include "coordinator/web/hooks_file.h"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <random>

#include "coordinator/access/secrets.h"
#include "tests/coordinator/source/temp_folder.h"

namespace trainyard::coordinator {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kSecret[] = "a secret of some length";
constexpr char kToken[] = "a token of some length";

class HooksFile : public testing::Test {
 protected:
  HooksFile() {
    folder_.Write("a.secret", std::string(kSecret) + "\n");
    folder_.Write("a.token", std::string(kToken) + "\r\n");
    folder_.Write("short", "hunter2-hunter2");
    folder_.Write("lines", "a secret of two\nlines, which it is not");
    for (const char* name : {"a.secret", "a.token"}) chmod((folder_ / name).c_str(), 0600);
    setenv("TRAINYARD_TEST_SECRET", kSecret, 1);
  }
  absl::StatusOr<std::vector<Hook>> Read(const std::string& text) const {
    return ReadHooksText(text, folder_ / "hooks.yaml");
  }
  // The message, with the folder left out.
  std::string Refusal(const std::string& text) const {
    const auto hooks = Read(text);
    EXPECT_EQ(hooks.status().code(), absl::StatusCode::kInvalidArgument) << text;
    std::string message(hooks.status().message());
    const std::string here = folder_.path().string() + "/";
    for (size_t at; (at = message.find(here)) != message.npos;) message.erase(at, here.size());
    EXPECT_THAT(message, Not(HasSubstr("hunter2")));
    return message;
  }

  TempFolder folder_;
};

TEST_F(HooksFile, HoldsWhoseWordIsTakenForWhat) {
  const auto hooks = Read(
      "hooks:\n"
      "  - project: shoes\n"
      "    secret_file: a.secret\n"
      "  - project: https://host.example/team/boots.git\n"
      "    secret_env: TRAINYARD_TEST_SECRET\n"
      "    token_file: " +
      (folder_ / "a.token") +
      "\n"
      "  - token_file: a.token\n");
  ASSERT_TRUE(hooks.ok()) << hooks.status();
  ASSERT_EQ(hooks->size(), 3u);
  EXPECT_EQ(hooks->at(0).project, "shoes");
  EXPECT_EQ(hooks->at(0).secret, kSecret) << "without the line's end";
  EXPECT_EQ(hooks->at(0).token_sha256, "");
  EXPECT_EQ(hooks->at(1).secret, kSecret);
  EXPECT_EQ(hooks->at(1).token_sha256, HashOfSecret(kToken));
  EXPECT_EQ(hooks->at(2).project, "");
}

TEST_F(HooksFile, EveryProblemHasItsPlace) {
  const std::pair<const char*, const char*> kCases[] = {
      {"", "1:1: found an empty file, expected a list of hooks"},
      {"{}", "1:1: found no hooks, expected a list of hooks"},
      {"hook: []", "1:1: found the unknown key \"hook\", did you mean hooks?"},
      {"hooks: []", "1:8: hooks: found 0 hooks, expected a list of 1 to 100"},
      {"hooks: shoes", "1:8: hooks: found \"shoes\", expected a list of 1 to 100"},
      {"hooks:\n  - shoes",
       "2:5: hooks[0]: found \"shoes\", expected a map with project, secret_file, secret_env, "
       "token_file or token_env"},
      {"hooks:\n  - project: shoes",
       "2:5: hooks[0]: found neither a secret nor a token, expected secret_file, secret_env, "
       "token_file or token_env"},
      {"hooks:\n  - {secret: hunter2-hunter2-hunter2}",
       "2:6: hooks[0]: found the unknown key \"secret\", expected project, secret_file, "
       "secret_env, token_file or token_env"},
      {"hooks:\n  - {project: [], secret_file: a.secret}",
       "2:15: hooks[0].project: found a list, expected text"},
      {"hooks:\n  - {secret_file: a.secret, secret_env: X}",
       "2:41: hooks[0].secret_env: found secret_file beside it, expected one of them"},
      {"hooks:\n  - token_env: TRAINYARD_TEST_UNSET",
       "2:16: hooks[0].token_env: found no such variable in the coordinator's environment, "
       "expected the name of one"},
      {"hooks:\n  - secret_file: short",
       "2:18: hooks[0].secret_file: found a secret of 15 bytes, expected 16 to 4096"},
      {"hooks:\n  - secret_file: lines",
       "2:18: hooks[0].secret_file: found control characters in the secret, expected one line of "
       "text"},
      {"hooks:\n  - secret_file: .",
       "2:18: hooks[0].secret_file: found no regular file, expected one with a secret"},
      {"hooks:\n  - secret_file: hunter2-is-no-path",
       "2:18: hooks[0].secret_file: found no file that can be read (No such file or directory), "
       "expected one with a secret"},
      {"hooks:\n  - {secret_file: a.secret, token_env: TRAINYARD_TEST_SECRET}",
       "2:5: hooks[0]: found the same secret and token, expected two: a token is sent as it is"},
  };
  for (const auto& [text, message] : kCases) {
    EXPECT_THAT(Refusal(text) + "\n", HasSubstr(std::string("hooks.yaml:") + message + "\n"));
  }
}

TEST_F(HooksFile, NobodyWaitsForAPipe) {
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(Refusal("hooks: [{secret_file: pipe}]"), HasSubstr("found no regular file"));
}

TEST_F(HooksFile, IsReadFromItsPath) {
  const std::string path = folder_.Write("hooks.yaml", "hooks: [{secret_file: a.secret}]");
  const auto hooks = ReadHooks(path);
  ASSERT_TRUE(hooks.ok()) << hooks.status();
  EXPECT_EQ(ReadHooks(folder_ / "none.yaml").status().message(),
            (folder_ / "none.yaml") +
                ": found nothing that can be read (No such file or directory), expected a file of "
                "hooks");
}

// Damaged files never crash the reader, and a refusal always has a place.
TEST_F(HooksFile, RandomDamage) {
  const std::string bits[] = {"{", "}", "[", "]", ": ", "- ", "*a", "&a ", "\n", "~", "\x80", ","};
  const std::string good =
      "hooks:\n  - project: shoes\n    secret_file: a.secret\n    token_file: a.token\n";
  for (int seed = 0; seed < 1'000; ++seed) {
    std::mt19937 random(seed);
    std::string text = good;
    for (int change = 0; change < 3; ++change) {
      const size_t at = random() % text.size();
      if (random() % 3 == 0) {
        text.erase(at, random() % 4);
      } else {
        text.insert(at, bits[random() % std::size(bits)]);
      }
    }
    if (Read(text).ok()) continue;
    ASSERT_THAT(Refusal(text), testing::StartsWith("hooks.yaml:")) << text;
  }
}

}  // namespace
}  // namespace trainyard::coordinator
