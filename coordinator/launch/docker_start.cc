// DockerWorkers: launching and adopting, on the threads of those who ask for it.
#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/launch/docker_template.h"
#include "coordinator/launch/docker_workers.h"

namespace trainyard::coordinator {
namespace {

using std::chrono::seconds;

constexpr seconds kConnectMax{15};  // to hear for the first time whether the host is there
constexpr seconds kStartMax{60};

// A container's ID, as the engine gives them, and not just any text of a record.
bool IsId(const std::string& handle) {
  return !handle.empty() && std::all_of(handle.begin(), handle.end(),
                                        [](unsigned char c) { return std::isxdigit(c) != 0; });
}

absl::Status Refused(const HttpReply& reply) { return absl::InternalError(ReadMessage(reply)); }

}  // namespace

absl::Status DockerWorkers::WaitUntilUp() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kConnectMax, [this] { return reach_ != Reach::kConnecting; });
  if (reach_ == Reach::kUp) return absl::OkStatus();
  return reach_ == Reach::kLost ? trouble_ : absl::UnavailableError("it has not answered yet");
}

absl::StatusOr<HttpReply> DockerWorkers::Call(HttpRequest request) {
  int64_t connection;
  {
    std::lock_guard lock(mutex_);
    connection = connection_;
    request.path = version_ + request.path;
  }
  auto reply = loop_->Call(std::move(request));
  if (absl::IsUnavailable(reply.status())) {
    // Whoever hears UNAVAILABLE waits until the host is back: so it must count as lost.
    const std::string why(reply.status().message());
    loop_->After({}, [this, connection, why] { OnLost(connection, why); });
  }
  return reply;
}

absl::StatusOr<std::string> DockerWorkers::ImageOf(const LaunchOrder& order) const {
  const auto image = options_.pool.images.find(order.runtime);
  if (image != options_.pool.images.end()) return image->second;
  return absl::FailedPreconditionError(absl::StrCat("the pool has no image for runtime ",
                                                    order.runtime, ", expected one under images"));
}

absl::StatusOr<LaunchHandle> DockerWorkers::Launch(const LaunchOrder& order,
                                                   const std::string& coordinator) {
  if (order.slot < 0 || order.slot >= host_.slots()) {
    return absl::InvalidArgumentError(
        absl::StrCat("it has no slot ", order.slot, ", expected less than ", host_.slots()));
  }
  if (auto status = WaitUntilUp(); !status.ok()) return status;
  {
    std::lock_guard lock(mutex_);
    const auto [found, is_new] = containers_.try_emplace(order.launch);
    Container& container = found->second;
    if (!is_new && container.phase == Phase::kRunning) return container.id;
    if (!is_new) {
      return absl::AbortedError(absl::StrCat("launch ", order.launch,
                                             container.phase == Phase::kEnded
                                                 ? " has ended and is being removed"
                                                 : " is being launched already"));
    }
    container.facts.memory_bytes = host_.memory_bytes;
  }
  const auto id = Make(order, coordinator);
  if (!id.ok()) {
    std::lock_guard lock(mutex_);
    containers_.erase(order.launch);
    return id.status();
  }
  Watched(order.launch, *id);
  return *id;
}

// The host's address on that network, which one without a way out leaves as the only one of the
// host's that is reached; empty: it has none.
absl::StatusOr<std::string> DockerWorkers::OwnAddressOn(const std::string& network) {
  const auto reply = Call({.path = absl::StrCat("/networks/", PercentEncode(network))});
  if (!reply.ok()) return reply.status();
  if (reply->status == 404) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is no Docker network ", network,
                     ", which the pools file names for programs; make it with `docker network "
                     "create --internal ",
                     network, "` (docs/pools.md)"));
  }
  if (reply->status != 200) return Refused(*reply);
  return ReadGateway(reply->body);
}

