#include "proto/memory_kills.h"

#include <charconv>
#include <fstream>
#include <iterator>
#include <string>

namespace trainyard {
namespace {

constexpr size_t kSamplesKept = 4;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Where our control group's counter may stand, most specific first.
std::string CounterText() {
  std::ifstream groups("/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {
    std::string path;
    if (line.starts_with("0::")) {
      path = "/sys/fs/cgroup" + line.substr(3) + "/memory.events";
    } else if (const size_t at = line.find(":memory:"); at != std::string::npos) {
      path = "/sys/fs/cgroup/memory" + line.substr(at + 8) + "/memory.oom_control";
    } else {
      continue;
    }
    if (const std::string text = ReadAll(path); ParseMemoryKills(text) >= 0) return text;
  }
  // Inside a container our group may be mounted as the root.
  if (const std::string text = ReadAll("/sys/fs/cgroup/memory.events"); !text.empty()) return text;
  return ReadAll("/proc/vmstat");
}

}  // namespace

int64_t ParseMemoryKills(std::string_view text) {
  constexpr std::string_view kName = "oom_kill ";
  for (size_t at = text.find(kName); at != std::string_view::npos; at = text.find(kName, at + 1)) {
    if (at != 0 && text[at - 1] != '\n') continue;
    int64_t count = -1;
    const char* const start = text.data() + at + kName.size();
    std::from_chars(start, text.data() + text.size(), count);
    return count;
  }
  return -1;
}

int64_t CountMemoryKills() {
  const int64_t count = ParseMemoryKills(CounterText());
  return count < 0 ? 0 : count;
}

void MemoryKillWatch::Sample() {
  const auto now = std::chrono::steady_clock::now();
  if (!samples_.empty() && now - last_ < std::chrono::seconds(1)) return;
  last_ = now;
  samples_.push_back(CountMemoryKills());
  if (samples_.size() > kSamplesKept) samples_.pop_front();
}

bool MemoryKillWatch::GrewLately() const {
  return !samples_.empty() && CountMemoryKills() > samples_.front();
}

}  // namespace trainyard
