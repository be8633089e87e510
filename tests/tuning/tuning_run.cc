// Plays one job in this process and prints what came of it as JSON, for measuring policies:
//
//   tuning_run --method grow --target 0.92 --seed 1
//   tuning_run --plant "shuffled labels" --setup plain --seed 1    trains it once, diagnoses
//   tuning_run --serve     trains points of a search space, for searchers of others: serve.h
//
// tests/tuning/tuning_bench.py runs it over methods, targets and seeds.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "network/shapes.h"
#include "tests/tuning/job.h"
#include "tests/tuning/serve.h"
#include "tests/tuning/setups.h"

namespace trainyard::tuning {
namespace {

using nlohmann::json;

struct Arguments {
  std::string method = "grow";
  std::string setup = "small";
  std::string plant;
  bool serve = false;
  double target = 0.92;
  uint64_t seed = 1;
  int max_epochs = 100;
  int threads = 1;
  int64_t images = 60'000;
  std::string data = "/usr/share/datasets/fashion-mnist";
};

// Of these images one twelfth is set aside, as examples/fashion-mnist does it.
constexpr int64_t kSetAside = 12;
// Planted defects are judged on as many, whatever the training set's size.
constexpr int64_t kPlantValidation = 2'000;

engine::Dataset ReadTrainingSet(const std::string& folder) {
  return engine::ReadIdx(folder + "/train-images-idx3-ubyte.gz",
                         folder + "/train-labels-idx1-ubyte.gz", 10);
}

json Changes(const std::vector<core::Change>& changes) {
  json list = json::array();
  for (const core::Change& change : changes) {
    list.push_back(change.path + ": " + change.from + " -> " + change.to);
  }
  return list;
}

json Described(const core::Tweak& tweak) {
  return {{"finding", core::FindingName(tweak.finding.kind)},
          {"text", tweak.finding.text},
          {"move", tweak.move},
          {"reason", tweak.reason},
          {"expected_gain", tweak.expected_gain},
          {"changes", Changes(tweak.changes)}};
}

json Described(const PlayedTrial& trial) {
  const core::TrialHistory& history = trial.history;
  json epochs = json::array();
  for (size_t i = 0; i < history.epochs.size(); ++i) {
    const core::Metrics& metrics = history.epochs[i];
    epochs.push_back({{"train_loss", metrics.train_loss},
                      {"train_accuracy", metrics.train_accuracy},
                      {"val_loss", metrics.val_loss},
                      {"val_accuracy", metrics.val_accuracy},
                      {"learning_rate", metrics.learning_rate},
                      {"gradient_norm", metrics.gradient_norm},
                      {"update_ratio", metrics.update_ratio},
                      {"dead_units", metrics.dead_units}});
  }
  json corrections = json::array();
  for (const core::Correction& correction : trial.corrections) {
    json described = Described(correction.tweak);
    described["stop"] = correction.stop;
    corrections.push_back(described);
  }
  const network::Configuration& configuration = history.current;
  return {{"number", history.number},
          {"base", history.base},
          {"inherited", history.inherited},
          {"diverged", history.result == core::TrialResult::kDiverged},
          {"network", network::Describe(configuration.network)},
          {"parameters", network::ParameterCount(configuration.network)},
          {"epochs_planned", configuration.training.epochs},
          {"batch", configuration.training.batch_size},
          {"rate", configuration.training.optimizer.learning_rate},
          {"best", trial.best_value},
          {"epochs", epochs},
          {"cpu_seconds", trial.cpu_seconds},
          {"tweak", Described(trial.tweak)},
          {"corrections", corrections}};
}

json Described(const PlayedJob& job) {
  json trials = json::array();
  for (const PlayedTrial& trial : job.trials) trials.push_back(Described(trial));
  return {{"met", job.met},
          {"epochs", job.epochs},
          {"cpu_seconds", job.cpu_seconds},
          {"stop", job.stop},
          {"trials", trials}};
}

json PlayJob(const Arguments& arguments) {
  const engine::Dataset images =
      Part(ReadTrainingSet(arguments.data), arguments.images, /*shuffled=*/0, /*seed=*/1);
  JobOptions options{.start = Setup(arguments.setup), .epochs_max = arguments.max_epochs};
  options.start.training.seed = arguments.seed;
  options.target = {.bound = arguments.target, .images = images.count() / kSetAside};
  options.limits.inherit = arguments.method == "grow";
  if (arguments.method == "random" || arguments.method == "tpe") {
    options.limits.algorithm =
        arguments.method == "tpe" ? core::Algorithm::kTpe : core::Algorithm::kRandom;
    options.limits.space = SpaceAround();
  }
  options.limits.seed = arguments.seed;
  options.threads = arguments.threads;
  Job job(std::move(options), {.train = &images, .validation_fraction = 1.0 / kSetAside});
  return Described(job.Play());
}

json PlayPlant(const Arguments& arguments) {
  for (const Plant& plant : Plants(arguments.setup, arguments.seed)) {
    if (plant.name != arguments.plant) continue;
    const int64_t count = plant.train_images + kPlantValidation;
    const engine::Dataset images =
        Part(ReadTrainingSet(arguments.data), count, plant.shuffled, arguments.seed);
    JobOptions options{.start = plant.configuration, .threads = arguments.threads};
    options.target = {.bound = plant.target, .images = kPlantValidation};
    options.limits.in_flight = false;  // else Watch may mend it before it is diagnosed
    Job job(
        std::move(options),
        {.train = &images, .validation_fraction = static_cast<double>(kPlantValidation) / count});
    const PlayedJob played = job.PlayFirst();
    json described = Described(played);
    described["finding"] = core::FindingName(played.finding.kind);
    described["text"] = played.finding.text;
    described["evidence"] = played.finding.evidence;
    described["right"] = plant.right.contains(played.finding.kind);
    return described;
  }
  throw kernels::Error("--plant: found \"" + arguments.plant + "\", expected one of Plants()");
}

void Run(const Arguments& arguments) {
  if (arguments.serve) {
    const engine::Dataset images = Part(ReadTrainingSet(arguments.data), arguments.images, 0, 1);
    Serve(Setup(arguments.setup), {.train = &images, .validation_fraction = 1.0 / kSetAside},
          arguments.threads, std::cin, std::cout);
    return;
  }
  const json made = arguments.plant.empty() ? PlayJob(arguments) : PlayPlant(arguments);
  std::cout << made.dump() << std::endl;
}

}  // namespace
}  // namespace trainyard::tuning

