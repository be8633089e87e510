// The memory that a program works in is there, or it is said that it is not.
#include "kernels/cpu/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "kernels/backend.h"

namespace trainyard::kernels::cpu {
namespace {

// KiB of this field of the mapping that `address` lies in, as the kernel tells of it; -1: it does
// not.
int64_t MappedKib(const char* address, const std::string& field) {
  std::ifstream file("/proc/self/smaps");
  const auto at = reinterpret_cast<uintptr_t>(address);
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      inside = begin <= at && at < end;
    } else if (inside && line.starts_with(field + ":")) {
      return std::stoll(line.substr(field.size() + 1));
    }
  }
  return -1;
}

TEST(Arena, MemoryIsZeroedAndWritable) {
  for (int64_t bytes : {int64_t{1}, int64_t{1} << 20, 2 * kHugePage + 1}) {
    Arena arena(bytes);
    ASSERT_GE(arena.bytes(), bytes);
    EXPECT_TRUE(
        std::all_of(arena.data(), arena.data() + arena.bytes(), [](char c) { return c == 0; }));
    arena.data()[arena.bytes() - 1] = 1;
    const int64_t alignment = bytes < kHugePage ? kPage : kHugePage;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.data()) % alignment, 0u) << bytes;
  }
}

TEST(Arena, PagesAreThereOnceSomebodyWritesToThem) {
  constexpr int64_t kPages = 16;
  Arena arena(kPages * kHugePage);
  const int64_t before = MappedKib(arena.data(), "Rss");
  if (before < 0) GTEST_SKIP() << "the system does not tell how memory is mapped";
  // A neighbouring mapping may have become one with ours.
  std::memset(arena.data() + kPages / 2 * kHugePage, 1, kPages / 2 * kHugePage);
  const int64_t half = MappedKib(arena.data(), "Rss");
  EXPECT_EQ(half - before, kPages / 2 * kHugePage / 1024);
  const int64_t huge = MappedKib(arena.data(), "AnonHugePages");
  std::printf("huge pages: %ld of %ld KiB\n", static_cast<long>(huge), static_cast<long>(half));
}

TEST(Arena, OwnPagesAreWholeOnesAndHugeOnesFromHalfAHugePageOn) {
  EXPECT_EQ(OwnPages(0), 0);
  EXPECT_EQ(OwnPages(64), kPage);
  EXPECT_EQ(OwnPages(kHugePage / 2), kHugePage / 2);
  EXPECT_EQ(OwnPages(kHugePage / 2 + 64), kHugePage);
  EXPECT_EQ(OwnPages(3 * kHugePage - 64), 3 * kHugePage);
}

TEST(Arena, SaysWhenMemoryIsNotToBeHad) { EXPECT_THROW(Arena(int64_t{1} << 60), Error); }

}  // namespace
}  // namespace trainyard::kernels::cpu
