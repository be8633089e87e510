#include "coordinator/web/hooks.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "coordinator/access/secrets.h"
#include "coordinator/access/signature.h"
#include "coordinator/source/repository_key.h"
#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {
namespace {

constexpr char kSignature[] = "X-Hub-Signature-256";
constexpr size_t kDeliveryIdMax = 128;

HttpResponse Say(int status, const std::string& text) { return {status, text + "\n"}; }

// Programs send hooks. A browser that does was told to by a page of somebody else's.
std::optional<HttpResponse> RefuseBrowsers(const HttpRequest& request) {
  if (request.header("Origin").empty() && request.header("Sec-Fetch-Site").empty()) return {};
  return Say(403, "found a request of a browser, expected one of a program");
}

std::optional<HttpResponse> RefuseType(const HttpRequest& request) {
  const std::string type = request.header("Content-Type");
  if (IsReadable(type)) return {};
  return Say(415, absl::StrCat("Content-Type: found ", Quoted(type),
                               ", expected application/json or application/x-www-form-urlencoded"));
}

// "main" of "refs/heads/main".
std::string_view Short(std::string_view ref) {
  for (const std::string_view start : {"refs/heads/", "refs/tags/"}) {
    if (ref.starts_with(start)) return ref.substr(start.size());
  }
  return ref;
}

// A ref that is not said may be the one that is watched.
bool Watches(const WatchedProject& project, const std::string& ref,
             const std::string& default_branch) {
  const std::string& watched = project.branch.empty() ? default_branch : project.branch;
  return ref.empty() || watched.empty() || Short(ref) == Short(watched);
}

bool IsNameOrUrl(const WatchedProject& project, const std::string& name_or_url) {
  return project.name == name_or_url || RepositoryKey(project.url) == RepositoryKey(name_or_url);
}

std::string NamesOf(const std::vector<WatchedProject>& projects) {
  return absl::StrJoin(projects, ", ", [](std::string* out, const WatchedProject& project) {
    absl::StrAppend(out, project.name);
  });
}

// The token, from whichever header the sender can set; GitLab has one of its own.
std::string TokenOf(const HttpRequest& request) {
  constexpr std::string_view kBearer = "Bearer ";
  const std::string authorization = request.header("Authorization");
  if (authorization.size() > kBearer.size() &&
      absl::EqualsIgnoreCase(authorization.substr(0, kBearer.size()), std::string(kBearer))) {
    return authorization.substr(kBearer.size());
  }
  for (const char* name : {"X-Trainyard-Token", "X-Gitlab-Token"}) {
    if (const std::string token = request.header(name); !token.empty()) return token;
  }
  return "";
}

}  // namespace

bool Deliveries::Has(const std::string& id) const {
  std::lock_guard lock(mutex_);
  return known_.contains(id);
}

void Deliveries::Add(const std::string& id) {
  if (id.empty() || id.size() > kDeliveryIdMax) return;
  std::lock_guard lock(mutex_);
  if (!known_.insert(id).second) return;
  in_order_.push_back(id);
  if (in_order_.size() <= kMax) return;
  known_.erase(in_order_.front());
  in_order_.pop_front();
}

Hooks::Hooks(std::vector<Hook> hooks, HookTargets targets)
    : hooks_(std::move(hooks)), targets_(std::move(targets)) {}

std::vector<WatchedProject> Hooks::ProjectsOf(const std::vector<const Hook*>& hooks) const {
  std::vector<WatchedProject> projects = targets_.projects();
  if (hooks_.empty()) return projects;
  std::erase_if(projects, [&](const WatchedProject& project) {
    return std::ranges::none_of(hooks, [&](const Hook* hook) {
      return hook->project.empty() || IsNameOrUrl(project, hook->project);
    });
  });
  return projects;
}

std::vector<const Hook*> Hooks::SignedBy(const std::string& body,
                                         const std::string& signature) const {
  std::vector<const Hook*> found;
  for (const Hook& hook : hooks_) {
    if (!hook.secret.empty() && IsSignedBy(hook.secret, body, signature)) found.push_back(&hook);
  }
  return found;
}

std::vector<const Hook*> Hooks::WithToken(const std::string& token) const {
  std::vector<const Hook*> found;
  if (token.empty()) return found;
  const std::string hash = HashOfSecret(token);
  for (const Hook& hook : hooks_) {
    if (SameSecret(hook.token_sha256, hash)) found.push_back(&hook);
  }
  return found;
}

void Hooks::Poke(const std::vector<WatchedProject>& projects, const std::string& by) {
  std::vector<core::ProjectId> ids;
  for (const WatchedProject& project : projects) ids.push_back(project.id);
  spdlog::info("{}: looking at {}", by, NamesOf(projects));
  targets_.poke(ids, by);
}