// The ID of a container that runs, or has run, under this number.
absl::StatusOr<std::string> DockerWorkers::Make(const LaunchOrder& order,
                                                const std::string& coordinator) {
  const auto image = ImageOf(order);
  if (!image.ok()) return image.status();
  AccessFiles access;
  if (options_.access) {
    auto issued = options_.access(order.launch);
    if (!issued.ok()) return issued.status();
    access = *std::move(issued);
  }
  ContainerPlan plan{.coordinator_id = options_.coordinator_id,
                     .pool = options_.name,
                     .coordinator = coordinator,
                     .image = *image,
                     .host = host_,
                     .order = order,
                     .mounts = options_.data_roots,
                     .programs = options_.pool.programs,
                     .access = !access.empty(),
                     .private_urls = options_.private_urls};
  if (IsProgram(order.runtime) && !plan.programs.network.empty()) {
    const auto address = OwnAddressOn(plan.programs.network);
    if (!address.ok()) return address.status();
    if (!address->empty()) plan.host_address = *address;
  }
  const HttpRequest create{.method = "POST",
                           .path = absl::StrCat("/containers/create?name=", Name(order.launch)),
                           .body = ContainerRequest(plan),
                           .timeout = kStartMax};
  auto reply = Call(create);
  if (!reply.ok()) return reply.status();
  if (reply->status == 409) {  // the name is taken: it was launched before
    const auto found = Find(order.launch, "");
    if (!found.ok()) return found.status();
    if (*found && (*found)->status != "created") return (*found)->id;
    // Without ever having run it may lack its access files, and name an old address.
    if (*found) {
      if (auto status = RemoveNow((*found)->id); !status.ok()) return status;
    }
    reply = Call(create);
    if (!reply.ok()) return reply.status();
  }
  if (reply->status != 201) return ExplainRefusal(*reply, *image);
  const auto id = ReadCreated(reply->body);
  if (!id.ok()) return id.status();
  if (auto status = Start(*id, *image, access); !status.ok()) {
    // Of a host that is lost it is a stray, once that is back.
    if (!absl::IsUnavailable(status) && !RemoveNow(*id).ok()) {
      loop_->After({}, [this, id = *id] { RemoveContainer(id, seconds(1), [] {}); });
    }
    return status;
  }
  return *id;
}

absl::Status DockerWorkers::Start(const std::string& id, const std::string& image,
                                  const AccessFiles& access) {
  if (!access.empty()) {
    auto archive = AccessArchive(access);
    if (!archive.ok()) return archive.status();
    const auto reply =
        Call({.method = "PUT",
              .path = absl::StrCat("/containers/", id, "/archive?path=", kAccessVolume),
              .body = *std::move(archive),
              .content_type = "application/x-tar"});
    if (!reply.ok()) return reply.status();
    if (reply->status != 200) return ExplainRefusal(*reply, image);
  }
  const auto reply = Call(
      {.method = "POST", .path = absl::StrCat("/containers/", id, "/start"), .timeout = kStartMax});
  if (!reply.ok()) return reply.status();
  const bool started = reply->status == 204 || reply->status == 304;
  return started ? absl::OkStatus() : ExplainRefusal(*reply, image);
}

// By its ID, or by its name where no ID is known. FAILED_PRECONDITION: the name is somebody else's.
absl::StatusOr<std::optional<DockerContainer>> DockerWorkers::Find(int64_t launch,
                                                                   const std::string& id) {
  const std::string name = id.empty() ? Name(launch) : id;
  const auto reply = Call({.path = absl::StrCat("/containers/", PercentEncode(name), "/json")});
  if (!reply.ok()) return reply.status();
  if (reply->status == 404) return std::nullopt;
  if (reply->status != 200) return Refused(*reply);
  auto container = ReadContainer(reply->body);
  if (!container.ok()) return container.status();
  if (!IsOurs(*container, launch)) {
    return absl::FailedPreconditionError(absl::StrCat("container ", name,
                                                      " is there and is not the worker of launch ",
                                                      launch, " of this pool; remove it"));
  }
  return *std::move(container);
}

absl::Status DockerWorkers::RemoveNow(const std::string& id) {
  const auto reply = Call({.method = "DELETE",
                           .path = absl::StrCat("/containers/", id, "?v=1&force=1"),
                           .timeout = kStartMax});
  if (!reply.ok()) return reply.status();
  if (reply->status < 300 || reply->status == 404) return absl::OkStatus();
  return Refused(*reply);
}

// From now on: whether it still runs is asked at once, so that no exit is missed.
void DockerWorkers::Watched(int64_t launch, const std::string& id) {
  std::lock_guard lock(mutex_);
  Container& container = containers_[launch];
  container.phase = Phase::kRunning;
  container.id = id;
  container.facts.memory_bytes = host_.memory_bytes;
  loop_->After({}, [this, launch] { Inspect(launch); });
}

absl::Status DockerWorkers::Adopt(int64_t launch, const LaunchHandle& handle) {
  {
    std::lock_guard lock(mutex_);
    if (containers_.contains(launch)) return absl::OkStatus();
  }
  if (!WaitUntilUp().ok()) {
    Watched(launch, IsId(handle) ? handle : "");  // asked for as soon as the host is back
    return absl::OkStatus();
  }
  auto found = Find(launch, handle);
  // The record of the launch may be older than its last start, and the name never is.
  if (found.ok() && !*found && !handle.empty()) found = Find(launch, "");
  if (found.ok() && *found && (*found)->status != "created") {
    Watched(launch, (*found)->id);
    return absl::OkStatus();
  }
  if (!found.ok() && !absl::IsFailedPrecondition(found.status())) {
    Watched(launch, IsId(handle) ? handle : "");  // asked for again, until there is an answer
    return absl::OkStatus();
  }
  const std::string why = !found.ok() ? std::string(found.status().message())
                          : *found    ? "was never started"
                                      : "is gone";
  return absl::NotFoundError(
      absl::StrCat("launch ", launch, " (container ", handle.substr(0, 12), ") ", why));
}

}  // namespace trainyard::coordinator
