// Networks and data that the engine's tests share. All of it is a function of its arguments.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "network/training.h"
#include "worker/engine/dataset.h"
#include "worker/engine/trainer.h"

namespace trainyard::engine {

// Images that can be told apart: each class has a random pattern of its own, each image is its
// class's pattern with noise of the given strength (in steps of a byte). Labels take turns.
Dataset MakePatterns(int count, kernels::ValueShape shape, int classes, int noise, uint64_t seed);

// conv 3x3 x8, batch norm, ReLU, max-pool, dropout, residual with projection, dense: every kind of
// state and randomness that a checkpoint has to carry.
network::Network EverythingNetwork(network::Shape input, int classes);

// A few epochs with flips, shifts and cutouts, a one-cycle rate, momentum and label smoothing.
network::Configuration EverythingConfiguration(network::OptimizerKind optimizer);

// conv 3x3 x4, ReLU, max-pool, dense: nothing random but weights and order.
network::Network PlainNetwork(network::Shape input, int classes);

network::Layer Convolution(int filters, int kernel, int stride = 1, bool bias = true);

// Remembers all that a trainer tells, and stops or abandons it at a step.
class Recorder : public TrainingObserver {
 public:
  void OnPhase(Phase phase) override { phases.push_back(phase); }
  void OnStep(int64_t steps_done) override { steps.push_back(steps_done); }
  void OnEpoch(const EpochMetrics& metrics) override { epochs.push_back(metrics); }
  void OnCheckpoint(Checkpoint checkpoint) override {
    checkpoints.push_back(std::move(checkpoint));
  }
  Wish AtStepBoundary() override {
    const bool now = !steps.empty() && steps.back() >= end_at_step;
    return now ? end_wish : Wish::kContinue;
  }

  std::vector<Phase> phases;
  std::vector<int64_t> steps;
  std::vector<EpochMetrics> epochs;
  std::vector<Checkpoint> checkpoints;

  int64_t end_at_step = INT64_MAX;
  Wish end_wish = Wish::kAbandon;
};

// The part of the metrics that is the same whenever and wherever an epoch runs, as text in full
// precision.
std::string Reproducible(const EpochMetrics& metrics);

// A fresh folder under the test's temporary folder, removed with everything in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string ReadBytes(const std::string& path);
void WriteBytes(const std::string& path, const std::string& bytes);

// Expects that `call` throws kernels::Error with all of `words` in its message.
template <class Call>
::testing::AssertionResult ThrowsNaming(const Call& call, const std::vector<std::string>& words) {
  try {
    call();
  } catch (const kernels::Error& error) {
    const std::string text = error.what();
    for (const std::string& word : words) {
      if (text.find(word) == std::string::npos) {
        return ::testing::AssertionFailure() << "\"" << text << "\" lacks \"" << word << "\"";
      }
    }
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << "nothing was thrown";
}

}  // namespace trainyard::engine
