// A backend in fp32 computes what the reference computes. A test program links the suite and
// instantiates both classes, RandomGraphs for shards 0 to kShards - 1.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "kernels/graph.h"
#include "tests/kernels/backend_suite.h"

namespace trainyard::kernels::testing {

// Two steps and an evaluation, against the reference.
void ExpectAgreementWithReference(const BackendUnderTest& backend, const Graph& graph, int batch,
                                  bool adamw);

class AgreesWithReference : public ::testing::TestWithParam<BackendUnderTest> {};

constexpr int kShards = 8;

class RandomGraphs : public ::testing::TestWithParam<std::tuple<BackendUnderTest, int>> {};

inline std::string ShardOf(const ::testing::TestParamInfo<RandomGraphs::ParamType>& info) {
  return std::get<0>(info.param).name + "_" + std::to_string(std::get<1>(info.param));
}

}  // namespace trainyard::kernels::testing
