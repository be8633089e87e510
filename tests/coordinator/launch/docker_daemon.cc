#include "tests/coordinator/launch/docker_daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "coordinator/launch/docker_answers.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

std::string Read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

bool HasProgram(const std::string& name) {
  return std::system(("command -v " + name + " > /dev/null 2>&1").c_str()) == 0;
}

// The files of a container: busybox, and what the image of a worker has.
bool PackFiles(const fs::path& folder) {
  const std::string root = (folder / "root").string();
  const std::string commands =
      "set -e; [ -e " + root + ".tar ] && exit; mkdir -p " + root + "/bin; cd " + root +
      "; cp /bin/busybox bin/; for tool in sh cat ls id env touch sleep seq tail head grep tr; do"
      " ln -s busybox bin/$tool; done; mkdir -p tmp var/cache/trainyard var/lib/trainyard;"
      " chmod 1777 tmp; chown 10001:10001 var/cache/trainyard var/lib/trainyard;"
      " tar -cf ../root.tar .";
  return std::system(commands.c_str()) == 0;
}

}  // namespace

std::string DockerDaemon::WhyNot() {
  if (geteuid() != 0) return "a Docker daemon needs root";
  if (!HasProgram("dockerd")) return "there is no dockerd: apt-get install docker.io";
  if (access("/bin/busybox", X_OK) != 0) {
    return "there is no /bin/busybox: apt-get install busybox-static";
  }
  return "";
}

DockerDaemon::DockerDaemon(const fs::path& folder) : folder_(folder) {
  http_ = *HttpLoop::Open({.name = "test", .url = socket_url()});
}

DockerDaemon::~DockerDaemon() {
  if (pid_ == 0) return;
  for (const std::string& id : Containers()) Call("DELETE", "/containers/" + id + "?v=1&force=1");
  End(SIGTERM);
  // One that restores its containers leaves a mount.
  while (umount2((folder_ / "data").c_str(), MNT_DETACH) == 0) continue;
}

bool DockerDaemon::Start(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {"dockerd",
                                    "--data-root=" + (folder_ / "data").string(),
                                    "--exec-root=" + (folder_ / "exec").string(),
                                    "--pidfile=" + (folder_ / "pid").string(),
                                    "--host=" + socket_url(),
                                    "--bridge=none",
                                    "--iptables=false",
                                    "--ip-forward=false",
                                    "--host-gateway-ip=127.0.0.1",
                                    "--shutdown-timeout=3"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string log_path = (folder_ / "dockerd.log").string();
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // nobody is left behind, whatever happens to the test
    const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < deadline) {
    if (Call("GET", "/_ping").status == 200) return true;
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (kill(pid_, SIGKILL) == 0) waitpid(pid_, nullptr, 0);
  pid_ = 0;
  return false;
}

void DockerDaemon::End(int signal) {
  if (pid_ == 0) return;
  kill(pid_, signal);
  waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

bool DockerDaemon::MakeImage(const std::string& name, const std::string& script) {
  return MakeImageOf(name, nlohmann::json({"/bin/sh", "-c", script, "worker"}).dump());
}

bool DockerDaemon::MakeImageOf(const std::string& name, const std::string& entrypoint_json) {
  if (!PackFiles(folder_)) return false;
  const HttpReply reply = Call("POST",
                               "/images/create?fromSrc=-&repo=" + name + "&tag=latest&changes=" +
                                   PercentEncode("ENTRYPOINT " + entrypoint_json),
                               Read(folder_ / "root.tar"));
  return reply.status == 200 && reply.body.find("error") == std::string::npos;
}

HttpReply DockerDaemon::Call(const std::string& method, const std::string& path,
                             const std::string& body) {
  const auto reply = http_->Call({.method = method,
                                  .path = "/v1.41" + path,
                                  .body = body,
                                  .timeout = std::chrono::seconds(60)});
  return reply.ok() ? *reply : HttpReply{0, std::string(reply.status().message())};
}

std::vector<std::string> DockerDaemon::Containers() {
  std::vector<std::string> ids;
  const auto containers = ReadContainers(Call("GET", "/containers/json?all=1").body);
  if (!containers.ok()) return ids;
  for (const DockerContainer& container : *containers) ids.push_back(container.id);
  return ids;
}

std::string DockerDaemon::log() const {
  const std::string log = Read(folder_ / "dockerd.log");
  return log.size() > 2000 ? log.substr(log.size() - 2000) : log;
}

}  // namespace trainyard::coordinator
