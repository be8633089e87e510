// For tests of the `slurm` pool: a cluster, a shared folder, small workers, and what was told.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "coordinator/launch/slurm.h"
#include "gtest/gtest.h"
#include "tests/coordinator/launch/slurm_cluster.h"

namespace trainyard::coordinator {

class SlurmLauncherTest : public ::testing::Test {
 protected:
  struct Reach {
    bool reachable;
    std::string why;
  };

  void SetUp() override;
  void TearDown() override;

  // A worker that does what `body`, in sh, says.
  std::string Script(const std::string& body);
  // One that says that it is ready, exits with 143 when it is asked to, and else never.
  std::string UntilAsked();
  // One that is not to be asked.
  std::string Stubborn();
  std::unique_ptr<SlurmLauncher> Open(const std::string& worker);
  std::unique_ptr<SlurmLauncher> Open(SlurmPoolOptions options);
  SlurmPoolOptions Options(const std::string& worker) const;

  // What is told next; nothing if nothing is told for a long time.
  std::optional<WorkerExit> NextExit();
  std::optional<Reach> NextReach();
  std::optional<int64_t> NextStart();
  size_t ExitsWaiting();

  std::string Log(int64_t launch) const;
  std::string NotesOf(int64_t launch) const;
  std::string State(const std::string& job) const;
  // How often a worker began, as Script's workers note it.
  int Started() const;
  void WaitFor(const std::function<bool()>& condition);
  static std::string Read(const std::filesystem::path& path);

  std::unique_ptr<SlurmCluster> cluster_;
  std::filesystem::path folder_;

 private:
  template <typename Fact>
  std::optional<Fact> Next(std::deque<Fact>& facts);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<WorkerExit> exits_;
  std::deque<Reach> reaches_;
  std::deque<int64_t> starts_;
};

}  // namespace trainyard::coordinator
