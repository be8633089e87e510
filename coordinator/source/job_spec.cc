#include "coordinator/source/job_spec.h"

#include "proto/spec_convert.h"

namespace trainyard::coordinator {

v1::JobSpec ToProto(const JobSpec& spec) {
  v1::JobSpec message;
  message.set_name(spec.name);
  *message.mutable_data() = spec.data;
  *message.mutable_validation() = spec.validation;
  *message.mutable_configuration() = trainyard::ToProto(spec.configuration);
  *message.mutable_target() = spec.target;
  *message.mutable_tune() = spec.tune;
  *message.mutable_budget() = spec.budget;
  *message.mutable_checkpoint() = spec.checkpoint;
  *message.mutable_resources() = spec.resources;
  if (spec.IsProgram()) *message.mutable_program() = spec.program;
  if (spec.weights.ByteSizeLong() != 0) *message.mutable_weights() = spec.weights;
  return message;
}

JobSpec FromProto(const v1::JobSpec& message) {
  return {.name = message.name(),
          .data = message.data(),
          .validation = message.validation(),
          .configuration = trainyard::FromProto(message.configuration()),
          .target = message.target(),
          .tune = message.tune(),
          .budget = message.budget(),
          .checkpoint = message.checkpoint(),
          .resources = message.resources(),
          .program = message.program(),
          .weights = message.weights()};
}

}  // namespace trainyard::coordinator
