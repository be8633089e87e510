// What every backend promises: state in and out, honest NaNs, and refusals that say why. A test
// program with backends of its own links the suite and instantiates it.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "kernels/backend.h"

namespace trainyard::kernels::testing {

struct BackendUnderTest {
  std::string name;
  std::function<std::unique_ptr<Backend>()> make;
};

class EveryBackend : public ::testing::TestWithParam<BackendUnderTest> {};

inline std::string NameOf(const ::testing::TestParamInfo<BackendUnderTest>& info) {
  return info.param.name;
}

}  // namespace trainyard::kernels::testing
