// `detect`: what a repository would be run as, and why.
#include <fmt/format.h>

#include <chrono>

#include "cli/command.h"
#include "cli/coordinator_process.h"
#include "cli/signals.h"
#include "cli/style.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

// The coordinator may have to fetch a repository first.
constexpr std::chrono::milliseconds kDetectLimit{600'000};

std::string Row(const Context& context, const char* name, const std::string& value) {
  return context.style().Paint(Colour::kBold, PadRight(name, 10)) + value + "\n";
}

std::string CommandText(const v1::Program& program) {
  std::string text;
  for (const std::string& word : program.command()) {
    const bool plain = !word.empty() && word.find_first_of(" \t\n'\"$;") == word.npos;
    text += (text.empty() ? "" : " ") + (plain ? word : "'" + word + "'");
  }
  return CleanLine(text);
}

std::string Render(const Context& context, const v1::Detection& found) {
  const v1::Program& program = found.program();
  const bool native = !found.has_program();
  std::string text = Row(context, "runtime", CleanLine(found.runtime()));
  if (!native) {
    text += Row(context, "command", CommandText(program));
    text += Row(context, "CNN", program.cnn() ? "yes" : "no");
    text += Row(context, "changes",
                program.takes_changes() ? "taken from outside: it can be tuned"
                                        : "not taken from outside: it is trained as it is");
  }
  text += Row(context, "GPU", found.gpu() ? "wanted, if there is one" : "not needed");
  std::string datasets;
  for (const std::string& name : found.datasets()) {
    datasets += (datasets.empty() ? "" : ", ") + CleanLine(name);
  }
  if (!datasets.empty()) text += Row(context, "data sets", datasets);
  Table why({{"WHY"}, {"LINE", false, true}, {"SHOWS", false, true}});
  for (const v1::Evidence& evidence : found.evidence()) {
    std::string place = CleanLine(evidence.file());
    if (evidence.line() > 0) place += fmt::format(":{}", evidence.line());
    why.Add({place, CleanLine(evidence.text()), CleanLine(evidence.shows())});
  }
  if (!why.empty()) text += "\n" + why.Render(context.style());
  for (const std::string& warning : found.warnings()) {
    text += fmt::format("\n{} {}", context.style().Paint(Colour::kYellow, "warning:"),
                        CleanLine(warning));
  }
  return text + (found.warnings().empty() ? "" : "\n");
}

absl::StatusOr<v1::Detection> Ask(Context& context, const std::string& source) {
  v1::SubmitJobRequest named;
  if (absl::Status status = NameSource(context, source, "", &named); !status.ok()) return status;
  v1::DetectRequest request;
  request.set_snapshot_sha256(named.snapshot_sha256());
  request.set_url(named.url());
  request.set_revision(named.revision());
  return context.client->Call(&v1::Trainyard::Stub::Detect, request, kDetectLimit);
}

// Where nobody named a coordinator and none answers, one for this question will do.
absl::StatusOr<v1::Detection> AskSomebody(Context& context, const std::string& source) {
  if (context.coordinator_named || !absl::IsUnavailable(context.client->Connect())) {
    return Ask(context, source);
  }
  const SignalWatch signals;
  const auto coordinator = CoordinatorProcess::Start({});
  if (!coordinator.ok()) return coordinator.status();
  context.client = std::make_unique<Client>((*coordinator)->address());
  auto found = Ask(context, source);
  if (absl::Status stopped = (*coordinator)->Stop(); !stopped.ok()) return stopped;
  return found;
}

}  // namespace

void AddDetect(CLI::App& app, Context& context) {
  CLI::App* command = AddCommand(
      app, "detect", "Say what a repository would be run as, and why, without running it",
      "  trainyard detect .\n"
      "  trainyard detect https://host/team/cnn.git@main --output json\n"
      "\nWhere no coordinator is named and none runs on this machine, it starts one for the "
      "moment.\n"
      "Exit codes: 0 found, 2 not clear: what was seen, and how to say what is meant.");
  auto source = std::make_shared<std::string>();
  command
      ->add_option("SOURCE", *source, "PATH, PATH@REV, URL or URL@REV; REV: branch, tag or commit")
      ->required()
      ->type_name("");
  command->callback([&context, source] {
    context.action = [&context, source]() -> absl::StatusOr<int> {
      const auto found = AskSomebody(context, *source);
      if (!found.ok()) return found.status();
      Print(context, *found, [&] { return Render(context, *found); });
      return kDone;
    };
  });
}

}  // namespace trainyard::cli
