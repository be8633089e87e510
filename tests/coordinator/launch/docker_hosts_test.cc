// Shows what is said of hosts that cannot be used, and that none of them makes anybody wait: TLS
// that does not fit, nobody there, somebody else there.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "tests/coordinator/launch/docker_fixture.h"

namespace trainyard::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A loopback address to listen on, and the port that it got.
int ListenOnLoopback(int* port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  listen(fd, 8);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  *port = ntohs(address.sin_port);
  return fd;
}

int FreePort() {
  int port = 0;
  close(ListenOnLoopback(&port));
  return port;
}

// Answers the first request of every connection with the same bytes, and closes it if told so.
class Impostor {
 public:
  Impostor(std::string answer, bool closes) : answer_(std::move(answer)), closes_(closes) {
    fd_ = ListenOnLoopback(&port_);
    thread_ = std::thread([this] { Run(); });
  }
  ~Impostor() {
    shutdown(fd_, SHUT_RDWR);
    thread_.join();
    close(fd_);
    for (const int fd : open_) close(fd);
  }
  std::string url() const { return "tcp://127.0.0.1:" + std::to_string(port_); }

 private:
  void Run() {
    while (true) {
      const int fd = accept(fd_, nullptr, nullptr);
      if (fd < 0) return;
      char request[1024];
      [[maybe_unused]] ssize_t done = read(fd, request, sizeof(request));
      done = send(fd, answer_.data(), answer_.size(), MSG_NOSIGNAL);
      if (closes_) {
        close(fd);
      } else {
        open_.push_back(fd);
      }
    }
  }

  const std::string answer_;
  const bool closes_;
  int fd_ = -1, port_ = 0;
  std::vector<int> open_;
  std::thread thread_;
};

std::string Answer(const std::string& body, const std::string& status = "200 OK") {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

// Needs no daemon.
class DockerHostsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "trainyard-hosts-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<std::unique_ptr<DockerLauncher>> Open(std::vector<DockerHost> hosts) {
    for (DockerHost& host : hosts) host.cpu_slots = 1;
    DockerPoolOptions options;
    options.name = "pool";
    options.pool.hosts = std::move(hosts);
    options.pool.images = {{"native", "worker"}};
    options.coordinator_id = "c0ffee00c0ffee00";
    options.folder = folder_ / "logs";
    return DockerLauncher::Open(std::move(options), told_.Listener());
  }
  // What is said about a host at this URL, by a launch and by on_reach.
  std::string Trouble(const std::string& url) {
    auto launcher = Open({{.name = "odd", .url = url}});
    if (!launcher.ok()) return std::string(launcher.status().message());
    const auto handle = (*launcher)->Launch({.launch = 1});
    EXPECT_EQ(handle.status().code(), absl::StatusCode::kUnavailable) << handle.status();
    const auto reach = told_.NextReach();
    EXPECT_TRUE(reach && reach->host == "odd" && !reach->reachable);
    EXPECT_THAT(std::string(handle.status().message()), HasSubstr(reach ? reach->why : "?"));
    return std::string(handle.status().message());
  }

  std::filesystem::path folder_;
  Told told_;
};

TEST_F(DockerHostsTest, AnUnusableUrlIsRefusedAtOnce) {
  EXPECT_THAT(Trouble("tcp://gpu1:2375"),
              AllOf(HasSubstr("host odd"), HasSubstr("tcp://gpu1:2375"), HasSubstr("TLS")));
  EXPECT_THAT(Trouble("http://127.0.0.1:2375"), HasSubstr("expected unix:///PATH or tcp://"));
  EXPECT_THAT(Trouble("unix://docker.sock"), HasSubstr("absolute path"));
  for (const char* url :
       {"", "tcp://", "tcp://127.0.0.1@gpu1:2375", "tcp://127.0.0.1:1/x", "tcp://a"}) {
    EXPECT_THAT(Trouble(url), HasSubstr("expected unix:///PATH or tcp://")) << url;
  }
  EXPECT_THAT(Trouble("tcp://127.evil.com:2375"), HasSubstr("TLS"));
  const auto half = Open({{.name = "half", .url = "tcp://gpu1:2376", .tls_ca = "ca.pem"}});
  EXPECT_EQ(half.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(half.status().message()), HasSubstr("all three"));
}

