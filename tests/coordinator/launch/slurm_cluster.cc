#include "tests/coordinator/launch/slurm_cluster.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr char kPath[] = "/usr/sbin:/usr/bin:/sbin:/bin";
constexpr auto kPatience = std::chrono::seconds(60);

bool WaitUntil(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

std::string ReadAll(const fs::path& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// A port that nobody listens at just now.
int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  close(fd);
  return ntohs(address.sin_port);
}

void End(pid_t& pid) {
  if (pid == 0) return;
  kill(pid, SIGTERM);
  if (!WaitUntil([pid] { return waitpid(pid, nullptr, WNOHANG) == pid; })) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  pid = 0;
}

}  // namespace

std::string SlurmCluster::WhyNot() {
  if (geteuid() != 0) return "slurmctld and slurmd of the tests run as root, and we do not";
  for (const char* const program : {"munged", "slurmctld", "slurmd", "sbatch", "srun"}) {
    if (const auto found = FindProgram(program, "", kPath); !found.ok()) {
      return absl::StrCat(std::string(found.status().message()),
                          " (Debian packages slurm-wlm and munge)");
    }
  }
  return "";
}

absl::StatusOr<std::unique_ptr<SlurmCluster>> SlurmCluster::Start() {
  auto cluster = std::make_unique<SlurmCluster>();
  if (const auto status = cluster->Prepare(); !status.ok()) return status;
  const fs::path munge = cluster->folder_ / "munge";
  auto status =
      cluster->Spawn(&cluster->munged_, "munged",
                     {"--foreground", absl::StrCat("--key-file=", (munge / "key").string()),
                      absl::StrCat("--socket=", (munge / "socket").string()),
                      absl::StrCat("--pid-file=", (munge / "pid").string()),
                      absl::StrCat("--seed-file=", (munge / "seed").string()), "--num-threads=2"});
  if (!status.ok()) return status;
  if (!WaitUntil([&] { return fs::exists(munge / "socket"); })) {
    return absl::DeadlineExceededError("munged does not come up");
  }
  if (status = cluster->StartController(); !status.ok()) return status;
  status = cluster->Spawn(&cluster->node_, "slurmd",
                          {"-D", "-f", cluster->Conf(), "-N", cluster->host_});
  if (!status.ok()) return status;
  if (status = cluster->AwaitNode(); !status.ok()) return status;
  return cluster;
}

