// `job` and `tweak`.
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/event_line.h"
#include "cli/job_view.h"
#include "cli/parse.h"
#include "cli/text.h"
#include "cli/tweak_view.h"

namespace trainyard::cli {
namespace {

std::string RenderJobs(const v1::ListJobsResponse& response, const Context& context) {
  if (response.jobs().empty()) return "No jobs yet. `trainyard submit PATH` makes one.\n";
  Table table({{"JOB", true},
               {"STATE"},
               {"NAME", false, true},
               {"SOURCE", false, true},
               {"COMMIT"},
               {"BEST", true},
               {"AGE", true}});
  for (const v1::Job& job : response.jobs()) {
    table.Add({std::to_string(job.id()), StateCell(job.state()), CleanLine(job.name(), 100),
               CleanLine(job.project().empty() ? job.source() : job.project(), 200),
               job.commit().empty() ? "-" : CleanLine(job.commit().substr(0, 8)),
               job.best_trial() == 0 ? "-" : FormatMetric(job.best_metric()),
               FormatDuration(context.environment.now_ms() - job.created_ms())});
  }
  return table.Render(context.style());
}

absl::StatusOr<int> ListJobs(Context& context, int limit) {
  v1::ListJobsRequest request;
  request.set_limit(limit);
  const auto response = context.client->Call(&v1::Trainyard::Stub::ListJobs, request);
  if (!response.ok()) return response.status();
  Print(context, *response, [&] { return RenderJobs(*response, context); });
  return kDone;
}

absl::StatusOr<int> ShowJob(Context& context, int64_t id) {
  const auto job = GetJob(context, id);
  if (!job.ok()) return job.status();
  Print(context, *job, [&] { return JobSummary(context, *job); });
  return kDone;
}

// Cancel, pause and resume: a request that names the job, answered by the job.
template <typename Request>
absl::StatusOr<int> Change(Context& context,
                           grpc::Status (v1::Trainyard::Stub::*method)(grpc::ClientContext*,
                                                                       const Request&, v1::Job*),
                           int64_t id) {
  Request request;
  request.set_job(id);
  const auto job = context.client->Call(method, request);
  if (!job.ok()) return job.status();
  Print(context, *job, [&] { return JobLine(*job) + "\n"; });
  return kDone;
}

absl::StatusOr<int> JobLogs(Context& context, int64_t id, bool follow) {
  if (absl::Status status = context.client->Connect(); !status.ok()) return status;
  grpc::ClientContext call;
  v1::GetJobLogsRequest request;
  request.set_job(id);
  request.set_follow(follow);
  const auto reader = context.client->stub().GetJobLogs(&call, request);
  v1::LogChunk chunk;
  Cleaner cleaner;
  while (reader->Read(&chunk)) {
    context.out() << (context.json() ? ForPrograms(context, chunk, true)
                                     : cleaner.Feed(chunk.text()));
    if (follow) context.out() << std::flush;
  }
  if (!context.json()) context.out() << cleaner.Finish();
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return context.client->Explain(status);
  return kDone;
}

// Programs do not tell of their gradients: nothing stands there then.
std::string CurveLine(int trial, const v1::Epoch& row) {
  std::string line =
      fmt::format("{},{},{},{},{},{},{},{},{},{},{}", trial, row.epoch(), row.step(),
                  row.train_loss(), row.train_accuracy(), row.val_loss(), row.val_accuracy(),
                  row.learning_rate(), row.images_per_second(), row.seconds(), row.exact());
  if (row.gradient_norm() == 0 && row.update_ratio() == 0) return line + ",,,\n";
  return line +
         fmt::format(",{},{},{}\n", row.gradient_norm(), row.update_ratio(), row.dead_units());
}

// The metrics of all epochs, one a line, as spreadsheets and plotting plugins read them.
absl::StatusOr<int> JobCurves(Context& context, int64_t id) {
  const auto job = GetJob(context, id);
  if (!job.ok()) return job.status();
  if (!context.json()) {
    context.out() << "trial,epoch,step,train_loss,train_accuracy,val_loss,val_accuracy,"
                     "learning_rate,images_per_second,seconds,exact,gradient_norm,update_ratio,"
                     "dead_units\n";
  }
  for (const v1::Trial& trial : job->trials()) {
    for (const v1::Epoch& row : trial.epochs()) {
      context.out() << (context.json() ? ForPrograms(context, row, true)
                                       : CurveLine(trial.number(), row));
    }
  }
  return kDone;
}

struct JobOptions {
  std::string job;
  int limit = 50;
  bool follow = false;
};

// A command with a JOB argument; `act` gets its number.
CLI::App* AddJobCommand(CLI::App& parent, Context& context, const char* name,
                        const char* description, const char* examples,
                        std::shared_ptr<JobOptions> options,
                        std::function<absl::StatusOr<int>(int64_t)> act) {
  CLI::App* command = AddCommand(parent, name, description, examples);
  command->add_option("JOB", options->job, "The job's number")->required()->type_name("");
  command->callback([&context, options, act = std::move(act)] {
    context.action = [options, act]() -> absl::StatusOr<int> {
      const auto job = ParseJob(options->job);
      if (!job.ok()) return job.status();
      return act(*job);
    };
  });
  return command;
}

}  // namespace

void AddJob(CLI::App& app, Context& context) {
  using Stub = v1::Trainyard::Stub;
  CLI::App* job =
      AddCommand(app, "job", "List, show, cancel, finish, pause and resume jobs; curves and logs",
                 "  trainyard job list\n  trainyard job show 7\n  trainyard job logs 7 --follow");
  job->require_subcommand(1);
  auto options = std::make_shared<JobOptions>();
  CLI::App* list = AddCommand(*job, "list", "The newest jobs first",
                              "  trainyard job list --limit 10\n"
                              "  trainyard job list --output json | jq -r '.jobs[] | select(.state "
                              "== \"JOB_STATE_RUNNING\") | .id'");
  list->add_option("--limit", options->limit, "How many at most (default 50)")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000));
  list->callback([&context, options] {
    context.action = [&context, options] { return ListJobs(context, options->limit); };
  });
  AddJobCommand(*job, context, "show",
                "What was asked, its trials with changes and reasons, the best model",
                "  trainyard job show 7\n  trainyard job show 7 --output json | jq .best_metric",
                options, [&context](int64_t id) { return ShowJob(context, id); });
  AddJobCommand(*job, context, "cancel",
                "Stop a job for good; its best model so far is kept as a checkpoint only",
                "  trainyard job cancel 7", options,
                [&context](int64_t id) { return Change(context, &Stub::CancelJob, id); });
  AddJobCommand(*job, context, "finish",
                "Enough: stop training, test and publish the best model so far",
                "  trainyard job finish 7\n"
                "\nThe job then ends below its target (exit code 3 of `trainyard wait`).",
                options, [&context](int64_t id) { return Change(context, &Stub::FinishJob, id); });
  AddJobCommand(*job, context, "pause", "Checkpoint and stop a job's worker, until it is resumed",
                "  trainyard job pause 7", options,
                [&context](int64_t id) { return Change(context, &Stub::PauseJob, id); });
  AddJobCommand(*job, context, "resume", "Go on with a paused job from its checkpoint",
                "  trainyard job resume 7", options,
                [&context](int64_t id) { return Change(context, &Stub::ResumeJob, id); });
  AddJobCommand(*job, context, "curves", "The metrics of all epochs as CSV, one epoch a line",
                "  trainyard job curves 7 > curves.csv", options,
                [&context](int64_t id) { return JobCurves(context, id); });
  CLI::App* logs = AddJobCommand(
      *job, context, "logs", "What the job's workers wrote",
      "  trainyard job logs 7\n  trainyard job logs 7 --follow", options,
      [&context, options](int64_t id) { return JobLogs(context, id, options->follow); });
  logs->add_flag("--follow", options->follow, "Go on as more is written");
}