TEST_F(DockerHostsTest, AHostWhereNobodyListensIsNamed) {
  EXPECT_THAT(Trouble("unix://" + (folder_ / "none.sock").string()),
              AllOf(HasSubstr("none.sock"), HasSubstr("No such file")));
  EXPECT_THAT(Trouble("tcp://127.0.0.1:" + std::to_string(FreePort())),
              HasSubstr("Connection refused"));
}

TEST_F(DockerHostsTest, WhoeverIsNoDockerEngineIsToldApart) {
  {
    const Impostor page(Answer("<html>Welcome</html>"), true);
    EXPECT_THAT(Trouble(page.url()),
                AllOf(HasSubstr("does not answer like a Docker Engine"), HasSubstr("Welcome")));
  }
  {
    const Impostor broken(Answer("{\"message\":\"oh no\"}", "500 Internal Server Error"), true);
    EXPECT_THAT(Trouble(broken.url()), HasSubstr("oh no"));
  }
  {
    const Impostor shell("SSH-2.0-OpenSSH_9.2p1\r\n", true);
    EXPECT_THAT(Trouble(shell.url()), HasSubstr("HTTP/0.9"));
  }
  {
    const Impostor silent("", true);
    EXPECT_THAT(Trouble(silent.url()), HasSubstr("Empty reply"));
  }
  {
    const Impostor old(Answer(R"({"Version":"18.09.1","ApiVersion":"1.39"})"), true);
    EXPECT_THAT(Trouble(old.url()), AllOf(HasSubstr("18.09.1"), HasSubstr("expected 1.41")));
  }
  {
    // Every answer is a version, so that the event stream ends at once, again and again.
    const Impostor parrot(Answer(R"({"Version":"27.0","ApiVersion":"1.46"})"), true);
    auto launcher = Open({{.name = "odd", .url = parrot.url()}});
    ASSERT_TRUE(launcher.ok());
    EXPECT_FALSE((*launcher)->Launch({.launch = 1}).ok());
    EXPECT_FALSE(told_.NextReach()->reachable);
  }
}

TEST_F(DockerHostsTest, AHostThatNeverAnswersIsGivenUp) {
  const Impostor mute("", false);
  EXPECT_THAT(Trouble(mute.url()), HasSubstr("no answer in time"));
  const Impostor half(Answer(R"({"Version":"27.0","ApiVersion":"1.46"})"), false);
  EXPECT_THAT(Trouble(half.url()), HasSubstr("event stream does not open"));
}

TEST_F(DockerHostsTest, AFolderThatCannotBeMadeIsNamed) {
  std::ofstream(folder_ / "logs") << "a file";
  const auto launcher = Open({});
  EXPECT_EQ(launcher.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(launcher.status().message()), HasSubstr("logs"));
}

