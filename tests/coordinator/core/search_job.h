// A job that searches, with trials that train by formula in as many slots as it may have, and end
// in an order that a seed draws.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "coordinator/core/tuner/allowed.h"
#include "coordinator/core/tuner/policy.h"
#include "tests/coordinator/core/text.h"
#include "tests/sim/random.h"

namespace trainyard::core {

// Validation accuracy after an epoch, from 1; NaN: the trial diverges there.
using Learning = std::function<double(const network::Configuration&, int epoch)>;

struct SearchJob {
  explicit SearchJob(Algorithm algorithm, std::vector<Dimension> space, int parallel = 1) {
    const JobRequest request = SampleRequest();
    task.target = {.metric = TargetMetric::kValAccuracy, .bound = 1.1};  // out of reach
    task.limits.algorithm = algorithm;
    task.limits.max_trials = 30;
    task.limits.parallel = parallel;
    task.limits.space = std::move(space);
    task.trials = {{.number = 1, .configuration = request.configuration}};
    task.trials[0].configuration.training.epochs = 1;
  }

  const Policy& policy() const { return PolicyOf(task.limits.algorithm); }
  int running() const {
    int count = 0;
    for (const auto& trial : task.trials) count += trial.result == TrialResult::kRunning;
    return count;
  }

  // From trial 1 to the end; `order` draws which trial is the next to end.
  void Run(const Learning& learning, uint64_t order = 1) {
    sim::Random random(order);
    task.trials[0].result = TrialResult::kRunning;
    task.trials[0].until_epoch = policy().FirstRung(task.limits);
    Ask();
    while (stop.empty()) {
      ASSERT_GT(running(), 0) << "nothing runs, and the search neither goes on nor stops";
      int64_t which = random.Between(1, running());
      for (TrialHistory& trial : task.trials) {
        if (trial.result != TrialResult::kRunning || --which > 0) continue;
        Train(learning, trial);
        task.last = trial.number;
        break;
      }
      Ask();
    }
  }

  double best() const {
    double best = 0;
    for (const auto& trial : task.trials) {
      for (const Metrics& metrics : trial.epochs) best = std::max(best, metrics.val_accuracy);
    }
    return best;
  }

  TuningTask task;
  int64_t epochs = 0;              // trained, by all trials
  std::string stop;                // why it did
  std::vector<std::string> trace;  // what was started and promoted, in order

 private:
  void Ask() {
    while (task.limits.parallel > running()) {
      const int room = task.limits.parallel - running();
      const Advice advice = policy().Propose(task, room);
      ASSERT_LE(advice.next.size() + advice.promotions.size(), static_cast<size_t>(room));
      for (const NextTrial& next : advice.next) Start(next);
      for (const Promotion& promotion : advice.promotions) {
        TrialHistory& trial = task.trials.at(static_cast<size_t>(promotion.trial - 1));
        ASSERT_EQ(trial.result, TrialResult::kHalted);
        trial.result = TrialResult::kRunning;
        trial.until_epoch = promotion.until_epoch;
        trace.push_back("promote " + std::to_string(trial.number) + " to " +
                        std::to_string(promotion.until_epoch));
      }
      if (!advice.next.empty() || !advice.promotions.empty()) continue;
      EXPECT_NE(advice.wait, !advice.stop.empty());
      EXPECT_EQ(advice.wait, running() > 0);
      stop = advice.stop;
      return;
    }
  }

  void Start(const NextTrial& next) {
    EXPECT_TRUE(Allowed(task.limits, next.configuration));
    for (const TrialHistory& trial : task.trials) {
      EXPECT_FALSE(trial.configuration == next.configuration) << "trial " << trial.number;
    }
    EXPECT_EQ(next.tweak.finding.kind, FindingKind::kSearch);
    EXPECT_FALSE(next.inherit);
    const int number = static_cast<int>(task.trials.size()) + 1;
    std::string line = "start " + std::to_string(number);
    for (const Change& change : next.tweak.changes) line += " " + change.path + "=" + change.to;
    trace.push_back(line);
    task.trials.push_back({.number = number,
                           .configuration = next.configuration,
                           .result = TrialResult::kRunning,
                           .until_epoch = next.until_epoch});
  }

  // To where it halts, or to its end.
  void Train(const Learning& learning, TrialHistory& trial) {
    const int all = trial.configuration.training.epochs;
    const int last = trial.until_epoch == 0 ? all : trial.until_epoch;
    trial.result = trial.until_epoch == 0 ? TrialResult::kCompleted : TrialResult::kHalted;
    while (static_cast<int>(trial.epochs.size()) < last) {
      const int epoch = static_cast<int>(trial.epochs.size()) + 1;
      const double accuracy = learning(trial.configuration, epoch);
      ++epochs;
      if (std::isnan(accuracy)) {
        trial.result = TrialResult::kDiverged;
        return;
      }
      trial.epochs.push_back({.val_loss = 1 - accuracy, .val_accuracy = accuracy});
    }
  }
};

inline Dimension LogRange(const std::string& path, double min, double max) {
  return {.path = path, .min = min, .max = max, .log = true};
}
inline Dimension Range(const std::string& path, double min, double max, double step = 0) {
  return {.path = path, .min = min, .max = max, .step = step};
}
inline Dimension Choices(const std::string& path, std::vector<std::string> choices) {
  return {.path = path, .choices = std::move(choices)};
}

// The learning rate has its best place at 0.02, over its logarithm, the decay at 0.001; adamw is a
// little worse than sgd.
inline double Hill(const network::Configuration& configuration, int /*epoch*/) {
  const network::Optimizer& optimizer = configuration.training.optimizer;
  const double rate = std::log10(optimizer.learning_rate / 0.02);
  const double decay = std::log10(optimizer.weight_decay / 0.001);
  const double kind = optimizer.kind == network::OptimizerKind::kAdamW ? 0.1 : 0;
  return 0.95 - 0.1 * rate * rate - 0.03 * decay * decay - kind;
}

inline std::vector<Dimension> HillSpace() {
  return {LogRange("train.lr", 1e-4, 1), LogRange("train.weight_decay", 1e-6, 0.1),
          Choices("train.optimizer", {"sgd", "adamw"})};
}

}  // namespace trainyard::core
