// `program` and `changes`: what runs, with what, and what of it is left to be found out.
#include <gmock/gmock.h>

#include "coordinator/source/spec_writer.h"
#include "tests/coordinator/source/spec_sample.h"

namespace trainyard::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(SpecProgram, ALineIsForTheShellAndAListIsArgv) {
  EXPECT_THAT(Accepted("program: python3 train.py --fast").program.command(),
              ElementsAre("sh", "-c", "python3 train.py --fast"));
  EXPECT_THAT(Accepted("program: {command: [python3, train.py, 'a b', 3]}").program.command(),
              ElementsAre("python3", "train.py", "a b", "3"));
}

TEST(SpecProgram, WhatIsLeftOutIsLeftToBeFoundOut) {
  for (const char* text : {"program: {}", "target: 0.9", "program:", "budget: {trials: 2}"}) {
    const JobSpec spec = Accepted(text);
    EXPECT_TRUE(spec.IsProgram()) << text;
    EXPECT_THAT(spec.program.command(), IsEmpty()) << text;
    EXPECT_EQ(spec.program.framework(), "") << text;
    EXPECT_TRUE(ToProto(spec).has_program()) << text;
  }
  EXPECT_FALSE(Accepted(kSmallSpec).IsProgram());
  EXPECT_FALSE(ToProto(Accepted(kSmallSpec)).has_program());
}

TEST(SpecProgram, ChangesAreRead) {
  const JobSpec spec = Accepted("program: ./train\nchanges: {epochs: 7, lr: 0.5, optimizer: adam}",
                                {"changes.width=2"});
  EXPECT_EQ(spec.configuration.changes,
            (network::ProgramChanges{
                .epochs = 7, .optimizer = "adam", .learning_rate = 0.5, .width = 2}));
}

TEST(SpecProgram, DataHasNamesAndPlaces) {
  const JobSpec spec = Accepted(
      "program:\n  command: ./train\n  data:\n    a: images\n    b.c: /srv/data/x\n"
      "    d: {url: https://host/f, sha256: "
      "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}\n");
  ASSERT_EQ(spec.program.data_size(), 3);
  EXPECT_EQ(spec.program.data(0).file().path(), "images");
  EXPECT_EQ(spec.program.data(1).name(), "b.c");
  EXPECT_EQ(spec.program.data(1).file().host_path(), "/srv/data/x");
  EXPECT_EQ(spec.program.data(2).file().url(), "https://host/f");
}

TEST(SpecProgram, WhatIsWrittenReadsBackTheSame) {
  for (const char* text :
       {"program: {}", "program: ./train",
        "name: a\nprogram: {command: [sh, -c, 'a \"b\" $c'], framework: torch, network: true, "
        "data: {x: y/z}}\nchanges: {epochs: 3, dropout: 0.25, added_dense: 64}\ntarget: val_loss "
        "<= 0.5\nresources: {gpu: required}"}) {
    const JobSpec spec = Accepted(text);
    EXPECT_EQ(ToProto(Accepted(WriteSpec(spec))).DebugString(), ToProto(spec).DebugString())
        << WriteSpec(spec);
  }
}

TEST(SpecProgram, ANetworkAndAProgramExcludeEachOther) {
  const std::string both = std::string(kSmallSpec) + "program: ./train\n";
  EXPECT_THAT(Refusal(both), HasSubstr("data: found beside program, expected one of the two"));
  EXPECT_THAT(Refusal(both), HasSubstr("network: found beside program"));
  EXPECT_THAT(Refusal(std::string(kSmallSpec) + "changes: {epochs: 3}"),
              HasSubstr("changes: found beside a network"));
  // Half a network is a network with something missing, not a program.
  EXPECT_THAT(Refusal("train: {epochs: 3}"), HasSubstr("data"));
}

TEST(SpecProgram, ProblemsHaveTheirPlaces) {
  EXPECT_THAT(Refusal("program: {command: []}"),
              HasSubstr("trainyard.yaml:1:20: program.command: found a list of 0"));
  EXPECT_THAT(Refusal("program: {command: '  '}"), HasSubstr("expected a command"));
  EXPECT_THAT(Refusal("program: {comand: x}"), HasSubstr("did you mean command"));
  EXPECT_THAT(Refusal("program: {framework: tensorflow}"), HasSubstr("keras, torch, sklearn"));
  EXPECT_THAT(Refusal("program: {data: {'../x': y}}"), HasSubstr("found the name \"../x\""));
  EXPECT_THAT(Refusal("program: {data: {x: ../y}}"), HasSubstr("inside the repository"));
  EXPECT_THAT(Refusal("program: {data: {x: {url: https://host/f}}}"), HasSubstr("sha256"));
  EXPECT_THAT(Refusal("program: ./x\nchanges: {epochs: -1}"),
              HasSubstr("trainyard.yaml:2:19: changes.epochs: found -1"));
  EXPECT_THAT(Refusal("program: ./x\nchanges: {dropout: 1}"), HasSubstr("changes.dropout"));
  EXPECT_THAT(Refusal("program: ./x\nchanges: {width: 0.01}"), HasSubstr("0.1 to 16"));
  EXPECT_THAT(Refusal("program: ./x\nchanges: {lr: .nan}"), HasSubstr("changes.lr"));
}

}  // namespace
}  // namespace trainyard::coordinator
