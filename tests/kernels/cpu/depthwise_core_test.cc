// What a depthwise core refuses; every_core_test.cc has what it computes.
#include <gtest/gtest.h>

#include <string>

#include "kernels/backend.h"
#include "kernels/cpu/conv_core.h"
#include "tests/kernels/cpu/conv_case.h"

namespace trainyard::kernels::cpu::testing {
namespace {

TEST(DepthwiseCore, RefusesWhatItCannotComputeByName) {
  const auto refuses = [](const ConvCase& conv, const std::string& found) {
    const ConvSample sample(conv, 3);
    try {
      MakeDepthwiseCore(sample.geometry());
      FAIL() << "made a core";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()),
                "layers.1: found " + found + ", a depthwise one expects as many of each");
    }
  };
  refuses({.in = {4, 4, 4}, .filters = 4}, "1 group, 4 inputs and 4 outputs");
  ConvCase two_outputs{.in = {4, 4, 4}, .filters = 8};
  two_outputs.op.groups = 4;
  refuses(two_outputs, "4 groups, 4 inputs and 8 outputs");
}

}  // namespace
}  // namespace trainyard::kernels::cpu::testing
