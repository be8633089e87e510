#include "tests/coordinator/launch/slurm_fixture.h"

#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr auto kPatience = std::chrono::seconds(60);

}  // namespace

void SlurmLauncherTest::SetUp() {
  const std::string why_not = SlurmCluster::WhyNot();
  if (!why_not.empty()) GTEST_SKIP() << "no Slurm here: " << why_not;
  auto cluster = SlurmCluster::Start();
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  cluster_ = *std::move(cluster);
  std::string name = (fs::temp_directory_path() / "trainyard-launch-XXXXXX").string();
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  folder_ = name;
}

void SlurmLauncherTest::TearDown() {
  cluster_.reset();
  if (!folder_.empty()) fs::remove_all(folder_);
}

std::string SlurmLauncherTest::Script(const std::string& body) {
  const fs::path path = folder_ / "worker.sh";
  std::ofstream(path) << "#!/bin/sh\necho x >> '" << (folder_ / "started").string() << "'\n"
                      << body << "\n";
  chmod(path.c_str(), 0755);
  return path;
}

std::string SlurmLauncherTest::UntilAsked() {
  return Script("trap 'echo asked; exit 143' TERM\necho ready\nwhile :; do sleep 0.02; done");
}

std::string SlurmLauncherTest::Stubborn() {
  return Script("trap 'echo asked' TERM\necho ready\nwhile :; do sleep 0.02; done");
}

SlurmPoolOptions SlurmLauncherTest::Options(const std::string& worker) const {
  SlurmPoolOptions options;
  options.name = "gpu";
  options.coordinator = "127.0.0.1:7700";
  options.coordinator_id = "c0ffee";
  options.pool.workers = 4;
  options.pool.folder = folder_ / "shared";
  options.pool.worker = worker;
  options.pool.memory_bytes = 50 << 20;
  options.pool.environment = cluster_->environment();
  options.ask_ms = 300;
  options.command_timeout_ms = 3000;
  return options;
}

std::unique_ptr<SlurmLauncher> SlurmLauncherTest::Open(const std::string& worker) {
  return Open(Options(worker));
}

std::unique_ptr<SlurmLauncher> SlurmLauncherTest::Open(SlurmPoolOptions options) {
  LaunchListener listener;
  const auto add = [this](auto& facts, auto fact) {
    std::lock_guard lock(mutex_);
    facts.push_back(std::move(fact));
    changed_.notify_all();
  };
  listener.on_exit = [this, add](const WorkerExit& exit) { add(exits_, exit); };
  listener.on_reach = [this, add](const std::string&, bool reachable, const std::string& why) {
    add(reaches_, Reach{reachable, why});
  };
  listener.on_started = [this, add](int64_t launch) { add(starts_, launch); };
  auto launcher = SlurmLauncher::Open(std::move(options), std::move(listener));
  EXPECT_TRUE(launcher.ok()) << launcher.status();
  return *std::move(launcher);
}

template <typename Fact>
std::optional<Fact> SlurmLauncherTest::Next(std::deque<Fact>& facts) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, kPatience, [&] { return !facts.empty(); })) return {};
  Fact fact = facts.front();
  facts.pop_front();
  return fact;
}

std::optional<WorkerExit> SlurmLauncherTest::NextExit() { return Next(exits_); }
std::optional<SlurmLauncherTest::Reach> SlurmLauncherTest::NextReach() { return Next(reaches_); }
std::optional<int64_t> SlurmLauncherTest::NextStart() { return Next(starts_); }

size_t SlurmLauncherTest::ExitsWaiting() {
  std::lock_guard lock(mutex_);
  return exits_.size();
}

std::string SlurmLauncherTest::Read(const fs::path& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string SlurmLauncherTest::Log(int64_t launch) const {
  return Read(folder_ / "shared" / "c0ffee" / absl::StrCat("gpu-", launch) / "output.log");
}

std::string SlurmLauncherTest::NotesOf(int64_t launch) const {
  return Read(folder_ / "shared" / "c0ffee" / absl::StrCat("gpu-", launch) / "state");
}

std::string SlurmLauncherTest::State(const std::string& job) const {
  const std::string text =
      cluster_->Run("squeue", {"--noheader", "--states=all", "--format=%T", "-j", job});
  return text.substr(0, text.find('\n'));
}

int SlurmLauncherTest::Started() const {
  const std::string text = Read(folder_ / "started");
  return static_cast<int>(std::count(text.begin(), text.end(), 'x'));
}

void SlurmLauncherTest::WaitFor(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace trainyard::coordinator
