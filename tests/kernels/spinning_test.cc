// Threads spin no longer than they are told to, unless whoever starts the program says otherwise.
#include "kernels/spinning.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace trainyard::kernels {
namespace {

std::string OutputWith(const std::string& environment) {
  const std::string command =
      "env -u GOMP_SPINCOUNT -u OMP_WAIT_POLICY " + environment + " " SPINNING_PROGRAM " kept";
  std::FILE* pipe = popen(command.c_str(), "r");
  char line[64] = "";
  if (pipe == nullptr || std::fgets(line, sizeof line, pipe) == nullptr) return "nothing";
  pclose(pipe);
  return line;
}

TEST(Spinning, IsLimitedInAProcessOfTheSameArgumentsAndName) {
  EXPECT_EQ(OutputWith(""), "2000 kept spinning_progra\n");
}

TEST(Spinning, IsLeftToWhoeverStartsTheProgram) {
  EXPECT_EQ(OutputWith("GOMP_SPINCOUNT=7"), "7 kept spinning_progra\n");
  EXPECT_EQ(OutputWith("OMP_WAIT_POLICY=active"), "none kept spinning_progra\n");
}

}  // namespace
}  // namespace trainyard::kernels
