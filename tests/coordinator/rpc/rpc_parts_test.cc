// Shows that nothing a terminal acts on leaves the coordinator, and that a blob which was just
// uploaded is not deleted for an older checkpoint with the same bytes.
#include "coordinator/address.h"
#include "coordinator/rpc/pending_uploads.h"
#include "coordinator/rpc/request_checks.h"
#include "coordinator/rpc/server.h"
#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

TEST(CleanLine, EscapesBecomeVisible) {
  EXPECT_EQ(CleanLine("plain, with a tab\tand umlauts \xC3\xA4"),
            "plain, with a tab\tand umlauts \xC3\xA4");
  EXPECT_EQ(CleanLine("\x1b[31mred\x1b[0m"), "\\x1b[31mred\\x1b[0m");
  EXPECT_EQ(CleanLine("bell\x07 back\x08 return\r"), "bell\\x07 back\\x08 return\\x0d");
  EXPECT_EQ(CleanLine("csi \xC2\x9B"
                      "31m"),
            "csi \\x9b31m");
  EXPECT_EQ(CleanLine("no UTF-8: \xFF!"), "no UTF-8: \xEF\xBF\xBD!");
}

TEST(CleanLine, AnAbsurdlyLongLineIsCutAndSaysSo) {
  const std::string line = CleanLine(std::string(1'000'000, 'x'));
  EXPECT_LT(line.size(), 20'000u);
  EXPECT_NE(line.find("more bytes]"), std::string::npos);
}

TEST(Checks, IdsAndHashesAreHeldToTheirForm) {
  EXPECT_TRUE(CheckId("job", 1).ok());
  EXPECT_EQ(CheckId("job", 0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckId("job", -7).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(CheckSha256("sha256", std::string(64, 'a')).ok());
  for (const std::string& wrong : {std::string(), std::string(63, 'a'), std::string(64, 'A'),
                                   std::string(64, 'g'), std::string("../../etc/passwd")}) {
    EXPECT_EQ(CheckSha256("sha256", wrong).code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
  EXPECT_FALSE(CheckTextSize("url", std::string(5000, 'x')).ok());
  EXPECT_FALSE(CheckTextSize("url", std::string_view("a\0b", 3)).ok());
}

TEST(PendingUploads, AnUploadedBlobStaysUntilItsReportIsCommitted) {
  PendingUploads uploads;
  bool removed = false;
  const auto remove = [&removed] { removed = true; };
  uploads.Begin("a");
  uploads.UnlessPending("a", remove);
  EXPECT_FALSE(removed);
  uploads.End("a");
  uploads.UnlessPending("a", remove);
  EXPECT_TRUE(removed);
}

TEST(PendingUploads, OthersAreRemovedAllTheSame) {
  PendingUploads uploads;
  bool removed = false;
  uploads.Begin("a");
  uploads.UnlessPending("b", [&removed] { removed = true; });
  EXPECT_TRUE(removed);
}

TEST(PendingUploads, TheListIsBoundedAndForgetsTheOldest) {
  PendingUploads uploads;
  for (int i = 0; i < 10'001; ++i) uploads.Begin(std::to_string(i));
  bool removed = false;
  uploads.UnlessPending("0", [&removed] { removed = true; });
  EXPECT_TRUE(removed);
  removed = false;
  uploads.UnlessPending("10000", [&removed] { removed = true; });
  EXPECT_FALSE(removed);
}

TEST(IsLoopback, TellsThisMachineFromTheWorld) {
  for (const char* here :
       {"127.0.0.1:7700", "127.8.9.1:0", "localhost:1", "[::1]:7700", "unix:/tmp/x"}) {
    EXPECT_TRUE(IsLoopback(here)) << here;
  }
  for (const char* world : {"0.0.0.0:7700", "[::]:7700", "192.168.1.1:7700", "example.org:7700",
                            "127.0.0.1.example.org:7700", "", "128.0.0.1:1"}) {
    EXPECT_FALSE(IsLoopback(world)) << world;
  }
}

}  // namespace
}  // namespace trainyard::coordinator
