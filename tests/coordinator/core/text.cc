#include "tests/coordinator/core/text.h"

#include <charconv>
#include <cmath>
#include <iomanip>
#include <map>
#include <sstream>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/coordinator/core/fields.h"

namespace trainyard::core {
namespace {

constexpr const char* kPhases[] = {"loading", "training", "evaluating", "uploading"};
constexpr const char* kExits[] = {"code", "signal", "out_of_memory", "unknown"};
constexpr const char* kFaults[] = {"passing", "lasting"};
constexpr const char* kGpuWishes[] = {"any", "none", "required"};
constexpr const char* kRestores[] = {"nothing", "continue", "inherit", "finish"};
constexpr const char* kOutcomes[] = {
    "completed",      "stopped",       "diverged",          "failed",
    "failed_finally", "out_of_memory", "checkpoint_broken", "device_lost"};

template <typename Enum>
constexpr auto& NamesOf() {
  if constexpr (std::is_same_v<Enum, Phase>) return kPhases;
  if constexpr (std::is_same_v<Enum, ExitKind>) return kExits;
  if constexpr (std::is_same_v<Enum, LaunchFault>) return kFaults;
  if constexpr (std::is_same_v<Enum, GpuWish>) return kGpuWishes;
  if constexpr (std::is_same_v<Enum, Restore>) return kRestores;
  if constexpr (std::is_same_v<Enum, Outcome>) return kOutcomes;
}

// Writes " name=value" for each field that is not its default.
struct Writer {
  std::string& out;

  void Put(const char* name, const std::string& value) const {
    const bool quoted = value.find_first_of(" \n") != std::string::npos;
    absl::StrAppend(&out, " ", name, "=", quoted ? "\"" : "", value, quoted ? "\"" : "");
  }
  template <typename Tag>
  void operator()(const char* name, const Id<Tag>& id) const {
    if (id) Put(name, absl::StrCat(id.value));
  }
  void operator()(const char* name, const Claim& claim) const {
    if (!claim.worker && !claim.attempt) return;
    Put(name, absl::StrCat(claim.worker.value, "/", claim.attempt.value, "/", claim.fencing.value));
  }
  void operator()(const char* name, const std::string& text) const {
    if (!text.empty()) Put(name, text);
  }
  void operator()(const char* name, bool value) const {
    if (value) Put(name, "yes");
  }
  void operator()(const char* name, int value) const { (*this)(name, int64_t{value}); }
  void operator()(const char* name, int64_t value) const {
    if (value != 0) Put(name, absl::StrCat(value));
  }
  void operator()(const char* name, double value) const {
    if (value != 0) Put(name, absl::StrCat(value));
  }
  void operator()(const char* name, const std::vector<int64_t>& steps) const {
    if (!steps.empty()) Put(name, absl::StrJoin(steps, ","));
  }
  void operator()(const char* name, absl::StatusCode code) const {
    Put(name, absl::StatusCodeToString(code));
  }
  void operator()(const char* name, const network::Configuration& configuration) const {
    if (configuration.IsProgram()) Put(name, "yes");
  }
  void operator()(const char* name, const std::optional<Gpu>& gpu) const {
    if (gpu) Put(name, gpu->uuid);
  }
  void operator()(const char* name, const std::optional<network::Configuration>& wanted) const {
    if (wanted) (*this)(name, wanted->training.optimizer.learning_rate);
  }
  template <typename Enum>
  std::enable_if_t<std::is_enum_v<Enum>> operator()(const char* name, Enum value) const {
    Put(name, NamesOf<Enum>()[static_cast<int>(value)]);
  }
};

// Reads the fields that a line gives and crosses them off.
struct Reader {
  std::map<std::string, std::string>& values;