SlurmCluster::~SlurmCluster() {
  if (controller_ != 0) EndJobs();
  End(node_);
  End(controller_);
  EndLeftovers();
  End(munged_);
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

absl::Status SlurmCluster::Prepare() {
  std::string name = (fs::temp_directory_path() / "trainyard-slurm-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) return absl::InternalError("no temporary folder");
  folder_ = name;
  chmod(name.c_str(), 0755);  // munged insists that everybody can reach its socket
  for (const char* const part : {"munge", "state", "spool", "dev"}) {
    fs::create_directory(folder_ / part);
    chmod((folder_ / part).c_str(), 0755);
  }
  fs::create_symlink("/dev/null", folder_ / "dev" / "gpu0");
  fs::create_symlink("/dev/zero", folder_ / "dev" / "gpu1");
  std::random_device random;
  std::ofstream key(folder_ / "munge" / "key");
  for (int i = 0; i < 16; ++i) key << absl::StrCat(absl::Hex(random(), absl::kZeroPad8));
  key.close();
  chmod((folder_ / "munge" / "key").c_str(), 0600);

  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  host_ = host;
  host_ = host_.substr(0, host_.find('.'));
  const passwd* const user = getpwuid(geteuid());
  for (const char* const file : {"slurm.conf", "gres.conf", "cgroup.conf"}) {
    const std::string text = ReadAll(fs::path(TRAINYARD_SLURM_CONF) / absl::StrCat(file, ".in"));
    std::ofstream(folder_ / file) << absl::StrReplaceAll(
        text, {{"@FOLDER@", folder_.string()},
               {"@HOST@", host_},
               {"@USER@", user != nullptr ? user->pw_name : "root"},
               {"@CONTROLLER_PORT@", absl::StrCat(FreePort())},
               {"@NODE_PORT@", absl::StrCat(FreePort())}});
  }
  return absl::OkStatus();
}

absl::Status SlurmCluster::Spawn(pid_t* pid, const std::string& program,
                                 std::vector<std::string> arguments) {
  const auto file = FindProgram(program, "", kPath);
  if (!file.ok()) return file.status();
  arguments.insert(arguments.begin(), *file);
  std::vector<char*> words;
  for (std::string& word : arguments) words.push_back(word.data());
  words.push_back(nullptr);
  const std::string log = (folder_ / absl::StrCat(program, ".out")).string();
  const std::string conf = absl::StrCat("SLURM_CONF=", Conf());
  const char* const variables[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", conf.c_str(), nullptr};
  *pid = fork();
  if (*pid < 0) return absl::InternalError("cannot fork");
  if (*pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // a test that crashes leaves no daemon
    const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execve(words[0], words.data(), const_cast<char* const*>(variables));
    _exit(127);
  }
  return absl::OkStatus();
}

absl::Status SlurmCluster::StartController() {
  const auto status = Spawn(&controller_, "slurmctld", {"-D", "-f", Conf()});
  if (!status.ok()) return status;
  if (!WaitUntil([this] { return absl::StrContains(Run("scontrol", {"ping"}), "is UP"); })) {
    return absl::DeadlineExceededError(
        absl::StrCat("slurmctld does not come up: ", ReadAll(folder_ / "slurmctld.log")));
  }
  return absl::OkStatus();
}

absl::Status SlurmCluster::AwaitNode() const {
  const bool ready = WaitUntil([this] {
    return absl::StartsWith(Run("sinfo", {"--noheader", "--format=%T", "-p", "train"}), "idle");
  });
  if (ready) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat("slurmd does not come up: ", ReadAll(folder_ / "slurmd.log")));
}

void SlurmCluster::StopController() {
  if (controller_ == 0) return;
  kill(controller_, SIGKILL);
  waitpid(controller_, nullptr, 0);
  controller_ = 0;
}

void SlurmCluster::Forget(const std::string& job) {
  StopController();
  for (const char* const file : {"job_state", "job_state.old"}) {
    fs::remove(folder_ / "state" / file);
  }
  if (const auto status = StartController(); !status.ok()) return;
  WaitUntil([&] { return absl::StrContains(Run("scontrol", {"show", "job", job}), "Invalid"); });
}

std::map<std::string, std::string> SlurmCluster::environment() const {
  return {{"SLURM_CONF", Conf()}, {"PATH", "/usr/bin:/bin"}};
}

std::string SlurmCluster::Run(const std::string& program,
                              std::vector<std::string> arguments) const {
  const auto file = FindProgram(program, "", kPath);
  if (!file.ok()) return std::string(file.status().message());
  const auto result = RunCommand(
      {.program = *file,
       .arguments = std::move(arguments),
       .environment = {"PATH=/usr/bin:/bin", "HOME=/", absl::StrCat("SLURM_CONF=", Conf())},
       .timeout_ms = 20'000});
  return result.ok() ? absl::StrCat(result->output, result->errors)
                     : std::string(result.status().message());
}

void SlurmCluster::EndJobs() const {
  Run("scancel", {"--me"});
  WaitUntil([this] { return Run("squeue", {"--noheader", "--me"}).empty(); });
}

// Job steps outlive slurmd. What still runs is known by its environment, which names our folder.
void SlurmCluster::EndLeftovers() const {
  const std::string ours = absl::StrCat("SLURM_CONF=", Conf());
  for (const auto& entry : fs::directory_iterator("/proc")) {
    int pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid) || pid == getpid()) continue;
    if (pid == munged_) continue;
    if (absl::StrContains(ReadAll(entry.path() / "environ"), ours)) kill(pid, SIGKILL);
  }
}

}  // namespace trainyard::coordinator
