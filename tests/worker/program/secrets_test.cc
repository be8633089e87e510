// A program in the worker's own container, run by the worker's own user, that looks everywhere for
// what the worker was let in with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/worker/agent/agent_fixture.h"
#include "tests/worker/agent/test_data.h"

namespace trainyard::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr uid_t kNobody = 65534;

// The two halves are joined where it runs, so that what it finds is not itself.
constexpr char kSearch[] = R"(
import json, os
secret = (b'ty_one' + b'two')
found = []
def look(path, what):
    try:
        with open(path, 'rb') as file:
            if secret in file.read(1 << 26): found.append(what)
    except (OSError, ValueError): pass
for pid in filter(str.isdigit, os.listdir('/proc')):
    if int(pid) == os.getpid(): continue
    look(f'/proc/{pid}/environ', f'environ of {pid}')
    look(f'/proc/{pid}/cmdline', f'arguments of {pid}')
    try:
        for line in open(f'/proc/{pid}/maps'):
            start, end = (int(x, 16) for x in line.split()[0].split('-'))
            with open(f'/proc/{pid}/mem', 'rb', 0) as memory:
                memory.seek(start)
                if secret in memory.read(end - start): found.append(f'memory of {pid}')
    except (OSError, ValueError, OverflowError): pass
    try:
        for fd in os.listdir(f'/proc/{pid}/fd'):
            look(f'/proc/{pid}/fd/{fd}', f'file {fd} of {pid}')
    except OSError: pass
for folder, _, files in os.walk(os.environ['HOME'] + '/../../..'):
    for name in files: look(os.path.join(folder, name), name)
inherited = [fd for fd in os.listdir('/proc/self/fd') if int(fd) > 3]
with open(os.environ['TRAINYARD_METRICS_FILE'], 'a') as file:
    note = f'found {sorted(set(found))}, inherited {len(inherited)}'
    print(json.dumps({'note': note}), file=file)
print('accuracy=1.0')
)";

class SecretsTest : public testing::Test {
 protected:
  SecretsTest() {
    fs::create_directories(folder_ / "access");
    std::ofstream(folder_ / "access/token") << "ty_onetwo\n";
  }

  // Whoever runs the tests as root runs the worker as nobody: root's secrets cannot be kept from
  // root.
  pid_t StartWorker(const std::string& launch) {
    const std::string socket = gateway_.address().substr(5);
    if (geteuid() == 0) {
      for (const std::string& path : {folder_.path(), folder_ / "access", folder_ / "access/token",
                                      socket, fs::path(socket).parent_path().string()}) {
        EXPECT_EQ(chown(path.c_str(), kNobody, kNobody), 0) << path;
      }
    }
    fs::permissions(folder_ / "access/token", fs::perms::owner_read);
    std::vector<std::string> arguments = {TRAINYARD_WORKER,
                                          "--coordinator",
                                          gateway_.address(),
                                          "--work-dir",
                                          folder_ / "work",
                                          "--cache-dir",
                                          folder_ / "cache",
                                          "--access",
                                          folder_ / "access",
                                          "--programs",
                                          "container",
                                          "--launch",
                                          launch};
    std::vector<char*> raw;
    for (std::string& argument : arguments) raw.push_back(argument.data());
    raw.push_back(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      if (geteuid() == 0 && (setgid(kNobody) != 0 || setuid(kNobody) != 0)) _exit(126);
      execv(raw[0], raw.data());
      _exit(127);
    }
    return pid;
  }

  TestFolder folder_;
  FakeGateway gateway_;
};

TEST_F(SecretsTest, AProgramThatLooksEverywhereFindsNone) {
  v1::Start start = StartOf(1);
  start.set_snapshot_sha256(gateway_.Store(Tar({{.name = "search.py", .content = kSearch}})));
  v1::Program& program = *start.mutable_spec()->mutable_program();
  program.set_framework("other");
  for (const char* word : {"python3", "search.py"}) program.add_command(word);
  const pid_t worker = StartWorker("7");
  gateway_.SendStart(start);
  const auto record =
      gateway_.WaitFor("the end", [](const auto& r) { return r.ended() != nullptr; });
  EXPECT_EQ(record.ended()->outcome(), v1::AttemptEnded::COMPLETED) << record.ended()->message();
  std::string note;
  for (const v1::WorkerMessage& report : record.reports) note += report.program().note();
  EXPECT_EQ(note, "found [], inherited 0");
  EXPECT_FALSE(fs::exists(folder_ / "access/token"));
  kill(worker, SIGKILL);
  waitpid(worker, nullptr, 0);
}

TEST_F(SecretsTest, AWorkerThatCannotKeepItsTokenFromProgramsDoesNotStart) {
  int status = 0;
  waitpid(StartWorker("0"), &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 2);
  EXPECT_TRUE(fs::exists(folder_ / "access/token")) << "somebody's own folder is left alone";
}

}  // namespace
}  // namespace trainyard::agent
