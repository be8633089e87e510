#include "cli/app.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include "cli/command.h"
#include "cli/field.h"
#include "cli/help.h"
#include "cli/parse.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

constexpr const char* kFooter = R"(
Examples:
  trainyard up                                   start a coordinator and a worker on this machine
  trainyard train . -o models                    all in one: train this folder, fetch the model
  trainyard submit . --target 0.92 --watch       train the code in this folder, and look on
  trainyard project add https://host/team/cnn.git --name cnn    train every push from now on
  trainyard job show 7                           trials, reasons, accuracies, the best model
  trainyard model get 7 -o best.onnx

Exit codes: 0 target met or done, 1 unexpected error, 2 wrong usage or bad input, 3 finished below
the target, 4 job failed, 5 job cancelled, 6 coordinator unreachable, 7 timeout, 8 not let in by the
coordinator, 130 or 143 ended by SIGINT or SIGTERM.
`trainyard COMMAND --help` tells more, with examples.)";

int ExitCodeOfError(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return kUsage;
    case absl::StatusCode::kUnavailable:
      return kUnreachable;
    case absl::StatusCode::kDeadlineExceeded:
      return kTimeout;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return kRefused;
    default:
      return kUnexpected;
  }
}

void BuildApp(CLI::App& app, Context& context) {
  app.description(
      "Trainyard trains the CNN in your repository until its target is met, and gives you the best "
      "model.");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  app.formatter(std::make_shared<HelpFormatter>());  // CLI11 keeps its formatters this way
  app.add_option("--coordinator", context.coordinator,
                 "The coordinator, HOST:PORT or unix:PATH (default 127.0.0.1:7700; environment: "
                 "TRAINYARD_COORDINATOR)")
      ->type_name("ADDRESS")
      ->each([&context](const std::string&) { context.coordinator_named = true; });
  app.add_option("--access", context.access.folder,
                 "Folder with what the coordinator asks for: token, ca.pem (environment: "
                 "TRAINYARD_ACCESS)")
      ->type_name("DIR");
  app.add_option("--token-file", context.access.token_file,
                 "File with the token to show (environment: TRAINYARD_TOKEN, the token itself)")
      ->type_name("FILE");
  app.add_option("--ca", context.access.ca_file,
                 "Certificate to trust, PEM; makes the connection TLS (environment: TRAINYARD_CA)")
      ->type_name("FILE");
  app.add_option("--output", context.output, "table for people (default), json for programs")
      ->type_name("json|table")
      ->check(CLI::IsMember({"json", "table"}));
  app.add_option("--field", context.field,
                 "Of the JSON form only this, without quotes: state, trials[].restarts")
      ->type_name("PATH");
  AddUp(app, context);
  AddTrain(app, context);
  AddSubmit(app, context);
  AddDetect(app, context);
  AddWatchAndWait(app, context);
  AddJob(app, context);
  AddTweak(app, context);
  AddModel(app, context);
  AddImport(app, context);
  AddProject(app, context);
  AddPool(app, context);
  AddWorker(app, context);
  AddToken(app, context);
  AddVersion(app, context);
}

// The command that the arguments got as far as naming, from the program itself on.
std::vector<const CLI::App*> CommandPath(const CLI::App& app) {
  std::vector<const CLI::App*> path = {&app};
  while (!path.back()->get_subcommands().empty())
    path.push_back(path.back()->get_subcommands().front());
  return path;
}

int UsageError(const CLI::App& app, const CLI::ParseError& error, const Environment& environment) {
  const std::vector<const CLI::App*> path = CommandPath(app);
  std::string name;
  for (const CLI::App* command : path) name += (name.empty() ? "" : " ") + command->get_name();
  std::string text = CleanLines(error.what(), 2000);
  const CLI::App& last = *path.back();
  if (last.get_require_subcommand_min() > 0) {  // a command is missing, or is none
    const std::vector<std::string> rest = app.remaining(true);
    const std::string nearest = rest.empty() ? "" : NearestCommand(last, rest.front());
    text = rest.empty() ? "which command?"
                        : fmt::format("\"{}\" is no command", CleanLine(rest.front(), 100));
    if (!nearest.empty()) text += fmt::format("; did you mean {}?", nearest);
    text += fmt::format(" Expected one of {}", CommandNames(last));
  }
  environment.err << environment.err_style.Paint(Colour::kRed, "trainyard:") << " " << text
                  << "\nSee `" << name << " --help`.\n";
  return kUsage;
}

absl::StatusOr<int> Perform(Context& context) {
  const auto address = ParseAddress(context.coordinator);
  if (!address.ok()) return address.status();
  std::vector<std::string> warnings;
  auto keys = ReadKeys(context.access, &warnings);
  for (const std::string& warning : warnings) {
    context.err() << "trainyard: warning: " << CleanLine(warning) << "\n";
  }
  if (!keys.ok()) return keys.status();
  if (!context.field.empty()) {
    if (absl::Status status = CheckField(context.field); !status.ok()) return status;
  }
  context.client = std::make_unique<Client>(*address, *std::move(keys));
  const absl::StatusOr<int> code = context.action();
  return code.ok() && !context.field_problem.ok() ? context.field_problem : code;
}

}  // namespace

CLI::App* AddCommand(CLI::App& parent, const std::string& name, const std::string& description,
                     const std::string& examples) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->group("Commands");
  if (!examples.empty()) command->footer("\nExamples:\n" + examples);
  return command;
}

void AddSetOption(CLI::App* command, std::vector<std::string>& overrides) {
  command
      ->add_option("--set", overrides,
                   "Change one key of the spec, such as train.lr=0.05 (repeatable)")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

std::string Json(const google::protobuf::Message& message, bool line) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = !line;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) return "{}\n";  // only for messages that hold Any, and ours don't
  if (line) json += "\n";
  return json;
}

std::string ForPrograms(Context& context, const google::protobuf::Message& message, bool line) {
  return ForPrograms(context, Json(message, line));
}

std::string ForPrograms(Context& context, const std::string& json) {
  if (context.field.empty()) return json;
  const auto value = FieldOf(json, context.field);
  if (value.ok()) return *value;
  context.field_problem.Update(value.status());
  return "";
}

void Print(Context& context, const google::protobuf::Message& message,
           const std::function<std::string()>& table) {
  context.out() << (context.json() ? ForPrograms(context, message, false) : table());
}

int Run(int argc, const char* const* argv, const Environment& environment) {
  Context context(environment);
  if (const char* address = std::getenv("TRAINYARD_COORDINATOR");
      address != nullptr && *address != '\0') {
    context.coordinator = address;
    context.coordinator_named = true;
  }
  CLI::App app("", "trainyard");
  BuildApp(app, context);
  int code = kDone;
  try {
    app.parse(argc, argv);
    const absl::StatusOr<int> result = Perform(context);
    if (result.ok()) {
      code = *result;
    } else {
      environment.err << environment.err_style.Paint(Colour::kRed, "trainyard:") << " "
                      << CleanLines(std::string(result.status().message())) << "\n";
      code = ExitCodeOfError(result.status());
    }
  } catch (const CLI::CallForHelp&) {
    environment.out << app.help();  // of the command that was named
  } catch (const CLI::ParseError& error) {
    code = UsageError(app, error, environment);
  }
  environment.out.flush();
  if (!environment.out.good() && code == kDone) {
    environment.err << "trainyard: the output could not be written in full\n";
    return kUnexpected;
  }
  return code;
}

}  // namespace trainyard::cli
