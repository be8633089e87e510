#include "coordinator/rpc/registration.h"

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/request_checks.h"
#include "proto/labels.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kTextMax = 1024;
constexpr int kRuntimesMax = 16;

absl::Status CheckLabels(const v1::RegisterRequest& request) {
  if (request.labels_size() > static_cast<int>(kLabelsMax)) {
    return absl::InvalidArgumentError(
        absl::StrCat("labels: found ", request.labels_size(), ", expected at most ", kLabelsMax));
  }
  for (const auto& [name, value] : request.labels()) {
    if (IsLabelName(name) && IsLabelValue(value)) continue;
    const bool of_name = !IsLabelName(name);
    return absl::InvalidArgumentError(
        absl::StrCat("labels: found '", CleanLine(of_name ? name : value).substr(0, 80),
                     "', expected ", of_name ? kLabelNameForm : kLabelValueForm));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRegistration(const v1::RegisterRequest& request, const core::Settings& settings) {
  if (request.incarnation().empty()) {
    return absl::InvalidArgumentError(
        "incarnation: found nothing, expected a text that is random per process start");
  }
  for (const std::string* text : {&request.name(), &request.pool(), &request.host(),
                                  &request.device(), &request.incarnation()}) {
    if (text->size() > kTextMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("found a text of ", text->size(), " bytes, expected at most ", kTextMax));
    }
  }
  if (request.launch() == 0 && settings.pools.contains(request.pool())) {
    return absl::InvalidArgumentError(
        absl::StrCat("pool: found '", CleanLine(request.pool()),
                     "', whose workers the coordinator launches, expected another name, such as "
                     "external"));
  }
  if (request.gpu_memory_bytes() < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gpu_memory_bytes: found ", request.gpu_memory_bytes(), ", expected 0 or more"));
  }
  if (request.runtimes_size() > kRuntimesMax) {
    return absl::InvalidArgumentError(absl::StrCat("runtimes: found ", request.runtimes_size(),
                                                   ", expected at most ", kRuntimesMax));
  }
  return CheckLabels(request);
}

core::Abilities AbilitiesOf(const v1::RegisterRequest& request) {
  core::Abilities can;
  can.gpu = request.gpu();
  can.gpu_memory_bytes = request.gpu_memory_bytes();
  can.labels = {request.labels().begin(), request.labels().end()};
  if (!request.runtimes().empty()) {
    can.runtimes = {request.runtimes().begin(), request.runtimes().end()};
  }
  return can;
}

}  // namespace trainyard::coordinator
