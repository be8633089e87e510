// From a push to a job. A push is taken up once; while its source is prepared it stands in State,
// so that it survives a crash.
#include "absl/strings/str_cat.h"
#include "coordinator/core/walk.h"

namespace trainyard::core {
namespace {

const Push* Preparing(const State& state, PushId id) {
  const auto push = state.pushes.find(id);
  return push != state.pushes.end() && push->second.state == PushState::kPreparing ? &push->second
                                                                                   : nullptr;
}

// An older push says nothing about a project that has seen a newer one.
void SetError(Turn& turn, const Push& push, const std::string& error) {
  const auto project = turn.state.projects.find(push.project);
  if (project == turn.state.projects.end() || project->second.last_push != push.id) return;
  turn.Change(push.project).last_error = error;
}

}  // namespace

void On(Turn& turn, const ProjectAdded& event) {
  for (const auto& [id, project] : turn.state.projects) {
    if (project.name != event.name || project.removed) continue;
    return turn.Refuse(event.request, absl::StatusCode::kAlreadyExists,
                       absl::StrCat("project ", event.name, " watches ", project.url, " already"));
  }
  Project& project = turn.Add(turn.state.projects, &Counters::project);
  project.name = event.name;
  project.url = event.url;
  project.branch = event.branch;
  project.created_wall_ms = turn.wall_ms;
  turn.Accept(event.request, project.id.value);
}

void On(Turn& turn, const ProjectRemoved& event) {
  const auto project = turn.state.projects.find(event.project);
  if (project == turn.state.projects.end() || project->second.removed) {
    return turn.Refuse(event.request, absl::StatusCode::kNotFound, "no such project");
  }
  turn.Change(event.project).removed = true;
  for (const auto& [id, push] : turn.state.pushes) {
    if (push.project != event.project || push.state != PushState::kPreparing) continue;
    turn.Change(id).state = PushState::kRefused;
    turn.Change(id).message = "the project was removed";
  }
  turn.Accept(event.request, event.project.value);
}

void On(Turn& turn, const PushSeen& event) {
  const auto found = turn.state.projects.find(event.project);
  if (found == turn.state.projects.end() || found->second.removed) return;
  if (found->second.last_commit == event.commit) return;
  Push& push = turn.Add(turn.state.pushes, &Counters::push);
  push.project = event.project;
  push.commit = event.commit;
  Project& project = turn.Change(event.project);
  project.last_commit = event.commit;
  project.last_push = push.id;
  project.last_error.clear();
  turn.Tell({.kind = HistoryKind::kPushSeen,
             .project = event.project,
             .text = absl::StrCat(project.name, ": commit ", event.commit)});
  turn.Do(PrepareSource{push.id, event.project, event.commit});
}

void On(Turn& turn, const SourcePrepared& event) {
  const Push* push = Preparing(turn.state, event.push);
  if (push == nullptr) return;
  JobRequest request = event.job;
  request.project = push->project;
  request.commit = push->commit;
  const Created created = CreateJob(turn, request);
  turn.Change(event.push).state = PushState::kTaken;
  turn.Change(event.push).job = created.job;
  SetError(turn, *push, "");
}

void On(Turn& turn, const SourceRefused& event) {
  const Push* push = Preparing(turn.state, event.push);
  if (push == nullptr) return;
  turn.Change(event.push).state = PushState::kRefused;
  turn.Change(event.push).message = event.message;
  SetError(turn, *push, event.message);
  turn.Tell({.kind = HistoryKind::kPushRefused, .project = push->project, .text = event.message});
}

}  // namespace trainyard::core