  template <typename Parse>
  void Take(const char* name, Parse parse) const {
    const auto found = values.find(name);
    if (found == values.end()) return;
    parse(found->second);
    values.erase(found);
  }
  template <typename Tag>
  void operator()(const char* name, Id<Tag>& id) const {
    Take(name, [&](const std::string& text) { id.value = std::stoll(text); });
  }
  void operator()(const char* name, Claim& claim) const {
    Take(name, [&](const std::string& text) {
      std::istringstream in(text);
      char slash = 0;
      in >> claim.worker.value >> slash >> claim.attempt.value >> slash >> claim.fencing.value;
      if (!in) throw std::invalid_argument("claim: found " + text + ", expected 1/1/1");
    });
  }
  void operator()(const char* name, std::string& value) const {
    Take(name, [&](const std::string& text) { value = text; });
  }
  void operator()(const char* name, bool& value) const {
    Take(name, [&](const std::string& text) { value = text == "yes"; });
  }
  void operator()(const char* name, int& value) const {
    Take(name, [&](const std::string& text) { value = std::stoi(text); });
  }
  void operator()(const char* name, int64_t& value) const {
    Take(name, [&](const std::string& text) { value = std::stoll(text); });
  }
  void operator()(const char* name, double& value) const {
    Take(name, [&](const std::string& text) { value = std::stod(text); });
  }
  void operator()(const char* name, std::vector<int64_t>& steps) const {
    Take(name, [&](const std::string& text) {
      for (const auto step : absl::StrSplit(text, ','))
        steps.push_back(std::stoll(std::string(step)));
    });
  }
  void operator()(const char* name, network::Configuration& configuration) const {
    Take(name, [&](const std::string&) { configuration = {}; });
  }
  void operator()(const char* name, std::optional<Gpu>& gpu) const {
    Take(name, [&](const std::string& text) { gpu = {.name = "A GPU", .uuid = text}; });
  }
  void operator()(const char* name, std::optional<network::Configuration>& wanted) const {
    Take(name, [&](const std::string& text) {
      wanted = SampleRequest().configuration;
      wanted->training.optimizer.learning_rate = std::stod(text);
    });
  }
  template <typename Enum>
  std::enable_if_t<std::is_enum_v<Enum>> operator()(const char* name, Enum& value) const {
    Take(name, [&](const std::string& text) {
      int number = 0;
      for (const char* candidate : NamesOf<Enum>()) {
        if (text == candidate) value = static_cast<Enum>(number);
        ++number;
      }
    });
  }
};

template <size_t kIndex = 0>
void Emplace(Event& event, const std::string& name) {
  if constexpr (kIndex == std::size(kEventNames)) {
    throw std::invalid_argument("no event is called " + name);
  } else if (name == kEventNames[kIndex]) {
    event.what.emplace<kIndex>();
  } else {
    Emplace<kIndex + 1>(event, name);
  }
}

std::map<std::string, std::string> ParseValues(std::istringstream& in) {
  std::map<std::string, std::string> values;
  std::string name;
  while (in >> std::ws && std::getline(in, name, '=')) {
    std::string value;
    if (in.peek() == '"') {
      in >> std::quoted(value);
    } else {
      in >> value;
    }
    values[name] = value;
  }
  return values;
}

}  // namespace

JobRequest SampleRequest() {
  using namespace network;  // NOLINT: a list of layers reads best without
  JobRequest request;
  Conv first{.filters = 4, .kernel = {3, 3}};
  Conv second{.filters = 8, .kernel = {3, 3}};
  first.padding.same = second.padding.same = true;
  request.configuration.network = {.input = {1, 28, 28},
                                   .classes = 10,
                                   .layers = {{first},
                                              {Relu{}},
                                              {Pool{}},
                                              {second},
                                              {Relu{}},
                                              {Pool{}},
                                              {Flatten{}},
                                              {Dense{.units = 10}}}};
  request.configuration.training.epochs = 3;
  request.target = {.metric = TargetMetric::kValAccuracy, .bound = 0.9};
  request.commit = "c0ffee";
  request.spec_hash = "spec";
  request.name = "sample";
  request.train_images = 60'000;
  return request;
}

std::string Text(const Event& event) {
  std::string out = kEventNames[event.what.index()];
  std::visit([&](const auto& what) { Fields(what, Writer{out}); }, event.what);
  return out;
}

std::string Text(const Effect& effect) {
  std::string out = kEffectNames[effect.index()];
  std::visit([&](const auto& what) { Fields(what, Writer{out}); }, effect);
  return out;
}

std::string Text(const State& state) {
  std::string out;
  for (const auto& [id, job] : state.jobs) {
    absl::StrAppend(&out, "job ", id.value, " ", Name(job.state), job.paused ? " paused" : "",
                    job.reason.empty() ? "" : ": ", job.reason, "\n");
  }
  for (const auto& [id, trial] : state.trials) {
    absl::StrAppend(&out, "trial ", id.value, " of job ", trial.job.value, " ", Name(trial.state),
                    ", retries left ", trial.retries_left);
    for (const Adjustment& adjustment : trial.adjustments) {
      absl::StrAppend(&out, ", adjusted at ", adjustment.step, adjustment.settled ? "" : "?");
    }
    absl::StrAppend(&out, "\n");
  }
  for (const auto& [id, attempt] : state.attempts) {
    if (attempt.ended()) continue;
    absl::StrAppend(&out, "attempt ", id.value, " of trial ", attempt.trial.value,
                    attempt.finishing ? " finishing " : " ", Name(attempt.state), " worker ",
                    attempt.worker.value, " fencing ", attempt.fencing.value, "\n");
  }
  for (const auto& [id, checkpoint] : state.checkpoints) {
    absl::StrAppend(&out, "checkpoint ", id.value, " of trial ", checkpoint.trial.value, " step ",
                    checkpoint.step, " ", Name(checkpoint.state), "\n");
  }
  for (const auto& [id, worker] : state.workers) {
    absl::StrAppend(&out, "worker ", id.value, " ", Name(worker.state), "\n");
  }
  return out;
}

Event ParseEvent(const std::string& line) {
  std::istringstream in(line);
  std::string name;
  in >> name;
  Event event;
  Emplace(event, name);
  std::map<std::string, std::string> values = ParseValues(in);
  if (auto* submitted = std::get_if<JobSubmitted>(&event.what)) submitted->job = SampleRequest();
  if (auto* prepared = std::get_if<SourcePrepared>(&event.what)) prepared->job = SampleRequest();
  std::visit([&](auto& what) { Fields(what, Reader{values}); }, event.what);
  if (!values.empty()) {
    throw std::invalid_argument(name + " has no field " + values.begin()->first);
  }
  return event;
}

}  // namespace trainyard::core
