#include "cli/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace trainyard::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParseDuration, TakesNumbersWithUnits) {
  EXPECT_EQ(ParseDuration("2h").value(), 7'200'000);
  EXPECT_EQ(ParseDuration("1h30m").value(), 5'400'000);
  EXPECT_EQ(ParseDuration("0.5s").value(), 500);
  EXPECT_EQ(ParseDuration("250ms").value(), 250);
  EXPECT_EQ(ParseDuration("1d").value(), 86'400'000);
}

TEST(ParseDuration, RefusesAllElseAndQuotesIt) {
  for (const std::string bad :
       {"", "2", "h", "-2h", "2 h", "2hours", "1e9h", "nan", "9999999999999d", "0s", "2h;rm",
        "\x1b[31m2h", "99999999999999999999999999h"}) {
    EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  }
  EXPECT_THAT(std::string(ParseDuration("2 hours").status().message()),
              HasSubstr("\"2 hours\" is not a duration"));
}

TEST(ParseBudget, BecomesOverrides) {
  EXPECT_THAT(ParseBudget("trials=8,time=2h,epochs=30").value(),
              ElementsAre("budget.trials=8", "budget.time=2h", "budget.epochs=30"));
}

TEST(ParseBudget, RefusesUnknownKeysAndNumbersThatAreNone) {
  for (const std::string bad :
       {"", "8", "trials", "trials=", "trials=0", "trials=-1", "trials=8.5", "trials=1e3",
        "trials=99999999999999999999", "time=8", "tries=8", "trials=8,,", "trials=$(id)"}) {
    EXPECT_FALSE(ParseBudget(bad).ok()) << bad;
  }
}

TEST(CheckOverride, TakesKeysOfTheSpec) {
  for (const std::string good : {"train.lr=0.05", "network.layers[0].conv.filters=16",
                                 "data.train.images[0]=a=b", "name=with space", "x=-1"}) {
    EXPECT_TRUE(CheckOverride(good).ok()) << good << ": " << CheckOverride(good);
  }
}

TEST(CheckOverride, RefusesWhatIsNoKeyAndValue) {
  for (const std::string bad : {"", "train.lr", "=1", "train.lr=", "train..lr=1", ".lr=1", "a b=1",
                                "a[x]=1", "a;b=1", "$(id)=1", "a=\x1b[31m", "a=b\nc", "1a=2"}) {
    EXPECT_FALSE(CheckOverride(bad).ok()) << bad;
  }
  EXPECT_FALSE(CheckOverride("a=" + std::string(1 << 20, 'x')).ok());
}

TEST(ParseJob, TakesNumbersAboveZeroOnly) {
  EXPECT_EQ(ParseJob("7").value(), 7);
  for (const std::string bad :
       {"", "0", "-1", "7x", "0x7", "7.0", " 7", "999999999999999999999", "latest"}) {
    EXPECT_FALSE(ParseJob(bad).ok()) << bad;
  }
}

TEST(ParseAddress, AddsThePortAndRefusesWhatIsNone) {
  EXPECT_EQ(ParseAddress("host").value(), "host:7700");
  EXPECT_EQ(ParseAddress("10.0.0.1:81").value(), "10.0.0.1:81");
  EXPECT_EQ(ParseAddress("[::1]:7700").value(), "[::1]:7700");
  EXPECT_EQ(ParseAddress("unix:/run/x.sock").value(), "unix:/run/x.sock");
  for (const std::string bad : {"", "host:0", "host:65536", "host:", "http://host:1", "a b:1",
                                "dns:///x", "host:1;ls", "unix:", "::1:7700x"}) {
    EXPECT_FALSE(ParseAddress(bad).ok()) << bad;
  }
}

TEST(ParseSource, TellsFoldersRevisionsAndUrlsApart) {
  const auto folder = std::filesystem::temp_directory_path().string();
  EXPECT_EQ(ParseSource(folder)->kind, Source::Kind::kFolder);
  EXPECT_EQ(ParseSource(folder + "/")->location, folder);
  const auto revision = ParseSource(folder + "@v1.2");
  ASSERT_TRUE(revision.ok()) << revision.status();
  EXPECT_EQ(revision->kind, Source::Kind::kCheckoutRevision);
  EXPECT_EQ(revision->location, folder);
  EXPECT_EQ(revision->revision, "v1.2");
  struct Case {
    std::string text, location, revision;
  };
  for (const Case& test :
       std::vector<Case>{{"https://host/a.git", "https://host/a.git", ""},
                         {"https://host/a.git@main", "https://host/a.git", "main"},
                         {"ssh://git@host/a.git", "ssh://git@host/a.git", ""},
                         {"ssh://git@host/a.git@feature/x", "ssh://git@host/a.git", "feature/x"},
                         {"git@host:team/a.git", "git@host:team/a.git", ""},
                         {"git@host:team/a.git@v1", "git@host:team/a.git", "v1"},
                         {"https://me@host", "https://me@host", ""}}) {
    const auto source = ParseSource(test.text);
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_EQ(source->kind, Source::Kind::kRemote) << test.text;
    EXPECT_EQ(source->location, test.location);
    EXPECT_EQ(source->revision, test.revision);
  }
}

TEST(ParseSource, RefusesWhatIsNeither) {
  for (const std::string& bad :
       {std::string(""), std::string("/no/such/folder"), std::string("javascript:alert(1)"),
        std::string("https://host/a.git@"), std::string("a\nb"), std::string(9000, 'x'),
        std::string("/no/such@rev"), std::string("--upload-pack=x")}) {
    EXPECT_FALSE(ParseSource(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace trainyard::cli
