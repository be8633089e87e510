// What a program in the sandbox can reach: its own folders and the system, and nothing else. These
// tests are skipped, loudly, where bubblewrap cannot make one.
#include "worker/program/sandbox.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/worker/program/runner_fixture.h"

namespace trainyard::program {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

class SandboxTest : public ProgramRunnerTest {
 protected:
  void SetUp() override {
    const auto bubblewrap = ProbeBubblewrap();
    if (!bubblewrap.ok()) GTEST_SKIP() << "NOT TESTED: " << bubblewrap.status();
    options_.confinement = Confinement::kSandbox;
  }
  // `checks` ends with exit code 0 if all holds.
  void ExpectHolds(v1::Start start) {
    const Record record = RunToEnd(start);
    EXPECT_EQ(record.ended()->outcome(), AttemptEnded::COMPLETED) << record.ended()->message();
  }
};

TEST_F(SandboxTest, SeesItsOwnFoldersAndTheSystemOnly) {
  std::ofstream(folder_ / "secret") << "token";
  v1::Start start =
      Sh("fail() { echo \"$*\"; exit 1; }\n"
         "[ ! -e " +
         folder_ / "secret" +
         " ] || fail sees the secret\n"
         "[ ! -e " +
         folder_ / "cache" +
         " ] || fail sees the cache\n"
         "[ -z \"$(ls -A /root /home /var /run /srv /opt 2>/dev/null)\" ] || fail sees homes\n"
         "[ ! -e /etc/shadow ] || fail sees shadow\n"
         "! touch /usr/x 2>/dev/null || fail writes into /usr\n"
         "! touch /etc/x 2>/dev/null || fail writes into /etc\n"
         "! touch $TRAINYARD_DATA_DIR/x 2>/dev/null || fail writes among data\n"
         "! sh -c \"echo x >> $TRAINYARD_DATA_DIR/words\" 2>/dev/null || fail writes into data\n"
         "[ \"$(cat $TRAINYARD_DATA_DIR/words)\" = hello ] || fail no data\n"
         "[ $(ls -d /proc/[0-9]* | wc -l) -lt 10 ] || fail sees processes\n"
         "touch own $HOME/x $TMPDIR/x /tmp/x $TRAINYARD_OUTPUT_DIR/x || fail cannot write\n"
         "python3 -c 'import json, socket, ssl, hashlib' || fail no python\n"
         "echo accuracy=0.5");
  std::ofstream(folder_ / "words.txt") << "hello";
  v1::ProgramData& data = *start.mutable_spec()->mutable_program()->add_data();
  data.set_name("words");
  data.mutable_file()->set_host_path(folder_ / "words.txt");
  ExpectHolds(start);
}

TEST_F(SandboxTest, ReachesTheNetworkOnlyWhereSpecAndMachineAllowIt) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 5), 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  const std::string program = "import socket\ntry:\n  socket.create_connection(('127.0.0.1', " +
                              std::to_string(ntohs(address.sin_port)) +
                              "), 5)\n  print('accuracy=1.0')\nexcept OSError as e:\n  print(e)\n"
                              "  print('accuracy=0.0')\n";
  EXPECT_EQ(RunToEnd(Python(program)).epochs().back().val_accuracy(), 0);
  v1::Start allowed = Python(program, 2);
  allowed.mutable_spec()->mutable_program()->set_network(true);
  const Record refused = RunToEnd(allowed);
  EXPECT_EQ(refused.ended()->outcome(), AttemptEnded::FAILED_FINALLY);
  EXPECT_THAT(refused.ended()->message(), HasSubstr("--program-network"));
  options_.network = true;
  allowed = Python(program, 3);
  allowed.mutable_spec()->mutable_program()->set_network(true);
  EXPECT_EQ(RunToEnd(allowed).epochs().back().val_accuracy(), 1);
  close(listener);
}

TEST_F(SandboxTest, AStopReachesTheProgramAndNothingOfItStays) {
  const v1::Start start =
      Sh("c=$TRAINYARD_CHECKPOINT_DIR\n"
         "trap 'echo middle > $c/.x; mv $c/.x $c/stopped; exit 143' TERM\n"
         "setsid sleep 1000 &\n"
         "echo '{\"epoch\": 1, \"val_accuracy\": 0.1}' >> $TRAINYARD_METRICS_FILE\n"
         "while :; do sleep 0.05; done");
  const auto agent = Agent();
  gateway_.SendStart(start);
  gateway_.WaitFor("an epoch", [](const Record& r) { return !r.epochs().empty(); });
  gateway_.SendStop(start.attempt(), true);
  const Record record = WaitForEnd(1);
  EXPECT_EQ(record.ended()->outcome(), AttemptEnded::STOPPED);
  ASSERT_THAT(record.checkpoints(), SizeIs(1)) << record.ended()->message();
  EXPECT_THAT(gateway_.blob(record.checkpoints()[0].sha256()), HasSubstr("middle"));
}

TEST_F(SandboxTest, TellsACrashFromACommandThatIsNotThereInside) {
  const Record crash = RunToEnd(Sh("kill -ABRT $$"));
  EXPECT_EQ(crash.ended()->outcome(), AttemptEnded::FAILED);
  EXPECT_THAT(crash.ended()->message(), HasSubstr("SIGABRT"));
  const std::string tool = folder_ / "bin";
  std::filesystem::create_directories(tool);
  std::ofstream(tool + "/mytool") << "#!/bin/sh\necho accuracy=0.5\n";
  std::filesystem::permissions(tool + "/mytool", std::filesystem::perms::owner_all);
  const Record outside = RunToEnd(StartOf({{.name = "x", .content = ""}}, {tool + "/mytool"}, 2));
  EXPECT_EQ(outside.ended()->outcome(), AttemptEnded::FAILED_FINALLY) << "not let in";
  options_.program_paths = {folder_.path()};
  const auto agent = Agent();
  gateway_.SendStart(StartOf({{.name = "x", .content = ""}}, {"mytool"}, 3));
  EXPECT_EQ(WaitForEnd(3).ended()->outcome(), AttemptEnded::COMPLETED) << "its bin is on the PATH";
}

}  // namespace
}  // namespace trainyard::program
