// Projects: add, list, remove, and the hint that something was pushed.
#include <algorithm>
#include <cctype>

#include "absl/strings/str_cat.h"
#include "coordinator/convert/api.h"
#include "coordinator/rpc/client_service.h"
#include "coordinator/rpc/request_checks.h"
#include "coordinator/rpc/status.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kNameMax = 100;

absl::Status CheckName(const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  });
  if (!name.empty() && name.size() <= kNameMax && plain && std::isalnum(name.front())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("name: found ", ForPeople(name), ", expected 1 to ", kNameMax,
                   " letters, digits, '-', '_' or '.', beginning with a letter or digit"));
}

}  // namespace

v1::Project ClientService::Show(const core::Project& project) const {
  v1::Project shown = ToProto(project);
  if (const std::string error = parts_.watcher->ErrorOf(project.id); !error.empty()) {
    shown.set_last_error(Utf8(error));
  }
  const ProjectWatcher::Seen seen = parts_.watcher->LastSeen(project.id);
  shown.set_last_seen_ms(seen.wall_ms);
  shown.set_last_seen_by(seen.by);
  return shown;
}

grpc::Status ClientService::AddProject(grpc::ServerContext*, const v1::AddProjectRequest* request,
                                       v1::Project* response) {
  if (auto status = CheckName(request->name()); !status.ok()) return ToGrpc(status);
  if (auto status = CheckTextSize("url", request->url()); !status.ok()) return ToGrpc(status);
  if (auto status = CheckTextSize("branch", request->branch()); !status.ok()) return ToGrpc(status);
  if (auto status = parts_.preparer->CheckUrl(request->url()); !status.ok()) return ToGrpc(status);
  const auto answer =
      parts_.loop->Ask(core::ProjectAdded{{}, request->name(), request->url(), request->branch()},
                       options_.answer_limit);
  if (!answer.ok()) return ToGrpc(answer.status());
  parts_.watcher->Poke(request->name());
  const auto project = parts_.loop->Read([&](const core::State& state) {
    const auto found = state.projects.find(core::ProjectId{answer->id});
    return found == state.projects.end() ? core::Project{} : found->second;
  });
  *response = Show(project);
  return grpc::Status::OK;
}

grpc::Status ClientService::ListProjects(grpc::ServerContext*, const v1::ListProjectsRequest*,
                                         v1::ListProjectsResponse* response) {
  const auto projects = parts_.loop->Read([](const core::State& state) {
    std::vector<core::Project> found;
    for (const auto& [id, project] : state.projects) {
      if (!project.removed) found.push_back(project);
    }
    return found;
  });
  for (const core::Project& project : projects) *response->add_projects() = Show(project);
  return grpc::Status::OK;
}

grpc::Status ClientService::RemoveProject(grpc::ServerContext*,
                                          const v1::RemoveProjectRequest* request,
                                          v1::RemoveProjectResponse*) {
  const auto id = parts_.loop->Read([&](const core::State& state) {
    for (const auto& [id, project] : state.projects) {
      if (!project.removed && project.name == request->name()) return id;
    }
    return core::ProjectId{};
  });
  if (!id) {
    return ToGrpc(
        absl::NotFoundError(absl::StrCat("no project is named ", ForPeople(request->name()))));
  }
  return ToGrpc(parts_.loop->Ask(core::ProjectRemoved{{}, id}, options_.answer_limit).status());
}

grpc::Status ClientService::NotifyPush(grpc::ServerContext*, const v1::NotifyPushRequest* request,
                                       v1::NotifyPushResponse* response) {
  response->set_projects(parts_.watcher->Poke(request->project()));
  return grpc::Status::OK;
}

}  // namespace trainyard::coordinator
