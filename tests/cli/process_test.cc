// The real program as a process: signals, `up`, a full disk.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cli/exit_code.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// The program, started with `arguments`; both its outputs come through one pipe.
class Process {
 public:
  Process(const std::string& program, std::vector<std::string> arguments,
          const std::string& redirect = "") {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    arguments.insert(arguments.begin(), program);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      dup2(ends[1], STDERR_FILENO);
      if (!redirect.empty()) dup2(open(redirect.c_str(), O_WRONLY), STDOUT_FILENO);
      execv(program.c_str(), argv.data());
      _exit(127);
    }
    close(ends[1]);
    output_ = ends[0];
  }
  ~Process() { close(output_); }

  // Reads until `text` has come; false at the end of the output.
  bool ReadUntil(const std::string& text) {
    char piece[4096];
    while (text_.find(text) == std::string::npos) {
      const ssize_t count = read(output_, piece, sizeof piece);
      if (count <= 0) return false;
      text_.append(piece, static_cast<size_t>(count));
    }
    return true;
  }
  void Signal(int number) { kill(pid_, number); }
  // The exit code, or 1000 plus the signal that ended it.
  int Wait() {
    char piece[4096];
    for (ssize_t count; (count = read(output_, piece, sizeof piece)) > 0;)
      text_.append(piece, static_cast<size_t>(count));
    int status = 0;
    waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  const std::string& text() const { return text_; }

 private:
  pid_t pid_ = -1;
  int output_ = -1;
  std::string text_;
};

TEST(ProcessTest, CtrlCInWatchLeavesTheJobAndSaysSo) {
  ScriptedServer server;
  server.jobs[7] = SampleJob();
  server.Tell(MakeEvent("note", "going on"));
  Process process(TRAINYARD_PROGRAM, {"watch", "7", "--coordinator", server.address()});
  ASSERT_TRUE(process.ReadUntil("going on"));
  process.Signal(SIGINT);
  EXPECT_EQ(process.Wait(), kInterrupted);
  EXPECT_THAT(process.text(),
              AllOf(HasSubstr("Job 7 goes on."), HasSubstr("trainyard job cancel 7")));
  EXPECT_THAT(server.calls, Not(::testing::Contains("CancelJob")));
}

TEST(ProcessTest, SigtermEndsWaitWithoutCancellingAndStillReports) {
  ScriptedServer server;
  server.jobs[7] = SampleJob();
  const fs::path report =
      fs::temp_directory_path() / ("trainyard-term-" + std::to_string(getpid()) + ".xml");
  Process process(TRAINYARD_PROGRAM,
                  {"wait", "7", "--coordinator", server.address(), "--junit", report});
  server.AwaitWatchers(1);
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), kTerminated);
  EXPECT_THAT(process.text(), HasSubstr("Job 7 goes on."));
  EXPECT_THAT(server.calls, Not(::testing::Contains("CancelJob")));
  EXPECT_TRUE(fs::exists(report));
  fs::remove(report);
}

TEST(ProcessTest, AnIgnoredSignalStaysIgnored) {
  ScriptedServer server;
  server.jobs[7] = SampleJob();
  server.Tell(MakeEvent("note", "going on"));
  signal(SIGINT, SIG_IGN);  // as a shell starts what it puts in the background
  Process process(TRAINYARD_PROGRAM, {"watch", "7", "--coordinator", server.address()});
  signal(SIGINT, SIG_DFL);
  ASSERT_TRUE(process.ReadUntil("going on"));
  process.Signal(SIGINT);
  for (const v1::Event& event : SampleEvents(v1::JOB_STATE_SUCCEEDED)) server.Tell(event);
  server.Update([&] { server.jobs[7] = FinishedJob(v1::JOB_STATE_SUCCEEDED); });
  EXPECT_EQ(process.Wait(), kDone) << process.text();
}

TEST(ProcessTest, OutputThatCannotBeWrittenIsAnError) {
  Process process(TRAINYARD_PROGRAM, {"--help"}, "/dev/full");
  EXPECT_EQ(process.Wait(), kUnexpected);
  EXPECT_THAT(process.text(), HasSubstr("could not be written"));
}

