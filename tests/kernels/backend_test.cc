// The backends that a program asks for by name keep what every backend promises.
#include "kernels/backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/kernels/backend_suite.h"

namespace trainyard::kernels::testing {
namespace {

BackendUnderTest Named(const std::string& name) {
  return {name, [name] { return MakeBackend({name, 2}); }};
}

const std::vector<BackendUnderTest> kBackends = {
    Named("reference"),
#ifdef TRAINYARD_WITH_CPU
    Named("cpu"),
#endif
};

INSTANTIATE_TEST_SUITE_P(Backends, EveryBackend, ::testing::ValuesIn(kBackends), NameOf);

std::string WhyNot(const std::string& backend) {
  try {
    MakeBackend({backend, 1});
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(MakeBackend, RefusesUnknownNames) {
  EXPECT_THAT(WhyNot("gpu"), ::testing::HasSubstr("\"gpu\" is unknown"));
}

#ifndef TRAINYARD_WITH_CPU
TEST(MakeBackend, SaysThatTheCpuBackendWasLeftOut) {
  EXPECT_THAT(WhyNot("cpu"), ::testing::HasSubstr("without Highway"));
}
#endif

}  // namespace
}  // namespace trainyard::kernels::testing
