// What a Docker Engine answers, read from its JSON. Nothing of it is trusted: whatever is not as
// expected is an error, never a crash.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/launch/docker_http.h"

namespace trainyard::coordinator {

// The labels by which the launcher knows its containers.
inline constexpr char kCoordinatorLabel[] = "trainyard.coordinator";
inline constexpr char kPoolLabel[] = "trainyard.pool";
inline constexpr char kLaunchLabel[] = "trainyard.launch";

struct DockerContainer {
  std::string id;
  std::string status;  // "created", "running", "paused", "exited", "dead", "removing", ...
  int exit_code = 0;
  bool oom_killed = false;
  std::string error;
  std::string coordinator, pool;  // of its labels
  int64_t launch = 0;             // likewise; 0: none

  // Ended, that is: with an exit code that counts.
  bool ended() const { return status == "exited" || status == "dead" || status == "removing"; }
};

struct DockerEvent {
  std::string action;  // "die", "oom", "kill", ...
  std::string container;
  int64_t launch = 0;
  int exit_code = -1;  // of "die"
  int signal = 0;      // of "kill"
};

// "/v1.41", the newest version of the API that both sides know, for the answer to GET /version.
// UNAVAILABLE: it is no Docker Engine, or one that is too old or too new, with words that say so.
absl::StatusOr<std::string> ReadVersion(const HttpReply& reply);
// The answers to GET /containers/ID/json and GET /containers/json.
absl::StatusOr<DockerContainer> ReadContainer(const std::string& body);
absl::StatusOr<std::vector<DockerContainer>> ReadContainers(const std::string& body);
// The answer to POST /containers/create: the ID.
absl::StatusOr<std::string> ReadCreated(const std::string& body);
// The host's own address on a network; empty: it has none.
absl::StatusOr<std::string> ReadGateway(const std::string& body);
// One line of GET /events; nothing if it is none that concerns a launch.
std::optional<DockerEvent> ReadEvent(std::string_view line);
// What the engine says in words: its "message", else the start of the body.
std::string ReadMessage(const HttpReply& reply);

}  // namespace trainyard::coordinator
