#include "coordinator/convert/tuning.h"

#include <algorithm>

#include "proto/spec_convert.h"

namespace trainyard::coordinator {
namespace {

core::Algorithm FromProto(v1::Tune::Algorithm algorithm) {
  switch (algorithm) {
    case v1::Tune::RANDOM:
      return core::Algorithm::kRandom;
    case v1::Tune::TPE:
      return core::Algorithm::kTpe;
    case v1::Tune::ASHA:
      return core::Algorithm::kAsha;
    default:
      return core::Algorithm::kDiagnose;
  }
}

v1::Tune::Algorithm ToProto(core::Algorithm algorithm) {
  switch (algorithm) {
    case core::Algorithm::kDiagnose:
      return v1::Tune::DIAGNOSE;
    case core::Algorithm::kRandom:
      return v1::Tune::RANDOM;
    case core::Algorithm::kTpe:
      return v1::Tune::TPE;
    case core::Algorithm::kAsha:
      return v1::Tune::ASHA;
  }
  return v1::Tune::DIAGNOSE;
}

v1::Dimension ToProto(const core::Dimension& dimension) {
  v1::Dimension message;
  message.set_path(dimension.path);
  message.set_min(dimension.min);
  message.set_max(dimension.max);
  message.set_log(dimension.log);
  message.set_step(dimension.step);
  for (const std::string& choice : dimension.choices) message.add_choices(choice);
  for (const network::Network& network : dimension.networks) {
    *message.add_networks() = trainyard::ToProto(network);
  }
  return message;
}

core::Dimension FromProto(const v1::Dimension& message) {
  core::Dimension dimension{.path = message.path(),
                            .min = message.min(),
                            .max = message.max(),
                            .log = message.log(),
                            .step = message.step(),
                            .choices = {message.choices().begin(), message.choices().end()}};
  for (const v1::Network& network : message.networks()) {
    dimension.networks.push_back(trainyard::FromProto(network));
  }
  return dimension;
}

}  // namespace

v1::Tune ToTune(const core::TuningLimits& limits) {
  v1::Tune tune;
  tune.set_enabled(limits.enabled);
  tune.set_max_trials(limits.max_trials);
  tune.set_algorithm(ToProto(limits.algorithm));
  tune.set_parallel(limits.parallel);
  tune.set_patience(limits.patience);
  tune.set_inherit(limits.inherit);
  tune.set_in_flight(limits.in_flight);
  tune.set_seed(limits.seed);
  tune.set_eta(limits.eta);
  tune.set_min_epochs(limits.min_epochs);
  for (const core::Dimension& dimension : limits.space) *tune.add_space() = ToProto(dimension);
  return tune;
}

core::TuningLimits FromTune(const v1::Tune& tune) {
  core::TuningLimits limits;
  limits.enabled = tune.enabled();
  limits.max_trials = tune.max_trials();
  limits.algorithm = FromProto(tune.algorithm());
  limits.parallel = std::max(1, tune.parallel());
  limits.patience = tune.patience();
  limits.inherit = tune.inherit();
  limits.in_flight = tune.in_flight();
  limits.seed = tune.seed();
  limits.eta = tune.eta();
  limits.min_epochs = tune.min_epochs();
  for (const v1::Dimension& dimension : tune.space()) limits.space.push_back(FromProto(dimension));
  return limits;
}

}  // namespace trainyard::coordinator
