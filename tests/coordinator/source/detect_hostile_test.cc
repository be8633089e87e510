// Proves that detection stays within bounds whatever a repository holds: too many and too large
// files, code that nests deeply or is no code, names that go in circles; and says what it left out.
#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "coordinator/source/archive.h"
#include "coordinator/source/detect.h"
#include "coordinator/source/tar_header.h"
#include "coordinator/source/text.h"
#include "tests/coordinator/source/detect_corpus.h"
#include "tests/coordinator/source/temp_folder.h"

namespace trainyard::coordinator {
namespace {

using testing::Contains;
using testing::HasSubstr;

constexpr char kProgram[] = "import keras\nmodel = keras.Sequential()\nmodel.fit(None)\n";

std::string Times(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

TEST(DetectHostile, OfAMillionFilesThoseNearTheTopAreReadAndTheRestIsNamed) {
  MadeFiles files;
  for (int i = 0; i < 1'000'000; ++i) {
    files.Add("deep/" + std::to_string(i % 100) + "/" + std::to_string(i) + ".py", "x = 1\n");
  }
  files.Add("train.py", kProgram);
  const auto found = Detect(files, {});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->program().command(1), "train.py");
  EXPECT_LE(files.asked().size(), 2'000u);
  EXPECT_THAT(found->warnings(),
              Contains("998001 of 1000001 Python files were not looked at: those furthest from the "
                       "top"));
}

TEST(DetectHostile, AllTheCodeTogetherIsBounded) {
  MadeFiles files;
  files.Add("train.py", kProgram);
  for (int i = 0; i < 40; ++i) {
    files.Add("lib/" + std::to_string(i) + ".py",
              Times("xxxxxxxxxx = '" + std::string(90, 'x') + "'\n", 3'000));
  }
  const auto found = Detect(files, {});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_LE(files.asked().size(), 15u);
  EXPECT_THAT(found->warnings(), Contains(HasSubstr("of 41 Python files were not looked at")));
}

TEST(DetectHostile, LargeFilesAreNamedAndNotRead) {
  MadeFiles files;
  files.AddLarge("train.py", int64_t{1} << 30);
  files.AddLarge("explore.ipynb", int64_t{1} << 30);
  files.AddLarge("README.md", int64_t{1} << 30);
  files.AddLarge("trainyard.yaml", int64_t{1} << 30);
  const auto found = Detect(files, {});
  EXPECT_EQ(found.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(files.asked(), testing::IsEmpty());
  const std::string message(found.status().message());
  EXPECT_THAT(message, HasSubstr("train.py was not looked at: 1073741824 bytes, more than the "
                                 "524288 of Python that are read"));
  EXPECT_THAT(message, HasSubstr("explore.ipynb was not looked at: 1073741824 bytes, more than the "
                                 "33554432 of a notebook that are read: clear its outputs"));
}

TEST(DetectHostile, BinaryFilesAreNoPrograms) {
  MadeFiles files;
  files.Add("train.py", std::string("\x7f"
                                    "ELF\0\0\1",
                                    7) +
                            kProgram);
  const auto found = Detect(files, {});
  EXPECT_THAT(std::string(found.status().message()),
              HasSubstr("train.py was not looked at: no text"));
}

TEST(DetectHostile, EvidenceIsTextWhateverBytesTheCodeHas) {
  MadeFiles files;
  files.Add("train.py", "import keras\nkeras.Model(name='caf\xe9 \x1b[31m\xff').fit(None)\n");
  const auto found = Detect(files, {});
  ASSERT_TRUE(found.ok()) << found.status();
  for (const v1::Evidence& evidence : found->evidence()) {
    EXPECT_EQ(FindInvalidUtf8(evidence.text()), std::string::npos);
    EXPECT_THAT(evidence.text(), testing::Not(HasSubstr("\x1b")));
  }
  std::string json;
  EXPECT_TRUE(google::protobuf::util::MessageToJsonString(*found, &json).ok());
}

TEST(DetectHostile, CodeMayNestAsDeeplyAsItLikes) {
  const std::vector<std::string> deep = {Times("(", 50'000),
                                         "x = " + Times("[", 30'000) + Times("]", 30'000),
                                         "x = " + Times("a.b(", 30'000) + Times(")", 30'000),
                                         "x = a" + Times(".b()", 30'000),
                                         "x = " + Times("not ", 30'000) + "y",
                                         "x = " + Times("-", 50'000) + "1",
                                         Times("lambda:", 50'000),
                                         Times("f'{", 50'000),
                                         Times("x = ", 5'000) + "1",
                                         "from " + Times(".", 30'000) + " import x",
                                         "import " + Times("a.", 50'000) + "b",
                                         "from a import " + Times("b, ", 50'000) + "c",
                                         Times("if x:\n case\n  ", 20'000)};
  MadeFiles files;
  for (size_t i = 0; i < deep.size(); ++i) {
    files.Add("deep" + std::to_string(i) + ".py", deep[i] + "\n");
  }
  std::string indented;
  for (int i = 0; i < 500; ++i) indented += std::string(i, ' ') + "if x:\n";
  files.Add("indented.py", indented + std::string(500, ' ') + "pass\n");
  files.Add("deep.ipynb", Times("[", 100'000));
  files.Add("train.py", kProgram);
  const auto found = Detect(files, {});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->program().command(1), "train.py");
  EXPECT_THAT(found->warnings(),
              Contains("deep.ipynb was not looked at: found JSON nested deeper than 200 levels, "
                       "expected a notebook"));
}

TEST(DetectHostile, NamesThatGoInCirclesLeadNowhere) {
  const MadeFiles files({{"train.py",
                          "from a import *\nfrom b import thing\nx = y\ny = x\n"
                          "p = p.q\nx.fit(None)\nthing.fit(None)\n"},
                         {"a.py", "from b import *\nfrom train import *\nimport a\n"},
                         {"b.py", "from a import *\nfrom a import thing\nimport b\n"},
                         {"requirements.txt", "keras\n"}});
  const auto found = Detect(files, {});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->program().command(1), "train.py");
}

TEST(DetectHostile, ManyNamesInManyFilesStayCheap) {
  MadeFiles files;
  for (int i = 0; i < 60; ++i) {
    std::string code;
    for (int j = 0; j < 60; ++j) code += "from m" + std::to_string(j) + " import *\n";
    for (int j = 0; j < 5'000; ++j) code += "unknown" + std::to_string(j) + "()\n";
    files.Add("m" + std::to_string(i) + ".py", code);
  }
  files.Add("train.py", kProgram);
  const auto found = Detect(files, {});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->program().command(1), "train.py");
}

TEST(DetectHostile, TimeThatRunsOutIsSaid) {
  MadeFiles files;
  files.Add("train.py", kProgram);
  DetectLimits limits;
  limits.parse_all = std::chrono::milliseconds(0);
  const auto found = Detect(files, {}, limits);
  EXPECT_THAT(std::string(found.status().message()),
              HasSubstr("train.py was not looked at: not readable as Python within the time"));
}

TEST(DetectHostile, AnyBytesGiveAnAnswer) {
  std::string all;
  for (const std::string& name : CorpusCases()) {
    MadeFiles files = CorpusFiles(name);
    for (const auto& [path, content] : files.files()) all += content;
  }
  std::mt19937 random(7);
  const auto below = [&](size_t end) { return random() % end; };
  for (int round = 0; round < 60; ++round) {
    MadeFiles files;
    for (const char* path :
         {"train.py", "main.py", "a/b.py", "a/__init__.py", "x.ipynb", "Dockerfile", "README.md",
          "requirements.txt", "pyproject.toml", "environment.yml", "trainyard.yaml"}) {
      std::string text = all.substr(below(all.size()), below(4'000));
      for (size_t i = below(20); i > 0 && !text.empty(); --i) {
        text[below(text.size())] = static_cast<char>(below(256));
      }
      if (path != std::string("trainyard.yaml") || round % 4 == 0) files.Add(path, text);
    }
    const auto found = Detect(files, {});
    std::string json;
    if (found.ok()) {
      EXPECT_TRUE(google::protobuf::util::MessageToJsonString(*found, &json).ok());
    } else {
      EXPECT_EQ(found.status().code(), absl::StatusCode::kInvalidArgument) << found.status();
      EXPECT_EQ(FindInvalidUtf8(std::string(found.status().message())), std::string::npos);
    }
  }
}

std::string Tar(const std::vector<std::pair<TarEntry, std::string>>& entries) {
  std::string tar;
  for (const auto& [entry, content] : entries) {
    tar += TarHeader(entry) + content + std::string(TarPadding(content.size()), '\0');
  }
  return tar + std::string(2 * kTarBlock, '\0');
}

TEST(DetectArchive, ReadsASnapshotAndDoesNotFollowLinks) {
  const TempFolder folder;
  const auto path = folder.path() / "snapshot.tar";
  const std::string program = kProgram;
  std::ofstream(path) << Tar(
      {{{.path = "link.py", .link = "src/train.py"}, ""},
       {{.path = "src/train.py", .size = static_cast<int64_t>(program.size())}, program}});
  const auto found = Detect(*FilesOfArchive(path), {});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(found->program().command(), testing::ElementsAre("python3", "src/train.py"));
}

TEST(DetectArchive, ADamagedSnapshotIsSaidToBe) {
  const TempFolder folder;
  const auto path = folder.path() / "snapshot.tar";
  std::ofstream(path) << std::string(2'000, 'x');
  EXPECT_EQ(Detect(*FilesOfArchive(path), {}).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace trainyard::coordinator
