#include "tests/tuning/serve.h"

#include <algorithm>
#include <ctime>
#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "coordinator/core/tuner/space.h"
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

json Described(const std::vector<core::Dimension>& dimensions, const core::Space& space,
               const network::Configuration& start) {
  json list = json::array();
  json values;
  for (size_t i = 0; i < dimensions.size(); ++i) {
    const core::Dimension& d = dimensions[i];
    json& described = list.emplace_back();
    described["path"] = d.path;
    const double value = space.Read(i, start).value();
    if (d.choices.empty()) {
      described.update({{"min", d.min}, {"max", d.max}, {"log", d.log}, {"step", d.step}});
      values[d.path] = value;
    } else {
      described["choices"] = d.choices;
      values[d.path] = d.choices.at(static_cast<size_t>(value));
    }
  }
  return {{"space", list}, {"start", values}};
}

core::Point PointOf(const std::vector<core::Dimension>& dimensions, const json& values) {
  core::Point point;
  for (const core::Dimension& d : dimensions) {
    const json& value = values.at(d.path);
    const auto choice = std::find(d.choices.begin(), d.choices.end(), value);
    if (!d.choices.empty() && choice == d.choices.end()) {
      throw kernels::Error(d.path + ": found " + value.dump() + ", expected one of its choices");
    }
    point.push_back(d.choices.empty() ? value.get<double>()
                                      : static_cast<double>(choice - d.choices.begin()));
  }
  return point;
}

}  // namespace

void Serve(const network::Configuration& start, const engine::TrainingData& data, int threads,
           std::istream& in, std::ostream& out) {
  const std::vector<core::Dimension> dimensions = SpaceAround();
  const core::Space space(dimensions, start);
  out << Described(dimensions, space, start) << std::endl;
  for (std::string line; std::getline(in, line);) {
    try {
      const json wanted = json::parse(line);
      network::Configuration configuration = space.At(PointOf(dimensions, wanted.at("point")));
      configuration.training.seed = wanted.at("seed");
      engine::Trainer trainer(configuration, data, {.backend = {.threads = threads}});
      Teller teller(in, out);
      const engine::Outcome outcome = trainer.Run(teller);
      out << json{{"done", true}, {"diverged", outcome == engine::Outcome::kDiverged}} << std::endl;
    } catch (const json::exception& error) {
      throw kernels::Error("found \"" + line + "\", expected a point: " + error.what());
    }
  }
}

}  // namespace trainyard::tuning
