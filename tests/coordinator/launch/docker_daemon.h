// A Docker daemon of a test's own: its images, containers and sockets lie in a folder of its own,
// it touches no network of the machine, and any number of them run side by side.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/launch/docker_http.h"

namespace trainyard::coordinator {

class DockerDaemon {
 public:
  // Why no daemon can run here; empty: one can.
  static std::string WhyNot();

  explicit DockerDaemon(const std::filesystem::path& folder);
  // Removes all containers and ends the daemon.
  ~DockerDaemon();

  // Starts it; with these arguments beside those that keep it apart. False: see log().
  bool Start(const std::vector<std::string>& arguments = {});
  // Ends it by this signal, and waits until it is gone.
  void End(int signal);

  // Makes an image of a shell and a few tools that does what `script` says, with the worker's flags
  // as $1, $2, ...; false if the daemon did not take it.
  bool MakeImage(const std::string& name, const std::string& script);
  bool MakeImageOf(const std::string& name, const std::string& entrypoint_json);

  HttpReply Call(const std::string& method, const std::string& path, const std::string& body = "");
  // IDs of all containers, running or not.
  std::vector<std::string> Containers();
  std::string socket_url() const { return "unix://" + (folder_ / "docker.sock").string(); }
  std::string log() const;

 private:
  const std::filesystem::path folder_;
  pid_t pid_ = 0;
  std::unique_ptr<HttpLoop> http_;
};

}  // namespace trainyard::coordinator
