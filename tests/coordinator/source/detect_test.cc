// Proves what detection makes of repositories: those of detect/ each as its expected.txt says, in
// whatever order the files come, and what a spec says of the program wins.
#include "coordinator/source/detect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/coordinator/source/detect_corpus.h"

namespace trainyard::coordinator {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

// "program:\n  command: " needs quotes as a shell does; words with spaces are shown in them.
std::string Words(const v1::Program& program) {
  std::string text;
  for (const std::string& word : program.command()) {
    const bool plain = word.find_first_of(" $\"") == word.npos;
    text += (text.empty() ? "" : " ") + (plain ? word : "'" + word + "'");
  }
  return text;
}

std::string Why(const v1::Evidence& evidence) {
  return evidence.file() + ":" + std::to_string(evidence.line()) + ": " + evidence.text() + " (" +
         evidence.shows() + ")";
}

// What expected.txt holds of it: all facts, and the evidence and warnings to choose from.
struct Shown {
  std::vector<std::string> facts;
  std::vector<std::string> why;
  std::vector<std::string> warns;
};

Shown Show(const v1::Detection& detection) {
  const auto yes = [](bool is) { return is ? "yes" : "no"; };
  const auto line = [](const std::string& key, const std::string& value) {
    return value.empty() ? key : key + " " + value;
  };
  Shown shown;
  std::string datasets;
  for (const std::string& name : detection.datasets()) {
    datasets += (datasets.empty() ? "" : " ") + name;
  }
  const v1::Program& program = detection.program();
  shown.facts = {"runtime: " + detection.runtime(),
                 line("command:", Words(program)),
                 line("cnn:", yes(program.cnn())),
                 line("gpu:", yes(detection.gpu())),
                 line("changes:", yes(program.takes_changes())),
                 line("datasets:", datasets)};
  for (const v1::Evidence& evidence : detection.evidence()) {
    shown.why.push_back("why: " + Why(evidence));
  }
  for (const std::string& warning : detection.warnings()) {
    shown.warns.push_back("warns: " + warning);
  }
  return shown;
}

void Expect(const absl::StatusOr<v1::Detection>& found, const std::string& expected) {
  std::istringstream lines(expected);
  std::vector<std::string> facts;
  Shown shown;
  if (found.ok()) shown = Show(*found);
  const std::string message(found.status().message());
  size_t warned = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("refused: ")) {
      EXPECT_EQ(found.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(message, testing::StartsWith(line.substr(9)));
    } else if (line.starts_with("says: ")) {
      EXPECT_THAT(message, HasSubstr(line.substr(6)));
    } else if (line.starts_with("why: ")) {
      EXPECT_THAT(shown.why, Contains(line));
    } else if (line.starts_with("warns: ")) {
      ++warned;
      EXPECT_THAT(shown.warns, Contains(line));
    } else {
      facts.push_back(line);
    }
  }
  EXPECT_EQ(shown.facts, facts) << message;
  if (warned > 0) {
    EXPECT_EQ(shown.warns.size(), warned);
  }
}

class DetectCorpus : public testing::TestWithParam<std::string> {};

TEST_P(DetectCorpus, IsSeenAsExpectedInWhateverOrderItsFilesCome) {
  MadeFiles files = CorpusFiles(GetParam());
  const auto found = Detect(files, {});
  Expect(found, ReadAll(CorpusFolder() / GetParam() / "expected.txt"));
  std::mt19937 random(1);
  for (int i = 0; i < 3; ++i) {
    std::shuffle(files.files().begin(), files.files().end(), random);
    const auto again = Detect(files, {});
    EXPECT_EQ(again.status(), found.status());
    if (found.ok()) {
      EXPECT_EQ(again->DebugString(), found->DebugString());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, DetectCorpus, testing::ValuesIn(CorpusCases()),
                         [](const auto& info) { return info.param; });

v1::Program Said(const std::vector<std::string>& command, const std::string& framework = "") {
  v1::Program said;
  said.mutable_command()->Assign(command.begin(), command.end());
  said.set_framework(framework);
  return said;
}

TEST(DetectSaid, TheCommandOfTheSpecDecidesBetweenTwoPrograms) {
  const MadeFiles files = CorpusFiles("two_entry_points");
  for (const auto& command : std::vector<std::vector<std::string>>{
           {"python3", "fit_dogs.py", "--epochs", "3"}, {"sh", "-c", "python3 fit_dogs.py"}}) {
    const auto found = Detect(files, Said(command));
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->runtime(), "program-keras");
    EXPECT_THAT(found->program().command(), testing::ElementsAreArray(command));
    EXPECT_TRUE(found->program().takes_changes());
    EXPECT_EQ(found->evidence(0).file(), "fit_dogs.py");
  }
}

TEST(DetectSaid, AShellScriptIsFollowedToWhatItStarts) {
  MadeFiles files = CorpusFiles("two_entry_points");
  files.Add("start.sh", "#!/bin/sh\nset -e\npython3 fit_dogs.py --epochs 3\n");
  const auto found = Detect(files, Said({"sh", "start.sh"}));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->runtime(), "program-keras");
  EXPECT_EQ(Why(found->evidence(0)),
            "start.sh:3: python3 fit_dogs.py --epochs 3 (starts fit_dogs.py)");
}

TEST(DetectSaid, TheFrameworkOfTheSpecWins) {
  const auto found = Detect(CorpusFiles("sklearn"), Said({}, "other"));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->runtime(), "program-other");
  EXPECT_THAT(found->program().command(), ElementsAre("python3", "classify.py"));
}

TEST(DetectSaid, AProgramInAnotherLanguageIsRunAsItIsSaid) {
  MadeFiles files;
  files.Add("train.R", "fit()");
  const auto found = Detect(files, Said({"Rscript", "train.R"}));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->runtime(), "program-other");
  EXPECT_FALSE(found->program().takes_changes());
}

TEST(DetectSaid, ConfiguredDataNeedsNoNetwork) {
  v1::Program said;
  auto found = Detect(CorpusFiles("keras_sequential"), said);
  ASSERT_TRUE(found.ok()) << found.status();
  WarnOfData(&*found);
  EXPECT_THAT(found->warnings(),
              ElementsAre("it loads fashion_mnist, which needs the network: give it under "
                          "program.data, or set program.network: true"));
  said.add_data()->set_name("fashion_mnist");
  found = Detect(CorpusFiles("keras_sequential"), said);
  ASSERT_TRUE(found.ok()) << found.status();
  WarnOfData(&*found);
  EXPECT_THAT(found->warnings(), testing::IsEmpty());
  EXPECT_EQ(found->program().data(0).name(), "fashion_mnist");
}

TEST(DetectSaid, WhatARefusalSuggestsIsTakenUp) {
  const MadeFiles files = CorpusFiles("two_entry_points");
  const std::string message(Detect(files, {}).status().message());
  const std::string key = "\nprogram:\n  command: ";
  const size_t at = message.find(key);
  ASSERT_NE(at, message.npos) << message;
  const auto found = Detect(files, Said({"sh", "-c", message.substr(at + key.size())}));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->runtime(), "program-keras");
}

}  // namespace
}  // namespace trainyard::coordinator
