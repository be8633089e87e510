// What the end of a program means.
#include "worker/program/exit_cause.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

namespace trainyard::program {
namespace {

using testing::HasSubstr;
using testing::Not;
using v1::AttemptEnded;

std::deque<std::string> Trace(const std::string& last) {
  return {"Traceback (most recent call last):", "  File \"train.py\", line 3, in <module>",
          "    import it", last};
}

TEST(ExitCauseTest, WhatItSaysItselfIsFinal) {
  const auto ending = Explain({.exit = {.code = 70}, .error = "no place for a dense layer"});
  EXPECT_EQ(ending.outcome, AttemptEnded::FAILED_FINALLY);
  EXPECT_EQ(ending.message, "no place for a dense layer");
}

TEST(ExitCauseTest, AMissingPackageIsNamed) {
  const auto ending = Explain({.exit = {.code = 1},
                               .output = Trace("ModuleNotFoundError: No module named 'einops.x'"),
                               .runtime = "program-keras"});
  EXPECT_EQ(ending.outcome, AttemptEnded::FAILED_FINALLY);
  EXPECT_THAT(ending.message, HasSubstr("needs the package einops.x, which is not there"));
  EXPECT_THAT(ending.message, HasSubstr("program-keras"));
}

TEST(ExitCauseTest, WhatTheSameSourceWouldDoAgainIsFinalAndTheRestIsNot) {
  const auto outcome = [](const std::string& line) {
    return Explain({.exit = {.code = 1}, .output = Trace(line)}).outcome;
  };
  EXPECT_EQ(outcome("SyntaxError: invalid syntax"), AttemptEnded::FAILED_FINALLY);
  EXPECT_EQ(outcome("NameError: name 'x' is not defined"), AttemptEnded::FAILED_FINALLY);
  EXPECT_EQ(outcome("FileNotFoundError: [Errno 2] No such file"), AttemptEnded::FAILED_FINALLY);
  EXPECT_EQ(outcome("ConnectionError: reset"), AttemptEnded::FAILED);
  EXPECT_EQ(outcome("ValueError: odd"), AttemptEnded::FAILED);
  EXPECT_EQ(outcome("MemoryError: cannot allocate"), AttemptEnded::OUT_OF_MEMORY);
  EXPECT_EQ(outcome("torch.cuda.OutOfMemoryError: CUDA out of memory."),
            AttemptEnded::OUT_OF_MEMORY);
}

TEST(ExitCauseTest, SignalsHaveTheirNamesAlsoFromASandbox) {
  const auto direct = Explain({.exit = {.signal = SIGSEGV}});
  EXPECT_EQ(direct.outcome, AttemptEnded::FAILED);
  EXPECT_THAT(direct.message, HasSubstr("ended by SIGSEGV, and printed nothing"));
  EXPECT_THAT(Explain({.exit = {.code = 128 + SIGSEGV}, .sandboxed = true}).message,
              HasSubstr("SIGSEGV"));
}

TEST(ExitCauseTest, AKillIsWantOfMemoryOnlyWhereTheKernelCountedOne) {
  EXPECT_EQ(Explain({.exit = {.signal = SIGKILL}}).outcome, AttemptEnded::FAILED);
  for (const Exit exit : {Exit{.signal = SIGKILL}, Exit{.code = 137}}) {
    EXPECT_EQ(Explain({.exit = exit, .memory_killed = true}).outcome, AttemptEnded::OUT_OF_MEMORY);
  }
}

TEST(ExitCauseTest, LastWordsAndTheHintAboutTheNetwork) {
  const std::deque<std::string> output = {
      "one", "two", "", "three", "four", "URLError: Temporary failure in name resolution"};
  const auto without = Explain({.exit = {.code = 3}, .output = output});
  EXPECT_THAT(without.message, HasSubstr("exit code 3; it printed last: two | three | four"));
  EXPECT_THAT(without.message, HasSubstr("program.network: true"));
  const auto with = Explain({.exit = {.code = 3}, .network = true, .output = output});
  EXPECT_THAT(with.message, Not(HasSubstr("program.network")));
}

}  // namespace
}  // namespace trainyard::program
