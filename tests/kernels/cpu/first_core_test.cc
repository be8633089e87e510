// What the network's first layer refuses; every_core_test.cc has what it computes.
#include <gtest/gtest.h>

#include <string>

#include "kernels/backend.h"
#include "kernels/cpu/conv_core.h"
#include "tests/kernels/cpu/conv_case.h"

namespace trainyard::kernels::cpu::testing {
namespace {

TEST(FirstCore, RefusesWhatItCannotComputeByName) {
  const auto refuses = [](const ConvCase& conv, const std::string& found) {
    const ConvSample sample(conv, 3);
    try {
      MakeFirstCore(sample.geometry());
      FAIL() << "made a core";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()),
                "layers.1: found " + found + ", a first layer expects one group and a plain input");
    }
  };
  refuses({.in = {3, 4, 4}}, "1 group and channels last");
  ConvCase grouped{.in = {4, 4, 4}, .filters = 4, .plain_input = true};
  grouped.op.groups = 2;
  refuses(grouped, "2 groups and a plain input");
}

}  // namespace
}  // namespace trainyard::kernels::cpu::testing