int main(int argc, char** argv) {
  trainyard::tuning::Arguments arguments;
  CLI::App app("Plays one tuning job in this process and prints what came of it as JSON");
  app.add_option("--method", arguments.method, "how the next trial is found")
      ->check(CLI::IsMember({"grow", "scratch", "random", "tpe"}));
  app.add_option("--setup", arguments.setup, "what trial 1 is: small, batch_norm, plain, adamw");
  app.add_option("--plant", arguments.plant, "train a run with this defect, and diagnose it");
  app.add_flag("--serve", arguments.serve, "train the points that stdin names");
  app.add_option("--target", arguments.target, "validation accuracy")->check(CLI::Range(0.0, 1.0));
  app.add_option("--seed", arguments.seed, "of weights, order and search");
  app.add_option("--max-epochs", arguments.max_epochs, "over all trials")
      ->check(CLI::Range(1, 100'000));
  app.add_option("--threads", arguments.threads, "of the engine")->check(CLI::Range(1, 256));
  app.add_option("--images", arguments.images, "so many of the training images")
      ->check(CLI::Range(120, 60'000));
  app.add_option("--data", arguments.data, "folder of Fashion-MNIST");
  CLI11_PARSE(app, argc, argv);
  try {
    trainyard::tuning::Run(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tuning_run: %s\n", error.what());
    return 1;
  }
}