class DockerTlsTest : public DockerTest {
 protected:
  void SetUp() override {
    if (const std::string why = DockerDaemon::WhyNot(); !why.empty()) GTEST_SKIP() << why;
    std::string name = (std::filesystem::temp_directory_path() / "trainyard-tls-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    keys_ = name;
    ASSERT_TRUE(MakeAuthority("ours") && MakeAuthority("theirs"));
    ASSERT_TRUE(MakeCertificate("ours", "server") && MakeCertificate("ours", "client") &&
                MakeCertificate("theirs", "stranger"));
    port_ = FreePort();
    DockerTest::SetUp();
  }
  void TearDown() override {
    DockerTest::TearDown();
    if (!keys_.empty()) std::filesystem::remove_all(keys_);
  }
  std::vector<std::string> DaemonArguments() override {
    return {"--host=tcp://127.0.0.1:" + std::to_string(port_), "--tlsverify",
            "--tlscacert=" + Pem("ours"), "--tlscert=" + Pem("server"),
            "--tlskey=" + Key("server")};
  }
  DockerHost TlsHost(const std::string& authority, const std::string& client) const {
    DockerHost host = Host();
    host.url = "tcp://127.0.0.1:" + std::to_string(port_);
    host.tls_ca = Pem(authority);
    host.tls_cert = Pem(client);
    host.tls_key = Key(client);
    return host;
  }
  std::string Trouble(const DockerHost& host) {
    Open(Options("worker", host));
    const auto handle = launcher_->Launch({.launch = 1});
    EXPECT_EQ(handle.status().code(), absl::StatusCode::kUnavailable) << handle.status();
    EXPECT_FALSE(told_.NextReach()->reachable);
    return std::string(handle.status().message());
  }

 private:
  std::string Pem(const std::string& name) const { return (keys_ / (name + ".pem")).string(); }
  std::string Key(const std::string& name) const { return (keys_ / (name + ".key")).string(); }
  bool OpenSsl(const std::string& arguments) const {
    const std::string log = (keys_ / "log").string();
    return std::system(("openssl " + arguments + " > " + log + " 2>&1").c_str()) == 0;
  }
  bool MakeAuthority(const std::string& name) const {
    return OpenSsl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" + name +
        " -keyout " + Key(name) + " -out " + Pem(name));
  }
  bool MakeCertificate(const std::string& authority, const std::string& name) const {
    const std::string request = (keys_ / (name + ".csr")).string();
    const std::string extensions = (keys_ / "extensions").string();
    std::ofstream(extensions) << "subjectAltName=IP:127.0.0.1\n"
                                 "extendedKeyUsage=serverAuth,clientAuth\n";
    return OpenSsl("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=" + name +
                   " -keyout " + Key(name) + " -out " + request) &&
           OpenSsl("x509 -req -days 2 -in " + request + " -CA " + Pem(authority) + " -CAkey " +
                   Key(authority) + " -CAcreateserial -extfile " + extensions + " -out " +
                   Pem(name));
  }

  std::filesystem::path keys_;
  int port_ = 0;
};

TEST_F(DockerTlsTest, AHostIsUsedOverMutualTlsAndWhoeverDoesNotFitIsToldWhy) {
  ASSERT_TRUE(daemon_->MakeImage("worker", "echo hello; exit 7"));
  Open(Options("worker", TlsHost("ours", "client")));
  Launch(1);
  EXPECT_EQ(told_.NextExit()->exit_code, 7);
  WaitFor([this] { return daemon_->Containers().empty(); });
  EXPECT_EQ(Log(1), "hello\n");
  launcher_.reset();
  EXPECT_THAT(Trouble(TlsHost("ours", "stranger")),
              AllOf(HasSubstr("TLS: the host ended the connection"), HasSubstr("stranger.pem")));
  EXPECT_THAT(Trouble(TlsHost("theirs", "client")),
              AllOf(HasSubstr("TLS: "), HasSubstr("certificate")));
  EXPECT_THAT(Trouble(TlsHost("ours", "nobody")),
              AllOf(HasSubstr("TLS: "), HasSubstr("nobody.pem")));
}