HttpResponse Hooks::TakeUp(const PushPayload& push, const std::vector<WatchedProject>& open_to_it,
                           const std::string& by, bool* taken) {
  if (push.deleted) return Say(200, "nothing to do: the branch was deleted");
  std::vector<WatchedProject> projects = open_to_it;
  std::erase_if(projects, [&](const WatchedProject& project) {
    return std::ranges::none_of(push.repositories, [&](const std::string& repository) {
      return IsNameOrUrl(project, repository);
    });
  });
  if (projects.empty()) {
    return Say(200, absl::StrCat("nothing to do: no project of this hook watches ",
                                 Quoted(push.repositories.front())));
  }
  std::erase_if(projects, [&](const WatchedProject& project) {
    return !Watches(project, push.ref, push.default_branch);
  });
  if (projects.empty()) {
    return Say(200, absl::StrCat("nothing to do: ", Quoted(push.ref), " is not watched"));
  }
  Poke(projects, by);
  *taken = true;
  return Say(200, absl::StrCat("looking at ", NamesOf(projects)));
}

HttpResponse Hooks::GitHub(const HttpRequest& request) {
  if (auto refused = RefuseBrowsers(request)) return *refused;
  const std::string signature = request.header(kSignature);
  if (!hooks_.empty() && !LooksSigned(signature)) {
    return Say(401, absl::StrCat(kSignature, ": found none that is sha256=<64 hex digits>"));
  }
  if (auto refused = RefuseType(request)) return *refused;
  const auto body = request.body();
  if (!body.ok()) return Unreadable(body.status());
  const auto hooks = SignedBy(*body, signature);
  if (!hooks_.empty() && hooks.empty()) {
    return Say(401, absl::StrCat(kSignature, ": no secret of this coordinator's made it"));
  }
  const std::string event = request.header("X-GitHub-Event");
  if (event == "ping") {
    return Say(200, absl::StrCat("this hook may announce pushes to: ", NamesOf(ProjectsOf(hooks))));
  }
  if (event != "push") {
    return Say(200,
               absl::StrCat("nothing to do: found the event ", Quoted(event), ", expected push"));
  }
  const auto push = ParsePush(request.header("Content-Type"), *body);
  if (!push.ok()) return Unreadable(push.status());
  const std::string delivery = request.header("X-GitHub-Delivery");
  if (deliveries_.Has(delivery))
    return Say(200, "nothing to do: this delivery was taken up before");
  bool taken = false;
  HttpResponse response = TakeUp(*push, ProjectsOf(hooks), "hook github", &taken);
  if (taken) deliveries_.Add(delivery);
  return response;
}

HttpResponse Hooks::Push(const HttpRequest& request) {
  if (auto refused = RefuseBrowsers(request)) return *refused;
  const std::string signature = request.header(kSignature);
  std::vector<const Hook*> hooks = WithToken(TokenOf(request));
  if (!hooks_.empty() && hooks.empty() && !LooksSigned(signature)) {
    return Say(401, absl::StrCat("found no token that this coordinator knows and no ", kSignature));
  }
  if (auto refused = RefuseType(request)) return *refused;
  const auto body = request.body();
  if (!body.ok()) return Unreadable(body.status());
  if (hooks.empty()) hooks = SignedBy(*body, signature);
  if (!hooks_.empty() && hooks.empty()) {
    return Say(401, absl::StrCat(kSignature, ": no secret of this coordinator's made it"));
  }
  const auto push = ParsePush(request.header("Content-Type"), *body);
  if (!push.ok()) return Unreadable(push.status());
  bool taken = false;
  return TakeUp(*push, ProjectsOf(hooks), "hook push", &taken);
}

HttpResponse Hooks::NotifyCommit(const HttpRequest& request) {
  if (auto refused = RefuseBrowsers(request)) return *refused;
  // Parameters in the address come first, so that a stranger's body is not read.
  HttpParams params = request.query;
  const auto token = [&] {
    const std::string in_header = TokenOf(request);
    return in_header.empty() ? ParamOf(params, "token") : in_header;
  };
  std::vector<const Hook*> hooks = WithToken(token());
  const bool may_be_in_body = request.method == "POST" && token().empty();
  if (hooks_.empty() || !hooks.empty() || may_be_in_body) {
    const auto body = request.body();
    if (!body.ok()) return Unreadable(body.status());
    params.merge(ParseForm(*body));
    if (hooks.empty()) hooks = WithToken(token());
  }
  if (!hooks_.empty() && hooks.empty()) {
    return Say(401, token().empty() ? "An access token is required" : "Invalid access token");
  }
  const std::string url = ParamOf(params, "url");
  if (url.empty()) return Say(400, "url: found none, expected the repository's");
  const std::string branches = ParamOf(params, "branches");
  const std::vector<std::string> wanted = absl::StrSplit(branches, ',', absl::SkipWhitespace());
  std::vector<WatchedProject> projects = ProjectsOf(hooks);
  std::erase_if(projects, [&](const WatchedProject& project) {
    const bool watched = wanted.empty() || std::ranges::any_of(wanted, [&](const auto& branch) {
                           return Watches(project, branch, "");
                         });
    return !watched || !IsNameOrUrl(project, url);
  });
  if (projects.empty()) {
    return Say(200, absl::StrCat("No git jobs using repository: ", Quoted(url),
                                 " and branches: ", Quoted(branches)));
  }
  Poke(projects, "hook notifyCommit");
  // A line for each, as Jenkins has it.
  std::vector<std::string> lines;
  for (const WatchedProject& project : projects) {
    lines.push_back(absl::StrCat("Scheduled polling of ", project.name));
  }
  return Say(200, absl::StrJoin(lines, "\n"));
}

}  // namespace trainyard::coordinator
