// What the commands share: where output goes, the coordinator, and how a command joins the program.
// One command_*.cc holds one family of commands.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <google/protobuf/message.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "cli/access_options.h"
#include "cli/app.h"
#include "cli/client.h"
#include "cli/exit_code.h"

namespace trainyard::cli {

struct Context {
  explicit Context(const Environment& environment) : environment(environment) {}

  const Environment& environment;
  std::string coordinator = "127.0.0.1:7700";  // as typed
  bool coordinator_named = false;              // somebody typed it, or the environment has it
  AccessOptions access;
  std::string output = "table";
  std::string field;               // of the JSON form only this, see field.h; empty: all of it
  absl::Status field_problem;      // the first one: results have no such field
  std::unique_ptr<Client> client;  // there once the arguments have been read
  // What the command line asks for; the exit code, or what went wrong.
  std::function<absl::StatusOr<int>()> action;

  bool json() const { return output == "json" || !field.empty(); }
  std::ostream& out() const { return environment.out; }
  std::ostream& err() const { return environment.err; }
  const Style& style() const { return environment.out_style; }
};

void AddUp(CLI::App& app, Context& context);
void AddTrain(CLI::App& app, Context& context);
void AddSubmit(CLI::App& app, Context& context);
void AddDetect(CLI::App& app, Context& context);
void AddWatchAndWait(CLI::App& app, Context& context);
void AddJob(CLI::App& app, Context& context);
void AddTweak(CLI::App& app, Context& context);
void AddModel(CLI::App& app, Context& context);
void AddImport(CLI::App& app, Context& context);
void AddProject(CLI::App& app, Context& context);
void AddPool(CLI::App& app, Context& context);
void AddWorker(CLI::App& app, Context& context);
void AddToken(CLI::App& app, Context& context);
void AddVersion(CLI::App& app, Context& context);

// A command below `parent` with examples in its help. A command with commands of its own does
// nothing alone.
CLI::App* AddCommand(CLI::App& parent, const std::string& name, const std::string& description,
                     const std::string& examples);
// The option --set KEY=VALUE, any number of times.
void AddSetOption(CLI::App* command, std::vector<std::string>& overrides);

// The message in the protobuf JSON form with proto names and default fields; `line`: on one line.
std::string Json(const google::protobuf::Message& message, bool line);
// What programs get of that: all, or the field that they asked for.
std::string ForPrograms(Context& context, const google::protobuf::Message& message, bool line);
std::string ForPrograms(Context& context, const std::string& json);
// Prints `message` for programs, or else what `table` makes of it.
void Print(Context& context, const google::protobuf::Message& message,
           const std::function<std::string()>& table);

// What a job is made of.
struct SubmitOptions {
  std::string source;
  std::string import_path;    // a file of the folder `source` to import, instead of training
  bool import_alone = false;  // nothing but that file goes up
  std::string target;
  std::string budget;
  std::string spec_file;
  std::vector<std::string> overrides;
  bool manual = false;
  bool again = false;
};
// SOURCE, --target, --budget, --set and --file.
void AddSubmitOptions(CLI::App* command, SubmitOptions& options);
// Says in the request where the source is: PATH, PATH@REV, URL or URL@REV; of a folder it uploads
// what is there, with `spec_file` in place of its trainyard.yaml unless that is empty.
absl::Status NameSource(Context& context, const std::string& text, const std::string& spec_file,
                        v1::SubmitJobRequest* request);
// Makes the job; of a folder it uploads what is there.
absl::StatusOr<v1::SubmitJobResponse> SubmitSource(Context& context, const SubmitOptions& options);
// Says which job it is: to programs as the result if it is one (`line`: on one line).
void TellSubmitted(Context& context, const v1::SubmitJobResponse& response, bool as_result,
                   bool line);

// How `watch`, `wait` and `submit` follow a job.
struct FollowJobOptions {
  std::string until = "end";  // or "trial"
  std::string timeout;        // a duration; empty: none
  std::string junit;          // a file; empty: none
  std::string reconnect = "1h";
  bool checkpoints = false;  // `watch`: a line for each
  // Outlives the command: people are told how to look on again, and where the model lies.
  bool coordinator_stays = true;
};
void AddFollowOptions(CLI::App* command, FollowJobOptions& options, bool with_report);
absl::Status CheckFollowOptions(const FollowJobOptions& options);
absl::StatusOr<int> WatchJob(Context& context, int64_t job, const FollowJobOptions& options);
absl::StatusOr<int> WaitForJob(Context& context, int64_t job, const FollowJobOptions& options);

// `--program-path`, of a coordinator that this command starts.
void AddProgramPath(CLI::App* command, std::vector<std::string>& paths);

// Fetches a file of a job's best model: `name`, or the one with the ending of `path` where that is
// empty. It appears whole or not at all.
absl::StatusOr<v1::Model> DownloadModel(Context& context, int64_t job, const std::string& path,
                                        const std::string& name = "");
// Fetches all files of it into `folder`, which is made; the models as best.*.
absl::StatusOr<v1::Model> DownloadModelFiles(Context& context, int64_t job,
                                             const std::string& folder);
// One line about the model of which a file was written to `path`.
std::string DescribeModel(const v1::Model& model, const std::string& path);

// The job with all its trials.
absl::StatusOr<v1::Job> GetJob(Context& context, int64_t job);
// RenderJob with what the coordinator says of itself.
std::string JobSummary(Context& context, const v1::Job& job);

}  // namespace trainyard::cli
