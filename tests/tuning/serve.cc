#include "tests/tuning/serve.h"

#include <ctime>
#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

#include "tests/tuning/setups.h"

namespace trainyard::tuning {
namespace {

using nlohmann::json;

class Teller : public engine::TrainingObserver {
 public:
  Teller(std::istream& in, std::ostream& out) : in_(in), out_(out) {}

  void OnEpoch(const engine::EpochMetrics& metrics) override {
    const double cpu = static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
    out_ << json{{"epoch", metrics.epoch},
                 {"val_accuracy", metrics.val_accuracy},
                 {"train_accuracy", metrics.train_accuracy},
                 {"cpu_seconds", cpu}}
         << std::endl;
    std::string line;
    go_ = std::getline(in_, line) && json::parse(line).at("go").get<bool>();
  }
  Wish AtStepBoundary() override { return go_ ? Wish::kContinue : Wish::kAbandon; }

 private:
  std::istream& in_;
  std::ostream& out_;
  bool go_ = true;
};

}  // namespace

void Serve(const network::Configuration& start, const engine::TrainingData& data, int threads,
           std::istream& in, std::ostream& out) {
  for (std::string line; std::getline(in, line);) {
    try {
      const json wanted = json::parse(line);
      network::Configuration configuration = At(start, {.rate = wanted.at("lr"),
                                                        .width = wanted.at("width"),
                                                        .depth = wanted.at("depth"),
                                                        .epochs = wanted.at("epochs"),
                                                        .batch = wanted.at("batch")});
      configuration.training.seed = wanted.at("seed");
      engine::Trainer trainer(configuration, data, {.threads = threads});
      Teller teller(in, out);
      const engine::Outcome outcome = trainer.Run(teller);
      out << json{{"done", true}, {"diverged", outcome == engine::Outcome::kDiverged}} << std::endl;
    } catch (const json::exception& error) {
      throw kernels::Error("found \"" + line + "\", expected a point: " + error.what());
    }
  }
}

}  // namespace trainyard::tuning
