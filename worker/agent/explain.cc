#include "worker/agent/explain.h"

#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <new>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "network/shapes.h"
#include "proto/spec_convert.h"
#include "trainyard/v1/spec.pb.h"
#include "worker/agent/agent.h"
#include "worker/engine/explain.h"

namespace trainyard::agent {
namespace {

// What was read before an error is no configuration, which is told by whoever parses it.
std::string ReadAll(std::istream& stream) {
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

absl::StatusOr<network::Configuration> ReadConfiguration(const std::string& file) {
  std::ifstream opened;
  if (file != "-") {
    opened.open(file, std::ios::binary);
    if (!opened) return absl::NotFoundError(absl::StrCat(file, ": no file that can be read"));
  }
  v1::Configuration message;
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      ReadAll(file == "-" ? std::cin : opened), &message);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        file, ": expected a trial's configuration as JSON: ", std::string(parsed.message())));
  }
  network::Configuration configuration = FromProto(message);
  if (configuration.IsProgram()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": found no network, expected one with layers"));
  }
  for (const network::Problem& problem : network::CheckNetwork(configuration.network)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": ", problem.path, ": ", problem.message));
  }
  // Nothing else of the training matters here.
  if (configuration.training.batch_size < 1) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": train.batch_size: found ",
                                                   configuration.training.batch_size,
                                                   ", expected at least 1"));
  }
  return configuration;
}

int Fail(int exit_code, const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  return exit_code;
}

}  // namespace

int ExplainFile(const std::string& file, const kernels::BackendOptions& options) {
  const absl::StatusOr<network::Configuration> configuration = ReadConfiguration(file);
  if (!configuration.ok()) {
    return Fail(kExitUsage, std::string(configuration.status().message()));
  }
  try {
    std::fputs(engine::Explain(*configuration, options).c_str(), stdout);
    return std::fflush(stdout) == 0 ? 0 : kExitError;
  } catch (const kernels::Error& error) {
    return Fail(kExitError, error.what());
  } catch (const std::bad_alloc&) {
    return Fail(kExitError, "not enough memory for this network");
  }
}

}  // namespace trainyard::agent
