#include "coordinator/rpc/registration.h"

#include <tuple>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/request_checks.h"
#include "proto/labels.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kTextMax = 1024;
constexpr size_t kGpuTextMax = 128;
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

absl::Status CheckGpu(const v1::Gpu& gpu) {
  const std::tuple<const char*, const std::string&, size_t> texts[] = {
      {"name", gpu.name(), 1},
      {"uuid", gpu.uuid(), 1},
      {"driver", gpu.driver(), 0},
      {"compute_capability", gpu.compute_capability(), 0}};
  for (const auto& [field, text, least] : texts) {
    if (text.size() >= least && text.size() <= kGpuTextMax) continue;
    return absl::InvalidArgumentError(absl::StrCat("gpu_device.", field, ": found a text of ",
                                                   text.size(), " bytes, expected ", least, " to ",
                                                   kGpuTextMax));
  }
  if (gpu.memory_bytes() > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("gpu_device.memory_bytes: found ",
                                                 gpu.memory_bytes(), ", expected more than 0"));
}

}  // namespace

absl::Status CheckUse(const v1::GpuUse& use) {
  constexpr char kOrUnknown[] = ", or -1 where it is not known";
  if (use.memory_used_bytes() < -1) {
    return absl::InvalidArgumentError(absl::StrCat("gpu_use.memory_used_bytes: found ",
                                                   use.memory_used_bytes(), ", expected 0 or more",
                                                   kOrUnknown));
  }
  if (use.busy_percent() >= -1 && use.busy_percent() <= 100) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("gpu_use.busy_percent: found ", use.busy_percent(),
                                                 ", expected 0 to 100", kOrUnknown));
}

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
  if (request.has_gpu_device()) {
    if (auto status = CheckGpu(request.gpu_device()); !status.ok()) return status;
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

std::optional<core::Gpu> GpuOf(const v1::RegisterRequest& request) {
  if (!request.has_gpu_device()) return std::nullopt;
  const v1::Gpu& gpu = request.gpu_device();
  return core::Gpu{gpu.name(), gpu.uuid(), gpu.memory_bytes(), gpu.driver(),
                   gpu.compute_capability()};
}

}  // namespace trainyard::coordinator
