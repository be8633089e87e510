#include "coordinator/launch/worker_gpus.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "coordinator/launch/command.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kOutputMax = 64 << 10;

// Of what may be anything.
std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", absl::CHexEscape(text.substr(0, 100)), "'");
}

absl::StatusOr<v1::Gpu> ParseGpu(absl::string_view line) {
  v1::Gpu gpu;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;  // of a newer worker
  const auto parsed = google::protobuf::util::JsonStringToMessage(std::string(line), &gpu, options);
  if (parsed.ok() && !gpu.uuid().empty() && gpu.memory_bytes() > 0) return gpu;
  return absl::InvalidArgumentError(absl::StrCat(
      "found the line ", Quoted(line), ", expected a GPU as JSON, with uuid and memory_bytes"));
}

}  // namespace

absl::StatusOr<std::vector<v1::Gpu>> AskForGpus(const std::string& worker_binary,
                                                const std::vector<std::string>& environment,
                                                int64_t timeout_ms) {
  const std::string asked = absl::StrCat(worker_binary, " --list-gpus: ");
  const auto result = RunCommand({.program = worker_binary,
                                  .arguments = {"--list-gpus"},
                                  .environment = environment,
                                  .timeout_ms = timeout_ms,
                                  .output_max = kOutputMax});
  if (!result.ok()) return result.status();
  if (result->timed_out) {
    return absl::DeadlineExceededError(
        absl::StrCat(asked, "no answer within ", timeout_ms / 1000.0, " s"));
  }
  if (!result->ok()) {
    const std::string how = result->signal != 0 ? absl::StrCat("signal ", result->signal)
                                                : absl::StrCat("exit code ", result->exit_code);
    const absl::string_view last = absl::StripAsciiWhitespace(result->errors);
    return absl::InternalError(absl::StrCat(asked, "ended with ", how, last.empty() ? "" : ": ",
                                            last.empty() ? "" : Quoted(last)));
  }
  std::vector<v1::Gpu> gpus;
  std::set<std::string> known;
  for (const absl::string_view line :
       absl::StrSplit(result->output, '\n', absl::SkipWhitespace())) {
    auto gpu = ParseGpu(line);
    if (!gpu.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(asked, gpu.status().message()));
    }
    if (!known.insert(gpu->uuid()).second) {
      return absl::InvalidArgumentError(absl::StrCat(asked, "found the GPU ", Quoted(gpu->uuid()),
                                                     " a second time, expected each once"));
    }
    gpus.push_back(*std::move(gpu));
  }
  // A slot's GPU is found by its place in this list, which CUDA orders anew at its will.
  std::ranges::sort(gpus, {}, [](const v1::Gpu& gpu) { return gpu.uuid(); });
  return gpus;
}

std::vector<core::Abilities> ProcessSlots(int workers, const std::vector<v1::Gpu>& gpus,
                                          const core::Abilities& can) {
  std::vector<core::Abilities> slots(static_cast<size_t>(workers), can);
  for (size_t i = 0; i < std::min(slots.size(), gpus.size()); ++i) {
    slots[i].gpu = true;
    slots[i].gpu_memory_bytes = gpus[i].memory_bytes();
  }
  return slots;
}

}  // namespace trainyard::coordinator