// In a network of the test's own, which it can take down.
class DockerPartitionTest : public DockerTest {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "a network namespace needs root";
    before_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "no network namespace: " << strerror(errno);
    SetLoopback(true);
    port_ = FreePort();
    DockerTest::SetUp();
  }
  void TearDown() override {
    DockerTest::TearDown();
    if (before_ >= 0) setns(before_, CLONE_NEWNET);
    close(before_);
  }
  std::vector<std::string> DaemonArguments() override {
    return {"--host=tcp://127.0.0.1:" + std::to_string(port_)};
  }
  void SetLoopback(bool up) {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request = {};
    strcpy(request.ifr_name, "lo");
    ioctl(fd, SIOCGIFFLAGS, &request);
    request.ifr_flags =
        static_cast<short>(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    EXPECT_EQ(ioctl(fd, SIOCSIFFLAGS, &request), 0) << strerror(errno);
    close(fd);
  }

  int before_ = -1, port_ = 0;
};

TEST_F(DockerPartitionTest, AHostThatIsCutOffIsNoticedAndItsExitsAreToldWhenItIsBack) {
  ASSERT_TRUE(daemon_->MakeImage("worker", kUntilTerm));
  DockerHost host = Host();
  host.url = "tcp://127.0.0.1:" + std::to_string(port_);
  Open(Options("worker", host));
  const LaunchHandle handle = Launch(1);
  WaitForLog(1, "ready");
  const auto start = std::chrono::steady_clock::now();
  SetLoopback(false);
  auto reach = told_.NextReach();
  ASSERT_TRUE(reach);
  EXPECT_FALSE(reach->reachable);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_EQ(launcher_->Launch({.launch = 2}).status().code(), absl::StatusCode::kUnavailable);
  daemon_->Call("POST", "/containers/" + handle + "/kill");
  EXPECT_EQ(told_.exits(), 0u);
  SetLoopback(true);
  reach = told_.NextReach();
  ASSERT_TRUE(reach);
  EXPECT_TRUE(reach->reachable);
  const auto exit = told_.NextExit();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->signal, SIGKILL) << exit->cause;  // by whom, it may be told too late
}

// On a disk of its own, which is small.
class DockerDiskTest : public DockerTest {
 protected:
  void BeforeDaemon() override {
    std::filesystem::create_directories(folder_ / "data");
    ASSERT_EQ(mount("none", (folder_ / "data").c_str(), "tmpfs", 0, "size=24m"), 0)
        << strerror(errno);
  }
};

TEST_F(DockerDiskTest, AFullDiskIsTakenForATroubleThatPasses) {
  ASSERT_TRUE(daemon_->MakeImage("worker", "exit 7")) << daemon_->log();
  Open(Options("worker", Host()));
  const std::string filler = (folder_ / "data" / "filler").string();
  std::ofstream(filler) << std::string(32 << 20, 'x');
  const auto handle = launcher_->Launch({.launch = 1});
  EXPECT_EQ(handle.status().code(), absl::StatusCode::kResourceExhausted) << handle.status();
  EXPECT_THAT(std::string(handle.status().message()), HasSubstr("disk is full"));
  EXPECT_TRUE(daemon_->Containers().empty());
  std::filesystem::remove(filler);
  EXPECT_TRUE(launcher_->Launch({.launch = 2}).ok());
  EXPECT_EQ(told_.NextExit()->exit_code, 7);
}

TEST_F(DockerTest, ALostHostDoesNotKeepTheOthersFromWork) {
  ASSERT_TRUE(daemon_->MakeImage("worker", "exit 7"));
  DockerPoolOptions options = Options("worker", Host());
  DockerHost lost = Host();
  lost.name = "lost";
  lost.url = "unix://" + (folder_ / "none.sock").string();
  options.pool.hosts.push_back(lost);
  Open(options);
  EXPECT_EQ(told_.NextReach()->host, "lost");
  EXPECT_EQ(launcher_->Launch({.launch = 1, .host = "lost"}).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_TRUE(launcher_->Launch({.launch = 2, .host = "here"}).ok());
  EXPECT_EQ(told_.NextExit()->exit_code, 7);
  EXPECT_EQ(launcher_->Launch({.launch = 3}).status().code(), absl::StatusCode::kNotFound)
      << "of two hosts one must be named";
}

}  // namespace
}  // namespace trainyard::coordinator
