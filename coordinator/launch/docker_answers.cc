#include "coordinator/launch/docker_answers.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;

// 1.41 is Docker 20.10. Nothing that is used here has changed in any version up to the newest.
struct ApiVersion {
  int major = 0, minor = 0;
  auto operator<=>(const ApiVersion&) const = default;
};
constexpr ApiVersion kOldest{1, 41};
constexpr ApiVersion kNewest{1, 47};
constexpr size_t kMessageMax = 500;

json Parse(std::string_view text) { return json::parse(text, nullptr, false); }

// A member of an object, or null; `value` may be anything.
const json& Member(const json& value, const char* name) {
  static const json nothing;
  if (!value.is_object()) return nothing;
  const auto found = value.find(name);
  return found == value.end() ? nothing : *found;
}

std::string Text(const json& value, const char* name) {
  const json& member = Member(value, name);
  return member.is_string() ? member.get<std::string>() : "";
}

int64_t Number(const json& value, const char* name, int64_t otherwise = 0) {
  const json& member = Member(value, name);
  if (member.is_number_integer()) return member.get<int64_t>();
  int64_t number;  // attributes of events are texts
  return absl::SimpleAtoi(Text(value, name), &number) ? number : otherwise;
}

std::optional<ApiVersion> ParseVersion(const std::string& text) {
  const size_t dot = text.find('.');
  ApiVersion version;
  if (dot == std::string::npos || !absl::SimpleAtoi(text.substr(0, dot), &version.major) ||
      !absl::SimpleAtoi(text.substr(dot + 1), &version.minor)) {
    return std::nullopt;
  }
  return version;
}

std::string ToText(ApiVersion version) { return absl::StrCat(version.major, ".", version.minor); }

std::string Start(std::string text) {
  if (text.size() > kMessageMax) text = text.substr(0, kMessageMax) + "...";
  for (char& c : text) c = static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  return text;
}

absl::Status Unexpected(const char* what, const std::string& body) {
  return absl::UnavailableError(absl::StrCat("it does not answer like a Docker Engine: expected ",
                                             what, ", found '", Start(body.substr(0, 100)), "'"));
}

void ReadLabels(const json& labels, DockerContainer* container) {
  container->coordinator = Text(labels, kCoordinatorLabel);
  container->pool = Text(labels, kPoolLabel);
  container->launch = Number(labels, kLaunchLabel);
}

}  // namespace

absl::StatusOr<std::string> ReadVersion(const HttpReply& reply) {
  const json answer = Parse(reply.body);
  const auto newest = ParseVersion(Text(answer, "ApiVersion"));
  if (reply.status != 200 || !newest) {
    return Unexpected("a version with ApiVersion",
                      absl::StrCat("status ", reply.status, ": ", reply.body));
  }
  if (*newest < kOldest) {
    return absl::UnavailableError(absl::StrCat("its Docker Engine ", Start(Text(answer, "Version")),
                                               " speaks API ", ToText(*newest), ", expected ",
                                               ToText(kOldest), " or newer (Docker 20.10)"));
  }
  const auto oldest = ParseVersion(Text(answer, "MinAPIVersion"));
  if (oldest && *oldest > kNewest) {
    return absl::UnavailableError(absl::StrCat("its Docker Engine speaks API ", ToText(*oldest),
                                               " and newer, expected ", ToText(kNewest),
                                               " or older too"));
  }
  return absl::StrCat("/v", ToText(std::min(*newest, kNewest)));
}

absl::StatusOr<DockerContainer> ReadContainer(const std::string& body) {
  const json answer = Parse(body);
  const json& state = Member(answer, "State");
  DockerContainer container;
  container.id = Text(answer, "Id");
  container.status = Text(state, "Status");
  if (container.id.empty() || container.status.empty()) {
    return Unexpected("a container with Id and State", body);
  }
  container.exit_code = static_cast<int>(Number(state, "ExitCode"));
  const json& oom_killed = Member(state, "OOMKilled");
  container.oom_killed = oom_killed.is_boolean() && oom_killed.get<bool>();
  container.error = Start(Text(state, "Error"));
  ReadLabels(Member(Member(answer, "Config"), "Labels"), &container);
  return container;
}

absl::StatusOr<std::vector<DockerContainer>> ReadContainers(const std::string& body) {
  const json answer = Parse(body);
  if (!answer.is_array()) return Unexpected("a list of containers", body);
  std::vector<DockerContainer> containers;
  for (const json& entry : answer) {
    DockerContainer container;
    container.id = Text(entry, "Id");
    container.status = Text(entry, "State");
    if (container.id.empty()) return Unexpected("containers with Id", body);
    ReadLabels(Member(entry, "Labels"), &container);
    containers.push_back(std::move(container));
  }
  return containers;
}

absl::StatusOr<std::string> ReadCreated(const std::string& body) {
  std::string id = Text(Parse(body), "Id");
  if (id.empty()) return Unexpected("a created container's Id", body);
  return id;
}

absl::StatusOr<std::string> ReadGateway(const std::string& body) {
  const json answer = Parse(body);
  if (Text(answer, "Name").empty()) return Unexpected("a network with Name", body);
  const json& configs = Member(Member(answer, "IPAM"), "Config");
  if (!configs.is_array()) return "";
  for (const json& config : configs) {
    const std::string gateway = Text(config, "Gateway");
    if (!gateway.empty()) return gateway.substr(0, gateway.find('/'));
  }
  return "";
}

std::optional<DockerEvent> ReadEvent(std::string_view line) {
  const json answer = Parse(line);
  const json& actor = Member(answer, "Actor");
  const json& attributes = Member(actor, "Attributes");
  DockerEvent event;
  event.action = Text(answer, "Action");
  event.container = Text(actor, "ID");
  event.launch = Number(attributes, kLaunchLabel);
  if (event.action.empty() || event.container.empty() || event.launch <= 0) return std::nullopt;
  event.exit_code = static_cast<int>(Number(attributes, "exitCode", -1));
  event.signal = static_cast<int>(Number(attributes, "signal"));
  return event;
}

std::string ReadMessage(const HttpReply& reply) {
  const std::string message = Text(Parse(reply.body), "message");
  return Start(message.empty() ? absl::StrCat("HTTP status ", reply.status, ": ", reply.body)
                               : message);
}

}  // namespace trainyard::coordinator
