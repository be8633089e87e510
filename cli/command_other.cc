// `project` and `version`.
#include <fmt/format.h>

#include <filesystem>

#include "cli/command.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Trainyard::Stub;

// How long ago the newest push was seen, and how: "4 min ago, hook github".
std::string Seen(const v1::Project& project, const Context& context) {
  if (project.last_seen_ms() == 0) return "-";
  const int64_t age_ms =
      std::max<int64_t>(0, context.environment.now_ms() - project.last_seen_ms());
  return fmt::format("{} ago, {}", FormatDuration(age_ms), CleanLine(project.last_seen_by(), 40));
}

std::string RenderProjects(const v1::ListProjectsResponse& response, const Context& context) {
  if (response.projects().empty())
    return "No projects yet. `trainyard project add URL --name NAME` makes one.\n";
  Table table({{"NAME", false, true},
               {"URL", false, true},
               {"BRANCH", false, true},
               {"LAST COMMIT"},
               {"SEEN"},
               {"PROBLEM", false, true}});
  for (const v1::Project& project : response.projects()) {
    table.Add({CleanLine(project.name(), 200), CleanLine(project.url(), 300),
               project.branch().empty() ? "(default)" : CleanLine(project.branch(), 200),
               project.last_commit().empty() ? "-" : CleanLine(project.last_commit().substr(0, 12)),
               Seen(project, context),
               Cell(project.last_error().empty() ? "-" : CleanLine(project.last_error(), 1000),
                    project.last_error().empty() ? Colour::kPlain : Colour::kRed)});
  }
  return table.Render(context.style());
}

absl::StatusOr<int> AddOneProject(Context& context, v1::AddProjectRequest request) {
  // A path means this machine's; the coordinator may run in another folder.
  std::error_code error;
  if (std::filesystem::exists(request.url(), error))
    request.set_url(std::filesystem::absolute(request.url()).string());
  const auto project =
      context.client->Call(&Stub::AddProject, request, Client::Milliseconds(120'000));
  if (!project.ok()) return project.status();
  Print(context, *project, [&] {
    return fmt::format("project {} watches {}{}\n", CleanLine(project->name()),
                       CleanLine(project->url()),
                       project->branch().empty() ? "" : ", branch " + CleanLine(project->branch()));
  });
  return kDone;
}

}  // namespace

void AddProject(CLI::App& app, Context& context) {
  CLI::App* project =
      AddCommand(app, "project", "Repositories that are watched: every push becomes a job",
                 "  trainyard project add https://host/team/cnn.git --name cnn --branch main\n"
                 "  trainyard project list");
  project->require_subcommand(1);
  struct Options {
    std::string url, name, branch;
  };
  auto options = std::make_shared<Options>();
  CLI::App* add =
      AddCommand(*project, "add", "Watch a repository",
                 "  trainyard project add https://host/team/cnn.git --name cnn\n"
                 "  trainyard project add git@host:team/cnn.git --name cnn --branch main\n"
                 "  trainyard project add /srv/git/cnn.git --name cnn");
  add->add_option("URL", options->url, "https://, ssh:// or file:// URL, user@host:path, or a path")
      ->required()
      ->type_name("");
  add->add_option("--name", options->name, "What the project is called")
      ->required()
      ->type_name("NAME");
  add->add_option("--branch", options->branch,
                  "The branch to watch (default: the repository's own default)")
      ->type_name("BRANCH");
  add->callback([&context, options] {
    context.action = [&context, options] {
      v1::AddProjectRequest request;
      request.set_url(options->url);
      request.set_name(options->name);
      request.set_branch(options->branch);
      return AddOneProject(context, std::move(request));
    };
  });
  CLI::App* list =
      AddCommand(*project, "list", "All watched repositories", "  trainyard project list");
  list->callback([&context] {
    context.action = [&context]() -> absl::StatusOr<int> {
      const auto response = context.client->Call(&Stub::ListProjects, v1::ListProjectsRequest());
      if (!response.ok()) return response.status();
      Print(context, *response, [&] { return RenderProjects(*response, context); });
      return kDone;
    };
  });
  CLI::App* remove =
      AddCommand(*project, "remove", "Watch a repository no longer; its jobs and models stay",
                 "  trainyard project remove cnn");
  remove->add_option("NAME", options->name, "The project's name")->required()->type_name("");
  remove->callback([&context, options] {
    context.action = [&context, options]() -> absl::StatusOr<int> {
      v1::RemoveProjectRequest request;
      request.set_name(options->name);
      const auto response = context.client->Call(&Stub::RemoveProject, request);
      if (!response.ok()) return response.status();
      Print(context, *response,
            [&] { return fmt::format("project {} removed\n", CleanLine(options->name)); });
      return kDone;
    };
  });
}

void AddVersion(CLI::App& app, Context& context) {
  CLI::App* version = AddCommand(
      app, "version", "The version of this program and of the coordinator", "  trainyard version");
  version->callback([&context] {
    context.action = [&context]() -> absl::StatusOr<int> {
      v1::ServerInfo info;
      bool answered = false;
      std::string silence = fmt::format("no coordinator at {}", context.client->address());
      if (context.client->Connect(Client::Milliseconds(2'000)).ok()) {
        const auto response = context.client->Call(&Stub::GetServerInfo, v1::GetServerInfoRequest(),
                                                   Client::Milliseconds(2'000));
        answered = response.ok();
        if (answered) info = *response;
        if (!answered) silence = CleanLines(std::string(response.status().message()));
      }
      if (context.json()) {
        const std::string server = answered ? Json(info, true) : "null\n";
        context.out() << ForPrograms(
            context, fmt::format("{{\"version\":\"{}\",\"coordinator\":{}}}\n", TRAINYARD_VERSION,
                                 server.substr(0, server.size() - 1)));
        return kDone;
      }
      context.out() << fmt::format("trainyard {}\n", TRAINYARD_VERSION);
      const std::string http = info.http_address().empty()
                                   ? ""
                                   : fmt::format(", pushes at {}", CleanLine(info.http_address()));
      context.out() << (answered ? fmt::format("coordinator {} at {}{}, state in {}\n",
                                               CleanLine(info.version()), context.client->address(),
                                               http, CleanLine(info.state_dir()))
                                 : silence + "\n");
      return kDone;
    };
  });
}

}  // namespace trainyard::cli
