// Plays scenario files: what happened, and below it what the core did about it, for people to read.
//
//   # What this scenario shows.
//   settings pool=1 retries=2          process pool of one worker, ...
//   @1000 push_seen project=1 ...      an event at 1000 ms
//     start_attempt claim=1/1/1 ...    expected: effects in order
//     | attempt 1 of trial 1 ...       expected: lines of history
//   @2000 crash                        the process is gone; what was committed is recovered
//   @2000 state                        expected: the state in short
//
// After every step the invariants are checked. TRAINYARD_REGENERATE=1 writes the expected lines
// anew.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "coordinator/core/invariants.h"
#include "tests/coordinator/core/durable.h"
#include "tests/coordinator/core/text.h"

namespace trainyard::core {
namespace {

class Player {
 public:
  // The whole file as it should be: input lines kept, everything else made anew.
  std::string Play(const std::string& file) {
    std::istringstream in(file);
    std::string line;
    while (std::getline(in, line)) {
      if (line.rfind("  ", 0) == 0) continue;
      absl::StrAppend(&out_, line, "\n");
      if (line.rfind("settings ", 0) == 0) Configure(line.substr(9));
      if (!line.empty() && line[0] == '@') Perform(line);
    }
    return out_;
  }

 private:
  void Configure(const std::string& text) {
    std::istringstream in(text);
    std::string name;
    int64_t value = 0;
    while (in >> std::ws && std::getline(in, name, '=') && in >> value) {
      if (name == "pool") {
        settings_.pools["process"].hosts[""].assign(static_cast<size_t>(value), Abilities{});
      }
      // The first slots of that pool have a GPU each.
      if (name == "pool_gpus") {
        std::vector<Abilities>& slots = settings_.pools["process"].hosts[""];
        for (size_t i = 0; i < static_cast<size_t>(value); ++i) slots.at(i).gpu = true;
      }
      // Two hosts, a worker of its own for each attempt: gpu1 has so many GPUs of 8 MiB, gpu2
      // of 80.
      if (name == "gpus") SetGpus(static_cast<size_t>(value));
      if (name == "retries") settings_.retries = static_cast<int>(value);
      if (name == "idle_ms") settings_.idle_ms = value;
    }
    state_.settings = settings_;
  }

  void SetGpus(size_t count) {
    PoolSettings& pool = settings_.pools["gpu"];
    pool.one_attempt = true;
    pool.hosts["gpu1"].assign(count, {.gpu = true, .gpu_memory_bytes = 8 << 20});
    pool.hosts["gpu2"].assign(count, {.gpu = true, .gpu_memory_bytes = 80 << 20});
  }

  void Perform(const std::string& line) {
    const size_t space = line.find(' ');
    const int64_t now_ms = std::stoll(line.substr(1, space - 1));
    const std::string what = line.substr(space + 1);
    if (what == "state") {
      std::istringstream lines(Text(state_));
      std::string one;
      while (std::getline(lines, one)) absl::StrAppend(&out_, "  ", one, "\n");
    } else if (what == "crash") {
      state_ = store_.Load(settings_);
      Step(now_ms, Event{.what = CoordinatorRecovered{}});
    } else {
      Step(now_ms, ParseEvent(what));
    }
  }

  void Step(int64_t now_ms, Event event) {
    event.now_ms = event.wall_ms = now_ms;
    const State before = state_;
    const Result result = core::Step(state_, event);
    for (const Effect& effect : result.effects) absl::StrAppend(&out_, "  ", Text(effect), "\n");
    for (const HistoryRow& row : result.changes.history) {
      absl::StrAppend(&out_, "  | ", Name(row.kind), ": ", row.text, "\n");
    }
    for (const std::string& violation : CheckState(state_)) ADD_FAILURE() << violation;
    for (const std::string& violation : CheckDelta(before, state_, result)) {
      ADD_FAILURE() << violation;
    }
    store_.Commit(state_, result.changes);
    Forget(state_);
  }

  Settings settings_;
  State state_;
  Durable store_;
  std::string out_;
};

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

std::vector<std::string> Scenarios() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(TRAINYARD_SCENARIOS)) {
    names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Scenario : public testing::TestWithParam<std::string> {};

TEST_P(Scenario, DoesWhatTheFileSays) {
  const auto path = std::filesystem::path(TRAINYARD_SCENARIOS) / (GetParam() + ".txt");
  const std::string expected = ReadFile(path);
  const std::string actual = Player().Play(expected);
  if (std::getenv("TRAINYARD_REGENERATE") != nullptr) std::ofstream(path) << actual;
  EXPECT_EQ(actual, expected) << path;
}

INSTANTIATE_TEST_SUITE_P(All, Scenario, testing::ValuesIn(Scenarios()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace trainyard::core
