#include "cli/text.h"

#include <gtest/gtest.h>

#include <clocale>

#include "cli/style.h"

namespace trainyard::cli {
namespace {

TEST(Cleaner, DropsEscapeSequencesAndKeepsTheText) {
  EXPECT_EQ(CleanLine("\x1b[31mred\x1b[0m and \x1b]0;title\x07plain"), "red and plain");
  EXPECT_EQ(CleanLine("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\"), "link");
  EXPECT_EQ(CleanLine("a\x1b(Bb\x07\x08"
                      "c\x7f"),
            "abc");
}

TEST(Cleaner, AnUnfinishedSequenceSwallowsItsLineOnly) {
  EXPECT_EQ(CleanLines("\x1b]0;never closed\nnext line"), "\nnext line");
}

TEST(Cleaner, DropsWhatReordersOrHidesText) {
  EXPECT_EQ(CleanLine("abc\xE2\x80\xAE"
                      "def"),
            "abcdef");  // right-to-left override
  EXPECT_EQ(CleanLine("a\xC2\x9B"
                      "31mb"),
            "a31mb");  // C1 control sequence introducer
  EXPECT_EQ(CleanLine("zero\xE2\x80\x8Bwidth"), "zerowidth");
}

TEST(Cleaner, ReplacesInvalidUtf8) {
  EXPECT_EQ(CleanLine("a\xFFz"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(CleanLine("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");  // overlong slash
  EXPECT_EQ(CleanLine("\xED\xA0\x80"), "\xEF\xBF\xBD");          // surrogate
  EXPECT_EQ(CleanLine("end\xE2\x82"), "end\xEF\xBF\xBD");
}

TEST(Cleaner, GivesTheSameInPiecesOfAnySize) {
  const std::string text =
      "ok \x1b[1;31m\xE2\x82\xAC 100\r\n50%\r60%\r\n\x1b]2;t\x1b\\done \xF0\x9F\x9A\x82";
  Cleaner whole;
  std::string expected = whole.Feed(text);
  expected += whole.Finish();
  EXPECT_EQ(expected, "ok \xE2\x82\xAC 100\n50%\n60%\ndone \xF0\x9F\x9A\x82");
  for (size_t piece = 1; piece < text.size(); ++piece) {
    Cleaner cleaner;
    std::string out;
    for (size_t at = 0; at < text.size(); at += piece) out += cleaner.Feed(text.substr(at, piece));
    out += cleaner.Finish();
    EXPECT_EQ(out, expected) << "in pieces of " << piece;
  }
}

TEST(CleanLine, CutsWhatIsTooLongAndSaysSo) {
  EXPECT_EQ(CleanLine(std::string(5000, 'x'), 10), "xxxxxxxxxx... (4.9 KiB more)");
}

TEST(Wrap, BreaksAtSpacesAndNeverExceedsTheWidth) {
  EXPECT_EQ(Wrap("one two three", 7), (std::vector<std::string>{"one two", "three"}));
  EXPECT_EQ(Wrap("abcdefghij", 4), (std::vector<std::string>{"abcd", "efgh", "ij"}));
  EXPECT_EQ(Wrap("a\n\nb", 9), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(Wrap("", 5), (std::vector<std::string>{""}));
  EXPECT_EQ(Wrap("ab cdefghijk lm", 6), (std::vector<std::string>{"ab", "cdefgh", "ijk lm"}));
  EXPECT_EQ(Wrap("network.layers[0].conv 8", 13),
            (std::vector<std::string>{"network.", "layers[0].", "conv 8"}));
  EXPECT_EQ(Wrap("a.bcdefghij", 6), (std::vector<std::string>{"a.bcde", "fghij"}));
}

TEST(Width, CountsColumnsNotBytes) {
  std::setlocale(LC_CTYPE, "C.UTF-8");
  EXPECT_EQ(Width("\xC3\xA9t\xC3\xA9"), 3);
  EXPECT_EQ(Width("\xE8\xBB\x8A"), 2);  // a wide character
  EXPECT_EQ(Cut("\xC3\xA9t\xC3\xA9 long", 6), "\xC3\xA9t\xC3\xA9...");
}

TEST(Format, ReadsAsPeopleSayIt) {
  EXPECT_EQ(FormatDuration(4'250), "4.2 s");
  EXPECT_EQ(FormatDuration(41'000), "41 s");
  EXPECT_EQ(FormatDuration(252'000), "4 min 12 s");
  EXPECT_EQ(FormatDuration(7'500'000), "2 h 05 min");
  EXPECT_EQ(FormatDuration(-5), "0.0 s");
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
  EXPECT_EQ(FormatCount(-123), "-123");
  EXPECT_EQ(FormatBytes(1023), "1023 bytes");
  EXPECT_EQ(FormatBytes(1258291), "1.2 MiB");
}

TEST(Table, WrapsWithinTheWidthAndAlignsNumbersRight) {
  Table table({{"N", true}, {"WHY", false, true}, {"TIME", true}});
  table.Add({"1", "short", "41 s"});
  table.Add({"12", "a reason that takes more than one line to tell", "1 s"});
  Style style;
  style.width = 32;
  EXPECT_EQ(table.Render(style),
            " N  WHY                     TIME\n"
            " 1  short                   41 s\n"
            "12  a reason that takes      1 s\n"
            "    more than one line to\n"
            "    tell\n");
}

TEST(Style, PaintsOnlyWhereColoursAre) {
  EXPECT_EQ(Style{}.Paint(Colour::kRed, "x"), "x");
  Style style;
  style.colour = true;
  EXPECT_EQ(style.Paint(Colour::kRed, "x"), "\x1b[31mx\x1b[0m");
}

}  // namespace
}  // namespace trainyard::cli
