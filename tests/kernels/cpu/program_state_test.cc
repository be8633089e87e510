// The state goes in and out as it is, and is updated as the reference updates it.
#include "kernels/cpu/program_state.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/reference/optimizer.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::cpu {
namespace {

using Floats = std::vector<float>;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Floats Normal(int64_t count, float deviation, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  Floats values(static_cast<size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

// Slices of every form, padded and not, of more and of less than a chunk.
Graph SomeGraph() {
  testing::GraphMaker maker({3, 9, 9}, 4, 10);
  int x = maker.Conv(0, 20, 3, 3, 1, 1, testing::Pad{}, 1, true);
  x = maker.BatchNorm(x);
  x = maker.Conv(x, 20, 3, 3, 1, 1, testing::Pad{}, 20, false);
  x = maker.Conv(x, 36, 3, 3, 1, 1, testing::Pad{}, 2, false);
  x = maker.Linear(x, 130);
  maker.Linear(x, 10);
  return maker.graph();
}

ProgramState RandomState(const Graph& graph, uint64_t seed) {
  ProgramState state;
  state.parameters = Normal(graph.parameter_count, 0.1f, seed);
  state.moment1 = Normal(graph.parameter_count, 0.1f, seed + 1);
  state.moment2 = Normal(graph.parameter_count, 0.1f, seed + 2);
  for (float& v : state.moment2) v = std::abs(v);
  state.statistics = Normal(graph.statistic_count, 1, seed + 3);
  return state;
}

struct Named {
  const char* name;
  StepScalars scalars;
};

std::vector<Named> Optimizers() {
  std::vector<Named> all;
  StepScalars sgd;
  sgd.learning_rate = 0.1f;
  sgd.weight_decay = 0.01f;
  all.push_back({"sgd", sgd});
  sgd.momentum = 0.9f;
  all.push_back({"momentum", sgd});
  sgd.nesterov = true;
  all.push_back({"nesterov", sgd});
  sgd.clip_norm = 2;
  all.push_back({"clipped", sgd});
  sgd.clip_norm = 1e6f;
  all.push_back({"too short to clip", sgd});
  StepScalars adamw;
  adamw.optimizer = OptimizerKind::kAdamW;
  adamw.learning_rate = 0.01f;
  adamw.beta1 = 0.9f;
  adamw.beta2 = 0.99f;
  adamw.epsilon = 1e-4f;
  adamw.weight_decay = 0.1f;
  all.push_back({"adamw", adamw});
  adamw.clip_norm = 2;
  all.push_back({"adamw clipped", adamw});
  return all;
}

void ExpectNear(const Floats& found, const std::vector<double>& expected, const char* what) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(found[i] - expected[i], 2);
    norm += expected[i] * expected[i];
  }
  EXPECT_LE(std::sqrt(error), 1e-6 * std::sqrt(norm)) << what;
}

bool SameBytes(const float* a, const float* b, size_t count) {
  return std::memcmp(a, b, count * sizeof(float)) == 0;
}

class ProgramMemoryTest : public ::testing::Test {
 protected:
  const Graph graph_ = SomeGraph();
  const ParameterLayout layout_{graph_};
  ProgramMemory memory_{layout_, {1000, 3 * kPage}};

