// Each mistake of planted.cu is found by what should find it, and its twin without the mistake by
// nothing, in each of the builds: plain, AddressSanitizer with UBSan, ThreadSanitizer.
#include "tests/kernels/cuda/emulation/planted.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "kernels/backend.h"
#include "kernels/cuda/emulation/cuda.h"
#include "kernels/cuda/emulation/sanitizers.h"
#include "tests/kernels/cuda/support/schedules.h"

#if defined(TRAINYARD_EMULATION_TSAN)
// Else every process that has seen a race sleeps a second at its end.
extern "C" const char* __tsan_default_options() { return "atexit_sleep_ms=0"; }
#endif

namespace trainyard::kernels::cuda::testing {
namespace {

using ::testing::ContainsRegex;

std::vector<float> RunUnder(int schedule, const std::string& name, bool wrong) {
  const WithSchedule under(schedule);
  return FindPlanted(name).run(wrong);
}

// Under how many schedules the result is what is expected.
[[maybe_unused]] int RightRuns(const std::string& name) {
  int right = 0;
  for (int schedule = 0; schedule < kScheduleCount; ++schedule) {
    right += RunUnder(schedule, name, true) == FindPlanted(name).expected;
  }
  return right;
}

// "planted.cu:LINE", where the mistake is.
[[maybe_unused]] std::string PlantedLine(const std::string& name) {
  std::ifstream source(TRAINYARD_PLANTED_SOURCE);
  int number = 1;
  for (std::string line; std::getline(source, line); ++number) {
    if (line.ends_with("// planted: " + name)) return "planted\\.cu:" + std::to_string(number);
  }
  throw Error("no line of planted.cu says: planted: " + name);
}

TEST(Planted, TwinsWithoutTheMistakeAreRightUnderEverySchedule) {
  for (const Planted& planted : AllPlanted()) {
    for (int schedule = 0; schedule < kScheduleCount; ++schedule) {
      EXPECT_EQ(RunUnder(schedule, planted.name, false), planted.expected) << planted.name;
    }
  }
}

struct Refusal {
  const char *name, *message;
};
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

class Refused : public ::testing::TestWithParam<Refusal> {};

TEST_P(Refused, WithTheFacts) {
  for (int round = 0; round < 2; ++round) {  // a failed kernel must not hurt the next
    try {
      FindPlanted(GetParam().name).run(true);
      ADD_FAILURE() << "not found";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), ContainsRegex(GetParam().message));
    }
    EXPECT_EQ(FindPlanted(GetParam().name).run(false), FindPlanted(GetParam().name).expected);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Machine, Refused,
    ::testing::Values(
        Refusal{
            "misaligned copy",
            "block \\(0,0,0\\), thread \\(0,0,0\\): cp.async at .*planted.cu:[0-9]+: the source is "
            "not aligned to 16 bytes"},
        Refusal{"misaligned matrix",
                "ldmatrix at .*planted.cu:[0-9]+: a row is not aligned to 16 bytes"},
        Refusal{"deadlock",
                "deadlock in block \\(0,0,0\\): 16 threads, the first \\(1,0,0\\), wait in "
                "__shfl_xor_sync at .*planted.cu:[0-9]+, warp 0, for the lanes 0x55555555; 16 "
                "threads, the first \\(0,0,0\\), wait in __syncthreads at .*planted.cu:[0-9]+"},
        Refusal{"divergent barrier",
                "thread \\(16,0,0\\): waits in __syncthreads at .*planted.cu:[0-9]+, thread "
                "\\(0,0,0\\) in __syncthreads at .*planted.cu:[0-9]+"},
        Refusal{"lane outside its mask",
                "thread \\(16,0,0\\): __shfl_sync at .*planted.cu:[0-9]+: lane 16 is not in its "
                "mask 0x0000ffff"},
        Refusal{"different operations",
                "lane 16 executes __shfl_down_sync at .*planted.cu:[0-9]+ while others of its warp "
                "wait for it in __shfl_xor_sync at .*planted.cu:[0-9]+"},
        Refusal{"divergent mma (bf16)",
                "lane 16 executes mma \\(bf16\\) at .*planted.cu:[0-9]+ while others of its "
                "warp execute it at .*planted.cu:[0-9]+; expected all lanes at the same"},
        Refusal{"divergent mma (tf32)",
                "lane 16 executes mma \\(tf32\\) at .*planted.cu:[0-9]+ while others of its "
                "warp execute it at .*planted.cu:[0-9]+; expected all lanes at the same"},
        Refusal{"divergent ldmatrix",
                "lane 16 executes ldmatrix at .*planted.cu:[0-9]+ while others of its "
                "warp execute it at .*planted.cu:[0-9]+; expected all lanes at the same"},
        Refusal{"divergent ldmatrix.trans",
                "lane 16 executes ldmatrix.trans at .*planted.cu:[0-9]+ while others of its "
                "warp execute it at .*planted.cu:[0-9]+; expected all lanes at the same"},
        Refusal{
            "changed source of a copy",
            "thread \\(3,0,0\\): cp.async at .*planted.cu:[0-9]+: its source changed before the "
            "wait for it"},
        Refusal{"static shared memory",
                "static shared memory has 49156 bytes or more, expected at "
                "most 49152"},
        Refusal{"dynamic shared memory",
                "49153 bytes of dynamic shared memory, expected at most "
                "49152, which AllowShared can raise to 101376"},
        Refusal{"raised shared memory", "102400 bytes, expected at most 101376"},
        Refusal{"no dynamic shared memory", "its launch gives it 0 bytes"},
        Refusal{"large block", "a block of \\(1025,1,1\\) threads, expected 1 to 1024"},
        Refusal{"empty grid", "a grid of \\(0,1,1\\) blocks, expected at least 1"}));

// What is never written, or not yet, is NaN.
TEST(Planted, PoisonShows) {
  EXPECT_TRUE(std::isnan(FindPlanted("missing copy wait").run(true)[0]));
  EXPECT_TRUE(std::isnan(FindPlanted("uninitialised").run(true)[3]));
  EXPECT_TRUE(std::isnan(FindPlanted("uninitialised global memory").run(true)[3]));
}

TEST(Planted, FloatAtomicsDependOnTheSchedule) {
  EXPECT_NE(RunUnder(0, "float atomics", true), RunUnder(1, "float atomics", true));
}

#if !defined(TRAINYARD_EMULATION_TSAN)
TEST(Planted, AMissingBarrierShowsUnderOtherSchedules) {
  EXPECT_LT(RightRuns("missing barrier"), 4);
  EXPECT_LT(RightRuns("missing warp barrier"), 4);
  EXPECT_LT(RightRuns("missing barrier after a wait"), 4);
}
#endif

#if !defined(TRAINYARD_EMULATION_ASAN) && !defined(TRAINYARD_EMULATION_TSAN)

// Why the race detector is needed: no result tells of these.
TEST(Planted, SomeRacesNeverShowInAResult) {
  EXPECT_EQ(RightRuns("silent race"), 4);
  EXPECT_EQ(RightRuns("race for the source of a copy"), 4);
  for (int schedule = 0; schedule < kScheduleCount; ++schedule) {
    EXPECT_EQ(RunUnder(schedule, "race between blocks", true), (std::vector<float>{5, 0}));
  }
}

TEST(Planted, MemoryFreedTwiceIsRefused) {
  EXPECT_THROW(FindPlanted("double free").run(true), Error);
}

TEST(PlantedDeathTest, AStackEndsInAGuardPage) {
  EXPECT_EXIT(FindPlanted("stack overflow").run(true), ::testing::KilledBySignal(SIGSEGV), "");
}

#elif defined(TRAINYARD_EMULATION_ASAN)

void ExpectReport(const std::string& name, const std::string& report) {
  EXPECT_DEATH(FindPlanted(name).run(true), report + ".*" + PlantedLine(name)) << name;
}

TEST(PlantedDeathTest, OverrunsAreReportedWithTheirLine) {
  ExpectReport("overrun of dynamic shared memory", "heap-buffer-overflow");
  ExpectReport("overrun of global memory", "heap-buffer-overflow");
}

void ExpectUndefined(const std::string& name, const std::string& report) {
  EXPECT_DEATH(FindPlanted(name).run(true), PlantedLine(name) + ".*" + report) << name;
}

TEST(PlantedDeathTest, IndicesBeyondAStaticArrayAreReportedWithTheirLine) {
  ExpectUndefined("overrun of static shared memory", "index 32 out of bounds");
}

TEST(PlantedDeathTest, MisalignedVectorsAreReportedWithTheirLine) {
  ExpectUndefined("misaligned vector", "misaligned address");
  ExpectUndefined("vector in an array of floats", "misaligned address");
}

TEST(PlantedDeathTest, AStackEndsInAGuardPage) {
  EXPECT_DEATH(FindPlanted("stack overflow").run(true), "stack-overflow");
}

TEST(PlantedDeathTest, MemoryIsFreedOnce) {
  EXPECT_DEATH(FindPlanted("double free").run(true), "attempting double-free");
}

TEST(PlantedDeathTest, MemoryIsFreed) {
  EXPECT_EXIT(
      {
        FindPlanted("leak").run(true);
        std::exit(0);
      },
      [](int status) { return status != 0; }, "detected memory leaks.*4711 byte");
}

#else  // ThreadSanitizer

void ExpectRace(const std::string& name) {
  for (int schedule = 0; schedule < kScheduleCount; ++schedule) {
    EXPECT_EXIT(
        {
          RunUnder(schedule, name, true);
          std::exit(0);
        },
        ::testing::ExitedWithCode(66), "data race.*" + PlantedLine(name))
        << name;
  }
}

TEST(PlantedDeathTest, RacesAreReportedWithTheirLineUnderEverySchedule) {
  ExpectRace("missing barrier");
  ExpectRace("missing warp barrier");
  ExpectRace("missing barrier after a wait");
  ExpectRace("silent race");
  ExpectRace("race for the source of a copy");
  ExpectRace("race between blocks");
}

TEST(PlantedDeathTest, RightTwinsRaceNowhere) {
  EXPECT_EXIT(
      {
        for (const Planted& planted : AllPlanted()) planted.run(false);
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "^$");
}

#endif

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