void AddTweak(CLI::App& app, Context& context) {
  struct Options : JobOptions {
    std::vector<std::string> overrides;
    int trial = 0;
    bool dry_run = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = AddJobCommand(
      app, context, "tweak", "Change a trial while it runs, or accept or change the next one",
      "  trainyard tweak 7 --set train.lr=0.01             change the trial that runs\n"
      "  trainyard tweak 7 --trial 3 --set train.lr=0.01   where several run, this one\n"
      "  trainyard tweak 7                                 accept the proposal as it is\n"
      "  trainyard tweak 7 --set train.epochs=20 --dry-run only show what would come of it\n"
      "  trainyard tweak 7 --dry-run                       what the tuner would do now\n"
      "\nWhat each step reads (learning rate, momentum, decay, dropout, ...) changes within a few "
      "steps,\nthe number of epochs and the schedule at the end of an epoch, both without a "
      "restart; anything else\nstops the trial and starts the next. A job submitted with --manual "
      "waits after each trial until the\nproposal that `trainyard job show JOB` shows is accepted "
      "or changed.",
      options, [&context, options](int64_t id) -> absl::StatusOr<int> {
        v1::TweakJobRequest request;
        request.set_job(id);
        request.set_trial(options->trial);
        request.set_dry_run(options->dry_run);
        for (const std::string& override : options->overrides) {
          if (absl::Status status = CheckOverride(override); !status.ok()) return status;
          request.add_overrides(override);
        }
        const auto response = context.client->Call(&v1::Trainyard::Stub::TweakJob, request);
        if (!response.ok()) return response.status();
        Print(context, *response,
              [&] { return RenderTweak(*response, options->dry_run, id, context.style()); });
        return kDone;
      });
  AddSetOption(command, options->overrides);
  command
      ->add_option("--trial", options->trial, "The running trial to change; only where several run")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000))
      ->needs(command->get_option("--set"));
  command->add_flag("--dry-run", options->dry_run, "Show what would come of it, and do nothing");
}

}  // namespace trainyard::cli
