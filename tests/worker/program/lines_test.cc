// Output and metrics of strangers, line by line: bounded, and safe to show.
#include "worker/program/lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace trainyard::program {
namespace {

using testing::ElementsAre;

std::vector<std::string> Split(const std::vector<std::string>& pieces, size_t longest) {
  std::vector<std::string> lines;
  LineSplitter splitter(longest);
  const auto sink = [&](std::string_view line, bool cut) {
    lines.push_back(std::string(line) + (cut ? "|cut" : ""));
  };
  for (const std::string& piece : pieces) splitter.Feed(piece, sink);
  splitter.Flush(sink);
  return lines;
}

TEST(LinesTest, ALineMayComeInPiecesAndEndWithoutAnEnd) {
  EXPECT_THAT(Split({"a", "b\nc\n\nd", "e"}, 100), ElementsAre("ab", "c", "de"));
}

TEST(LinesTest, ALineWithoutEndIsCutOnceAndTheNextIsWhole) {
  EXPECT_THAT(Split({std::string(1000, 'x'), std::string(1000, 'x'), "\nnext\n"}, 5),
              ElementsAre("xxxxx|cut", "next"));
}

TEST(LinesTest, AProgressBarIsItsLastState) {
  EXPECT_THAT(Split({"1/3\r2/3\r3/3\n", "a\r\n", "1\b\b2\b\b3\n"}, 100),
              ElementsAre("3/3", "a", "3"));
}

TEST(LinesTest, EscapesControlCharactersAndBrokenUtf8DoNoHarm) {
  EXPECT_EQ(CleanText("\x1b[31mred\x1b[0m \x1b]0;title\atext", 100), "red text");
  EXPECT_EQ(CleanText("\x1b]8;;http://x\x1b\\link", 100), "link");
  EXPECT_EQ(CleanText(std::string("a\0b\tc", 5), 100), "a b c");
  EXPECT_EQ(CleanText("caf\xc3\xa9 \xff \xc3", 100), "caf\xc3\xa9 \xef\xbf\xbd \xef\xbf\xbd");
  EXPECT_EQ(CleanText("\xed\xa0\x80", 100), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(CleanText("\x1b", 100), "");
  EXPECT_EQ(CleanText("\x1b[", 100), "");
  EXPECT_EQ(CleanText("12345\xc3\xa9", 6), "12345") << "no half characters";
}

}  // namespace
}  // namespace trainyard::program
