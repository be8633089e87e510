// Specs made to hurt: refused with a place, without exhausting memory or stack.
#include <gmock/gmock.h>

#include <random>

#include "tests/coordinator/source/spec_sample.h"

namespace trainyard::coordinator {
namespace {

using testing::HasSubstr;

std::string Repeat(const std::string& text, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i) all += text;
  return all;
}

TEST(HostileSpec, NothingAtAll) {
  EXPECT_THAT(Refusal(""), HasSubstr("trainyard.yaml:1:1: found an empty file"));
  EXPECT_THAT(Refusal("# only a comment\n"), HasSubstr("found an empty file"));
  EXPECT_THAT(Refusal("- 1\n"), HasSubstr("found a list, expected a map"));
  EXPECT_THAT(Refusal("hello"), HasSubstr("found \"hello\", expected a map"));
}

TEST(HostileSpec, NotYaml) {
  EXPECT_THAT(Refusal("data: [1, 2\nnetwork: }"), HasSubstr("trainyard.yaml:2:"));
  EXPECT_THAT(Refusal("a: b: c"), HasSubstr("found something that is not YAML"));
  EXPECT_THAT(Refusal("\tdata: 1"), HasSubstr("found something that is not YAML"));
}

TEST(HostileSpec, BytesThatAreNotUtf8) {
  EXPECT_THAT(Refusal("name: a\nname: \xff\n"),
              HasSubstr("trainyard.yaml:2:7: found the byte 0xff, expected UTF-8 text"));
  EXPECT_THAT(Refusal(std::string("a\0b", 3)), HasSubstr("1:2: found the byte 0x00"));
  EXPECT_THAT(Refusal("\xfe\xff\x00"), HasSubstr("expected UTF-8"));
  EXPECT_THAT(Refusal("name: \xed\xa0\x80\n"), HasSubstr("expected UTF-8"));  // a surrogate
}

TEST(HostileSpec, AliasBomb) {
  std::string text = "a: &a [x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'j'; ++c) {
    std::string alias = std::string("*") + static_cast<char>(c - 1);
    text += std::string(1, c) + ": &" + c + " [" + alias + Repeat(", " + alias, 8) + "]\n";
  }
  EXPECT_THAT(Refusal(text), HasSubstr("trainyard.yaml:2:8: found an alias"));
}

TEST(HostileSpec, AliasOfItself) {
  EXPECT_THAT(Refusal("a: &a [*a]\n"), HasSubstr("found an alias"));
}

TEST(HostileSpec, Nesting) {
  EXPECT_THAT(Refusal("a: " + Repeat("[", 100'000) + Repeat("]", 100'000)),
              HasSubstr("nesting deeper than 64"));
  EXPECT_THAT(Refusal(Repeat("{a: ", 100'000) + Repeat("}", 100'000)),
              HasSubstr("nesting deeper than 64"));
  EXPECT_THAT(Refusal(Repeat("- ", 100'000) + "x"), HasSubstr("nesting deeper than 64"));
  EXPECT_THAT(Refusal("network: " + Repeat("[residual: ", 31) + "[relu]" + Repeat("]", 31) +
                      "\ndata: {format: cifar, train: a}\n"),
              HasSubstr("nested deeper than 16"));
}

TEST(HostileSpec, BracketsThatAreNotClosed) {
  EXPECT_THAT(Refusal(Repeat("[", 100'000)), HasSubstr("is a bracket not closed?"));
  EXPECT_THAT(Refusal(Repeat("{a: ", 100'000)), HasSubstr("is a bracket not closed?"));
}

TEST(HostileSpec, Size) {
  EXPECT_THAT(Refusal(std::string((1 << 20) + 1, ' ')),
              HasSubstr("found a file of 1048577 bytes, expected at most 1048576"));
  EXPECT_THAT(Refusal("a: [" + Repeat("1,", 300'000) + "]"), HasSubstr("more than 200000 values"));
  std::string keys;
  for (int i = 0; i < 2'000; ++i) keys += "k" + std::to_string(i) + ": 1\n";
  EXPECT_THAT(Refusal(keys), HasSubstr("more than 1000 keys"));
}

TEST(HostileSpec, TooManyLayers) {
  EXPECT_THAT(
      Refusal("data: {format: cifar, train: a}\nnetwork: [" + Repeat("relu, ", 20'000) + "]\n"),
      HasSubstr("more than 10000 layers"));
}

TEST(HostileSpec, KeysThatAreNoWords) {
  EXPECT_THAT(Refusal("[a]: 1\n"), HasSubstr("expected a word"));
  EXPECT_THAT(Refusal("? {a: 1}\n: 2\n"), HasSubstr("expected a word"));
  EXPECT_THAT(Refusal("~: 2\n"), HasSubstr("expected a word"));
  EXPECT_THAT(Refusal("\"a\\e[2Jb\": 2\n"), HasSubstr("\"a\\x1b[2Jb\""));
}

TEST(HostileSpec, SeveralDocuments) {
  EXPECT_THAT(Refusal(std::string(kSmallSpec) + "---\nname: x\n"),
              HasSubstr("found a second document"));
}

// Damaged specs never crash the reader, and a refusal always has a place.
TEST(HostileSpec, RandomDamage) {
  const std::string bits[] = {"{",    "}",  "[",  "]",    ": ",    "- ",  "*a", "&a ",
                              "\n",   "  ", "\"", "!!x ", "1e999", "-1",  "~",  "|\n",
                              ">-\n", "? ", "%",  "#",    "\x80",  "null"};
  int refused = 0;
  for (int seed = 0; seed < 3'000; ++seed) {
    std::mt19937 random(seed);
    std::string text =
        std::string(kSmallSpec) + "train: {lr: 0.1, schedule: {kind: step}}\nbudget: {time: 2h}\n";
    for (int change = 0; change < 3; ++change) {
      size_t at = random() % text.size();
      if (random() % 3 == 0) {
        text.erase(at, random() % 4);
      } else {
        text.insert(at, bits[random() % std::size(bits)]);
      }
    }
    auto parsed = Read(text);
    if (parsed.ok()) continue;
    ++refused;
    ASSERT_THAT(std::string(parsed.status().message()), testing::StartsWith("trainyard.yaml:"))
        << text;
  }
  EXPECT_GT(refused, 1'000);
}

}  // namespace
}  // namespace trainyard::coordinator
