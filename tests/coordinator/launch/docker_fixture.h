// What the tests of the Docker launcher share: a real daemon, a launcher on it, and what that
// tells.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "coordinator/launch/docker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/launch/docker_daemon.h"

namespace trainyard::coordinator {

inline constexpr auto kPatience = std::chrono::seconds(60);

struct ReachChange {
  std::string host;
  bool reachable = false;
  std::string why;
};

// What a launcher told, for one thread to wait for.
class Told {
 public:
  LaunchListener Listener() {
    return {[this](const WorkerExit& exit) { Add(exits_, exit); },
            [this](const std::string& host, bool reachable, const std::string& why) {
              Add(reaches_, ReachChange{host, reachable, why});
            }};
  }
  std::optional<WorkerExit> NextExit() { return Next(exits_); }
  std::optional<ReachChange> NextReach() { return Next(reaches_); }
  size_t exits() {
    std::lock_guard lock(mutex_);
    return exits_.size();
  }

 private:
  template <typename T>
  void Add(std::deque<T>& queue, const T& value) {
    std::lock_guard lock(mutex_);
    queue.push_back(value);
    changed_.notify_all();
  }
  template <typename T>
  std::optional<T> Next(std::deque<T>& queue) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [&] { return !queue.empty(); })) return {};
    T value = queue.front();
    queue.pop_front();
    return value;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<WorkerExit> exits_;
  std::deque<ReachChange> reaches_;
};

class DockerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = DockerDaemon::WhyNot(); !why.empty()) GTEST_SKIP() << why;
    std::string name =
        (std::filesystem::temp_directory_path() / "trainyard-docker-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    BeforeDaemon();
    daemon_ = std::make_unique<DockerDaemon>(folder_);
    if (!daemon_->Start(DaemonArguments())) {
      GTEST_SKIP() << "no Docker daemon starts here: " << daemon_->log();
    }
  }
  void TearDown() override {
    launcher_.reset();
    daemon_.reset();
    std::error_code ignored;  // what a broken daemon still holds
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }
  virtual void BeforeDaemon() {}
  virtual std::vector<std::string> DaemonArguments() { return {}; }

  DockerHost Host() const { return {.name = "here", .url = daemon_->socket_url(), .cpu_slots = 4}; }
  DockerPoolOptions Options(const std::string& image, DockerHost host) const {
    DockerPoolOptions options;
    options.name = "pool";
    options.pool.hosts = {std::move(host)};
    options.pool.images = {{"native", image}};
    options.coordinator = "host.docker.internal:7700";
    options.coordinator_id = "c0ffee00c0ffee00";
    options.folder = (folder_ / "logs").string();
    return options;
  }
  void Open(DockerPoolOptions options) {
    auto launcher = DockerLauncher::Open(std::move(options), told_.Listener());
    ASSERT_TRUE(launcher.ok()) << launcher.status();
    launcher_ = *std::move(launcher);
  }
  // Opens a launcher whose workers do what `script` says.
  void OpenWith(const std::string& script) {
    ASSERT_TRUE(daemon_->MakeImage("worker", script)) << daemon_->log();
    Open(Options("worker", Host()));
  }
  // The launcher dies with its coordinator, and another one comes.
  void Reopen() {
    DockerPoolOptions options = Options("worker", Host());
    launcher_.reset();
    Open(std::move(options));
  }
  LaunchHandle Launch(int64_t launch) {
    const auto handle = launcher_->Launch({.launch = launch});
    EXPECT_TRUE(handle.ok()) << handle.status();
    return handle.ok() ? *handle : "";
  }
  std::string Log(int64_t launch) const {
    std::ifstream file(launcher_->LogPath(launch), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  void WaitFor(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  void WaitForLog(int64_t launch, const std::string& text) {
    WaitFor([&] { return Log(launch).find(text) != std::string::npos; });
  }

  std::filesystem::path folder_;
  std::unique_ptr<DockerDaemon> daemon_;
  Told told_;
  std::unique_ptr<DockerLauncher> launcher_;
};

// Ends by SIGTERM with exit code 5, and not by itself.
inline constexpr char kUntilTerm[] =
    "trap 'echo leaving; exit 5' TERM; echo ready; while :; do sleep 0.05; done";

}  // namespace trainyard::coordinator
