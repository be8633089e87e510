// The memory that a program works in is there, or it is said that it is not.
#include "kernels/cpu/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

#include "kernels/backend.h"

namespace trainyard::kernels::cpu {
namespace {

TEST(Arena, MemoryIsZeroedAndWritable) {
  Arena arena(1 << 20);
  EXPECT_TRUE(std::all_of(arena.data(), arena.data() + (1 << 20), [](char c) { return c == 0; }));
  arena.data()[(1 << 20) - 1] = 1;
}

TEST(Arena, SaysWhenMemoryIsNotToBeHad) { EXPECT_THROW(Arena(int64_t{1} << 60), Error); }

}  // namespace
}  // namespace trainyard::kernels::cpu
