// Shows that a process is told from another with the same pid, and an out-of-memory kill from
// others.
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "coordinator/launch/process_identity.h"
#include "gtest/gtest.h"
#include "proto/memory_kills.h"

namespace trainyard::coordinator {
namespace {

uint64_t Ticks(const std::string& stat) { return ParseStartTicks(stat.data(), stat.size()); }

TEST(ProcessIdentity, StartTimeIsFoundBehindNamesWithSpacesAndBrackets) {
  const std::string fields = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20 21";
  EXPECT_EQ(Ticks("12 (sh)" + fields), 98765u);
  EXPECT_EQ(Ticks("12 (a b) (c)" + fields), 98765u);
}

TEST(ProcessIdentity, ATornStatTextHasNoStartTime) {
  EXPECT_EQ(Ticks(""), 0u);
  EXPECT_EQ(Ticks("12 (sh"), 0u);
  EXPECT_EQ(Ticks("12 (sh)"), 0u);
  EXPECT_EQ(Ticks("12 (sh) S 1 2 3"), 0u);
}

TEST(ProcessIdentity, HandlesSurviveTheWayThereAndBackAndBrokenOnesAreRefused) {
  const ProcessIdentity process{4711, 123456789};
  EXPECT_EQ(ToHandle(process), "4711 123456789");
  EXPECT_EQ(ParseHandle("4711 123456789"), process);
  EXPECT_EQ(ParseHandle("4711 123456789\n"), process);
  for (const char* broken : {"", "4711", "4711 ", "4711 x", "x 5", "-1 5", "0 5", "5 0", "5 6x"}) {
    EXPECT_FALSE(ParseHandle(broken)) << "'" << broken << "'";
  }
}

TEST(ProcessIdentity, OurselvesRunAndAPidWithAnotherStartTimeDoesNot) {
  const auto self = IdentityOf(getpid());
  ASSERT_TRUE(self);
  EXPECT_TRUE(StillRuns(*self));
  EXPECT_FALSE(StillRuns({self->pid, self->start_ticks + 1}));
}

TEST(ProcessIdentity, AZombieNoLongerRuns) {
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(pipe_fds[1]);
    char byte;
    [[maybe_unused]] const ssize_t size = read(pipe_fds[0], &byte, 1);
    _exit(0);
  }
  close(pipe_fds[0]);
  const auto process = IdentityOf(child);
  ASSERT_TRUE(process);
  close(pipe_fds[1]);  // lets it end
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, child, &info, WEXITED | WNOWAIT), 0);  // a zombie now
  EXPECT_FALSE(StillRuns(*process));
  waitpid(child, nullptr, 0);
}

TEST(MemoryKills, TheCounterIsReadFromEachOfTheKernelsForms) {
  EXPECT_EQ(ParseMemoryKills("low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n"), 2);
  EXPECT_EQ(ParseMemoryKills("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"), 5);
  EXPECT_EQ(ParseMemoryKills("pgpgin 1\noom_kill 0\n"), 0);
  EXPECT_EQ(ParseMemoryKills("no_oom_kill 9\n"), -1);
  EXPECT_EQ(ParseMemoryKills(""), -1);
}

}  // namespace
}  // namespace trainyard::coordinator
