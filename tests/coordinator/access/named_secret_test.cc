// Shows what a secret may be that a configuration file names, and that a file of it which others
// can read is warned of. That every problem has its place is shown where such files are read.
#include "coordinator/access/named_secret.h"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

#include "gmock/gmock.h"
#include "tests/coordinator/access/folder.h"

namespace trainyard::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class NamedSecret : public FolderTest {
 protected:
  NamedSecret() {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_)));
  }
  ~NamedSecret() override { spdlog::set_default_logger(before_); }

  // The secret, or what is wrong with it.
  std::string Read(const std::string& text, size_t bytes_min, mode_t mode = 0600) {
    Write(folder_ / "secret", text);
    EXPECT_EQ(chmod((folder_ / "secret").c_str(), mode), 0);
    SpecProblems problems;
    const auto root = ParseRoot("secret_file: secret", "a secret", &problems);
    const SpecSection keys{"", {"secret_file", "secret_env"}};
    std::string secret = "unread";
    const bool read = ReadNamedSecret(Section(&*root, "", keys, &problems), "secret", folder_,
                                      bytes_min, &secret);
    EXPECT_EQ(read, problems.list().empty());
    if (read) return secret;
    EXPECT_EQ(secret, "unread") << "left alone";
    return problems.list()[0].message;
  }

  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
  std::ostringstream log_;
};

TEST_F(NamedSecret, HasAsManyBytesAsItsUseAsksFor) {
  EXPECT_EQ(Read("pw\n", 1), "pw");
  EXPECT_EQ(Read("pw\r\n", 3), "found a secret of 2 bytes, expected 3 to 4096");
  EXPECT_EQ(Read("\n", 1), "found a secret of 0 bytes, expected 1 to 4096");
  EXPECT_EQ(Read(std::string(4'096, 'x'), 1), std::string(4'096, 'x'));
  EXPECT_EQ(Read(std::string(4'097, 'x'), 1), "found a secret of 4097 bytes, expected 1 to 4096");
  EXPECT_EQ(Read("a\nb", 1), "found control characters in the secret, expected one line of text");
}

TEST_F(NamedSecret, AFileThatOthersCanReadWorksAndIsWarnedOf) {
  EXPECT_EQ(Read("hidden", 1, 0600), "hidden");
  EXPECT_THAT(log_.str(), IsEmpty());
  EXPECT_EQ(Read("hidden", 1, 0640), "hidden");
  EXPECT_THAT(log_.str(), HasSubstr((folder_ / "secret").string() +
                                    ": others on this machine can read the secret in it"));
  EXPECT_THAT(log_.str(), Not(HasSubstr("hidden")));
}

}  // namespace
}  // namespace trainyard::coordinator