  void SetGradients(const Floats& gradients) {
    layout_.PackParameters(gradients, memory_.gradients());
  }
};

TEST_F(ProgramMemoryTest, TheStateComesOutAsItWentIn) {
  ProgramState read;
  memory_.ReadState(read);
  EXPECT_EQ(read.parameters, Floats(static_cast<size_t>(graph_.parameter_count), 0.0f));
  ProgramState state = RandomState(graph_, 1);
  memory_.WriteState(state);
  memory_.PoisonScratch();
  memory_.ReadState(read);
  EXPECT_EQ(read.parameters, state.parameters);
  EXPECT_EQ(read.moment1, state.moment1);
  EXPECT_EQ(read.moment2, state.moment2);
  EXPECT_EQ(read.statistics, state.statistics);
  state.moment1.clear();
  state.moment2.clear();
  memory_.WriteState(state);
  memory_.ReadState(read);
  const Floats zeros(static_cast<size_t>(graph_.parameter_count), 0.0f);
  EXPECT_EQ(read.moment1, zeros);
  EXPECT_EQ(read.moment2, zeros);
}

TEST_F(ProgramMemoryTest, GradientsAreReadAsTheyLie) {
  const Floats gradients = Normal(graph_.parameter_count, 1, 5);
  SetGradients(gradients);
  Floats read(gradients.size());
  memory_.ReadGradients(read);
  EXPECT_EQ(read, gradients);
}

TEST_F(ProgramMemoryTest, UpdatesAreTheReferences) {
  for (const Named& named : Optimizers()) {
    SCOPED_TRACE(named.name);
    ProgramState state = RandomState(graph_, 7);
    memory_.WriteState(state);
    std::vector<double> parameters(state.parameters.begin(), state.parameters.end());
    reference::OptimizerState moments{{state.moment1.begin(), state.moment1.end()},
                                      {state.moment2.begin(), state.moment2.end()}};
    for (int step = 0; step < 4; ++step) {
      StepScalars scalars = named.scalars;
      scalars.step = step;
      const Floats gradients = Normal(graph_.parameter_count, 0.1f, 20 + step);
      SetGradients(gradients);
      const std::vector<double> exact(gradients.begin(), gradients.end());
      const double norm = reference::GradientNorm(exact);
      EXPECT_NEAR(memory_.Update(scalars), norm, 1e-12 * norm);
      reference::UpdateParameters(graph_, scalars, norm, exact, parameters, moments);
    }
    memory_.ReadState(state);
    ExpectNear(state.parameters, parameters, "parameters");
    ExpectNear(state.moment1, moments.moment1, "moment 1");
    ExpectNear(state.moment2, moments.moment2, "moment 2");
    EXPECT_FALSE(memory_.lost());
    // What is packed is what would be packed of it: padding is still zeros.
    ProgramMemory again(layout_, {0, 0});
    again.WriteState(state);
    EXPECT_TRUE(SameBytes(memory_.parameters(), again.parameters(),
                          static_cast<size_t>(layout_.parameter_floats())));
  }
}

TEST_F(ProgramMemoryTest, TheNormIsTheSameBytesWhetherItClipsOrNot) {
  const Floats gradients = Normal(graph_.parameter_count, 1, 9);
  SetGradients(gradients);
  StepScalars scalars;
  const double alone = memory_.Update(scalars);
  scalars.clip_norm = 1;
  EXPECT_EQ(memory_.Update(scalars), alone);
}

TEST_F(ProgramMemoryTest, UpdatesAreTheSameBytesForAnyNumberOfThreads) {
  for (const Named& named : Optimizers()) {
    SCOPED_TRACE(named.name);
    const auto after = [&](int threads, double* norm) {
      const ThreadScope scope(threads);
      memory_.WriteState(RandomState(graph_, 11));
      SetGradients(Normal(graph_.parameter_count, 1, 12));
      *norm = memory_.Update(named.scalars);
      ProgramState state;
      memory_.ReadState(state);
      return state.parameters;
    };
    double one = 0, many = 0;
    EXPECT_EQ(after(1, &one), after(5, &many));
    EXPECT_EQ(one, many);
  }
}

TEST_F(ProgramMemoryTest, WhatIsLostStaysLostUntilAStateIsWritten) {
  const ProgramState healthy = RandomState(graph_, 3);
  const StepScalars sgd = Optimizers()[0].scalars;
  const auto expect_lost = [&](const char* what) {
    SCOPED_TRACE(what);
    EXPECT_TRUE(memory_.lost());
    SetGradients(Floats(static_cast<size_t>(graph_.parameter_count), 0.0f));
    memory_.Update(sgd);
    EXPECT_TRUE(memory_.lost());
    memory_.WriteState(healthy);
    EXPECT_FALSE(memory_.lost());
    memory_.Update(sgd);
    EXPECT_FALSE(memory_.lost());
  };
  for (float bad : {kNaN, kInfinity, -kInfinity}) {
    ProgramState state = healthy;
    state.parameters.back() = bad;
    memory_.WriteState(state);
    expect_lost("a parameter");
    state = healthy;
    state.statistics.back() = bad;
    memory_.WriteState(state);
    expect_lost("a statistic");
    Floats gradients(healthy.parameters.size(), 1.0f);
    gradients[gradients.size() / 2] = bad;
    SetGradients(gradients);
    EXPECT_FALSE(std::isfinite(memory_.Update(sgd)));
    expect_lost("a gradient");
    memory_.statistics()[layout_.Statistic(graph_.ops[1].offsets.running_var)] = bad;
    memory_.Update(sgd);
    expect_lost("a statistic that a step wrote");
  }
}

TEST_F(ProgramMemoryTest, ScratchIsWholePagesBehindEverythingElse) {
  const char* first = reinterpret_cast<const char*>(memory_.scratch());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % kPage, 0u);
  EXPECT_GE(first, memory_.transient() + 1000);
  const char* start = reinterpret_cast<const char*>(memory_.parameters());
  EXPECT_LE(first + 3 * kPage, start + memory_.bytes());
  EXPECT_GE(memory_.transient() - start, ProgramMemory::StateBytes(layout_));
}

TEST(ProgramMemory, SaysWhenItDoesNotFit) {
  const Graph graph = SomeGraph();
  const ParameterLayout layout(graph);
  EXPECT_THROW(ProgramMemory(layout, {int64_t{1} << 50, 0}), Error);
}

}  // namespace
}  // namespace trainyard::kernels::cpu
