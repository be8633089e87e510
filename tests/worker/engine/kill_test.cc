// A process that is killed by SIGKILL while it trains, again and again, and started anew leaves the
// same checkpoint as one that was left alone: with real processes and real files.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <random>

#include "tests/worker/engine/support/examples.h"
#include "worker/engine/checkpoint.h"

extern char** environ;

namespace trainyard::engine {
namespace {

constexpr char kDescription[] = R"({
  "network": {"input": [1, 12, 12], "classes": 5, "layers": [
    {"conv": {"filters": 8, "padding": "same"}}, {"batch_norm": {}}, {"relu": {}},
    {"max_pool": {}}, {"dropout": {"rate": 0.2}},
    {"residual": {"body": [{"conv": {"filters": 8, "padding": "same", "bias": false}},
                           {"batch_norm": {}}]}},
    {"relu": {}}, {"flatten": {}}, {"dense": {"units": 16}}, {"relu": {}},
    {"dropout": {"rate": 0.3}}, {"dense": {"units": 5}}]},
  "training": {"epochs": 4, "batch_size": 16, "schedule": {"kind": "one_cycle"}, "seed": 11,
               "augmentation": {"flip": true, "shift": 2, "cutout": 4},
               "optimizer": {"kind": "adamw", "learning_rate": 0.005}},
  "data": {"patterns": {"train": 150, "validation": 30, "noise": 60}},
  "backend": "BACKEND", "threads": 2, "checkpoint_every_steps": 3})";
constexpr int64_t kSteps = 40;

// Starts the training program on a folder, its output coming through a pipe.
class Process {
 public:
  Process(const std::string& description, const std::string& folder) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    std::string arguments[] = {ENGINE_TRAIN, description, folder};
    char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), nullptr};
    EXPECT_EQ(posix_spawn(&pid_, argv[0], &actions, nullptr, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    output_ = fdopen(ends[0], "r");
  }
  ~Process() {
    if (output_ != nullptr) fclose(output_);
  }

  // Reads on until `steps` steps were done by this process, or its output ends. Whether it got
  // there.
  bool WaitForSteps(int64_t steps) {
    char line[512];
    while (steps > 0 && fgets(line, sizeof line, output_) != nullptr) {
      if (std::string_view(line).starts_with("step ")) --steps;
    }
    return steps == 0;
  }

  void Kill() { kill(pid_, SIGKILL); }

  // The wait status of the ended process; reads what it still has to say.
  int Wait() {
    char line[512];
    while (fgets(line, sizeof line, output_) != nullptr) {
    }
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    return status;
  }

 private:
  pid_t pid_ = -1;
  FILE* output_ = nullptr;
};

class KillTest : public ::testing::TestWithParam<std::string> {
 protected:
  KillTest() {
    std::string description = kDescription;
    description.replace(description.find("BACKEND"), 7, GetParam());
    WriteBytes(folder_.File("description"), description);
  }
  std::string MakeFolder(const std::string& name) {
    std::filesystem::create_directory(folder_.File(name));
    return folder_.File(name);
  }
  // Lets it finish; the final checkpoint's bytes.
  std::string Finish(const std::string& folder) {
    Process process(folder_.File("description"), folder);
    EXPECT_EQ(process.Wait(), 0);
    return ReadBytes(folder + "/checkpoint");
  }
  TemporaryFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(Backends, KillTest, ::testing::Values(TRAINYARD_BACKENDS),
                         [](const auto& info) { return info.param; });

TEST_P(KillTest, SigkillAtRandomStepsChangesNothing) {
  const std::string expected = Finish(MakeFolder("undisturbed"));
  EXPECT_EQ(ParseCheckpoint(expected).step, kSteps);
  std::mt19937 random(3);
  int killed = 0;
  for (int trial = 0; trial < 4; ++trial) {
    const std::string folder = MakeFolder("trial" + std::to_string(trial));
    for (int kills = 0; kills < 5; ++kills) {
      Process process(folder_.File("description"), folder);
      // The process runs on while the signal travels: it dies anywhere in or between steps, or
      // while it writes.
      if (process.WaitForSteps(static_cast<int64_t>(1 + random() % 12))) process.Kill();
      const int status = process.Wait();
      if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ++killed;
    }
    EXPECT_TRUE(Finish(folder) == expected) << "trial " << trial;
  }
  EXPECT_GE(killed, 10);
}

}  // namespace
}  // namespace trainyard::engine