TEST(ProcessTest, NoColoursAndNoBlockInAPipe) {
  ScriptedServer server;
  server.jobs[7] = FinishedJob(v1::JOB_STATE_SUCCEEDED);
  for (const v1::Event& event : SampleEvents(v1::JOB_STATE_SUCCEEDED)) server.Tell(event);
  Process process(TRAINYARD_PROGRAM, {"watch", "7", "--coordinator", server.address()});
  EXPECT_EQ(process.Wait(), kDone);
  EXPECT_THAT(process.text(), AllOf(HasSubstr("job ended"), Not(HasSubstr("\x1b"))));
}

class UpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder = fs::temp_directory_path() / ("trainyard-up-" + std::to_string(getpid()));
    fs::create_directories(folder);
    program = folder / "trainyard";
    fs::copy_file(TRAINYARD_PROGRAM, program);
  }
  void TearDown() override { fs::remove_all(folder); }

  // A coordinator that shows what it was started with, and ends as it is told.
  void PutCoordinator(const fs::path& at) {
    fs::create_directories(at.parent_path());
    std::ofstream(at) << "#!/bin/sh\n"
                         "trap 'echo stopped by INT; exit 9' INT\n"
                         "printf '<%s>' \"$@\"\n"
                         "echo ready\n"
                         "while :; do sleep 0.05; done\n";
    fs::permissions(at, fs::perms::owner_all);
  }

  fs::path folder;
  fs::path program;
};

TEST_F(UpTest, BecomesTheCoordinatorBesideItSoThatSignalsReachIt) {
  PutCoordinator(folder / "trainyard-coordinator");
  Process process(program, {"up", "--state-dir", "/tmp/a b", "--workers", "2", "--threads", "3",
                            "--data-root", "/data", "--data-root", "/more", "--pools",
                            "/etc/pools.yaml", "--poll-ms", "500", "--listen", "127.0.0.1:7999"});
  ASSERT_TRUE(process.ReadUntil("ready"));
  EXPECT_THAT(
      process.text(),
      HasSubstr(
          "<--listen><127.0.0.1:7999><--state-dir></tmp/a b><--workers><2><--threads-per-worker><3>"
          "<--data-root></data><--data-root></more><--pools></etc/pools.yaml><--poll-ms><500>"));
  EXPECT_THAT(process.text(), HasSubstr("Trainyard at 127.0.0.1:7999"));
  process.Signal(SIGINT);
  EXPECT_EQ(process.Wait(), 9);
  EXPECT_THAT(process.text(), HasSubstr("stopped by INT"));
}

TEST_F(UpTest, FindsTheCoordinatorInPathAndKeepsStateAtHome) {
  PutCoordinator(folder / "elsewhere" / "trainyard-coordinator");
  const std::string path = getenv("PATH"), home = getenv("HOME") == nullptr ? "" : getenv("HOME");
  setenv("PATH", ((folder / "elsewhere").string() + ":" + path).c_str(), 1);
  setenv("HOME", "/somebody", 1);
  Process process(program, {"up"});
  setenv("PATH", path.c_str(), 1);
  setenv("HOME", home.c_str(), 1);
  ASSERT_TRUE(process.ReadUntil("ready")) << process.text();
  EXPECT_THAT(process.text(), HasSubstr("<127.0.0.1:7700><--state-dir></somebody/.trainyard>"));
  process.Signal(SIGINT);
  process.Wait();
}

TEST_F(UpTest, AMissingCoordinatorIsNamed) {
  const std::string path = getenv("PATH");
  setenv("PATH", folder.c_str(), 1);
  Process process(program, {"up", "--state-dir", folder / "state"});
  setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(process.Wait(), kUnexpected);
  EXPECT_THAT(process.text(), HasSubstr("trainyard-coordinator is neither in"));
}

}  // namespace
}  // namespace trainyard::cli
