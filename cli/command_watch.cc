// `watch`, `wait`, and what `submit --watch` and `--wait` share with them.
#include <fmt/format.h>

#include <set>
#include <thread>

#include "cli/command.h"
#include "cli/event_line.h"
#include "cli/file.h"
#include "cli/follow.h"
#include "cli/job_view.h"
#include "cli/junit.h"
#include "cli/live_view.h"
#include "cli/parse.h"
#include "cli/signals.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kRedraw{500};

milliseconds DurationOf(const std::string& text) {
  return milliseconds(ParseDuration(text).value_or(0));
}

int ExitCodeOfSignal(int signal) { return signal == SIGINT ? kInterrupted : kTerminated; }

std::string GoesOn(int64_t job) {
  if (job == 0) return "";
  return fmt::format(
      "\nJob {0} goes on. Look on again: trainyard watch {0}. Stop it: trainyard job cancel {0}.\n",
      job);
}

// Shows events as they come: in a pipe line by line, on a terminal with the live block below.
class Watcher {
 public:
  Watcher(Context& context, int64_t job, bool checkpoints)
      : context_(context),
        job_(job),
        lines_(context.style(), job == 0),
        view_(context.out(), context.style()) {
    if (checkpoints) lines_.ShowCheckpoints();
    live_ = job != 0 && context.style().terminal && !context.json();
  }

  absl::Status Start() {
    if (job_ == 0) return absl::OkStatus();
    const auto job = GetJob(context_, job_);
    if (!job.ok()) return job.status();
    if (job->spec().target().metric() == v1::Target::VAL_LOSS) lines_.RankByLoss();
    view_.SetJob(*job);
    return absl::OkStatus();
  }

  absl::Status Run(milliseconds reconnect_for) {
    FollowOptions options;
    options.job = job_;
    options.reconnect_for = reconnect_for;
    FollowCallbacks callbacks;
    callbacks.on_event = [this](const v1::Event& event) {
      Show(event);
      return context_.out().good();
    };
    callbacks.on_tick = [this] {
      if (live_ && Clock::now() - drawn_ > kRedraw) Draw("");
      return signals_.caught() == 0;
    };
    callbacks.on_lost = [this](const absl::Status& status, milliseconds again_in) {
      Lost(status, again_in);
    };
    callbacks.on_back = [this] { Back(); };
    const absl::Status status = Follow(*context_.client, options, callbacks);
    if (live_) view_.Clear();
    return status;
  }

  int signal() const { return signals_.caught(); }

 private:
  void Show(const v1::Event& event) {
    if (context_.json()) {
      context_.out() << ForPrograms(context_, event, true) << std::flush;
      return;
    }
    if (!live_) {
      context_.out() << lines_.Render(event) << std::flush;
      return;
    }
    if (view_.Add(event)) {
      // How long a trial is, is in its configuration; without it there is just no bar.
      v1::GetJobRequest request;
      request.set_job(job_);
      const auto job =
          context_.client->Call(&v1::Trainyard::Stub::GetJob, request, milliseconds(2'000));
      if (job.ok()) view_.SetJob(*job);
    }
    Draw(lines_.Render(event));
  }

  void Draw(const std::string& lines) {
    drawn_ = Clock::now();
    view_.Print(lines, context_.environment.now_ms());
  }

  void Lost(const absl::Status& status, milliseconds again_in) {
    if (live_) {
      view_.SetTrouble(fmt::format("coordinator out of reach, trying again in {}",
                                   FormatDuration(again_in.count())));
      Draw("");
    } else if (!lost_) {
      const std::string text = CleanLines(std::string(status.message()));
      context_.err() << "trainyard: " << text.substr(0, text.find('\n')) << "; trying again\n"
                     << std::flush;
    }
    lost_ = true;
  }

  void Back() {
    lost_ = false;
    view_.SetTrouble("");
    if (!live_) context_.err() << "trainyard: connected again\n" << std::flush;
  }

  Context& context_;
  const int64_t job_;
  EventLines lines_;
  LiveView view_;
  SignalWatch signals_;
  bool live_ = false;
  bool lost_ = false;
  Clock::time_point drawn_;
};

// Waits for a job, and reports on it however that ends.
class Waiter {
 public:
  Waiter(Context& context, int64_t job, const FollowJobOptions& options)
      : context_(context), job_id_(job), options_(options) {
    if (!options.timeout.empty()) deadline_ = Clock::now() + DurationOf(options.timeout);
    job_.set_id(job);
  }

  absl::StatusOr<int> Run() {
    std::unique_ptr<AtomicFile> report;
    if (!options_.junit.empty()) {  // before waiting for hours
      auto file = AtomicFile::Create(options_.junit);
      if (!file.ok())
        return absl::InvalidArgumentError("--junit: " + std::string(file.status().message()));
      report = *std::move(file);
    }
    const absl::StatusOr<int> result = Wait();
    std::string problem;
    if (!result.ok()) {
      problem = std::string(result.status().message());
    } else if (signals_.caught() != 0) {
      problem = fmt::format("waiting was ended by signal {}", signals_.caught());
    }
    if (report != nullptr) {
      absl::Status written = report->Write(JunitReport(job_, problem));
      if (written.ok()) written = report->Commit();
      if (!written.ok()) return written;
    }
    return result;
  }

 private:
  absl::StatusOr<int> Wait() {
    if (absl::Status status = Refresh(); !status.ok()) return status;
    if (!Reached()) {
      if (absl::Status status = FollowEvents(); !status.ok()) return status;
      if (const int signal = signals_.caught(); signal != 0) {
        context_.err() << GoesOn(job_id_);
        return ExitCodeOfSignal(signal);
      }
      if (absl::Status status = RefreshPatiently(); !status.ok()) return status;
    }
    Print(context_, job_, [this] { return JobSummary(context_, job_); });
    return ExitCodeOf(job_.state());
  }

  absl::Status Refresh() {
    auto job = GetJob(context_, job_id_);
    if (!job.ok()) return job.status();
    job_ = *std::move(job);
    return absl::OkStatus();
  }

  // The stream told that the job has ended; a coordinator that dies at this very moment must not
  // cost us the result.
  absl::Status RefreshPatiently() {
    const auto until = Clock::now() + DurationOf(options_.reconnect);
    for (;;) {
      const absl::Status status = Refresh();
      const bool over = Clock::now() >= until || (deadline_ && Clock::now() >= *deadline_);
      if (status.code() != absl::StatusCode::kUnavailable || over || signals_.caught() != 0)
        return status;
      std::this_thread::sleep_for(milliseconds(500));
    }
  }

  // Whether what is waited for has happened already.
  bool Reached() {
    if (IsOver(job_.state())) return true;
    if (options_.until != "trial") return false;
    for (const v1::Trial& trial : job_.trials()) {
      const bool open = trial.state() == v1::TRIAL_STATE_QUEUED ||
                        trial.state() == v1::TRIAL_STATE_RUNNING ||
                        trial.state() == v1::TRIAL_STATE_HALTED;
      if (!open) over_.insert(trial.number());
    }
    return job_.state() == v1::JOB_STATE_WAITING;
  }

  absl::Status FollowEvents() {
    FollowOptions options;
    options.job = job_id_;
    options.deadline = deadline_;
    options.reconnect_for = DurationOf(options_.reconnect);
    FollowCallbacks callbacks;
    callbacks.on_event = [this](const v1::Event& event) {
      if (event.kind() == "job_ended") return false;
      return !(options_.until == "trial" && event.kind() == "trial_ended" &&
               !over_.contains(event.trial()));
    };
    callbacks.on_tick = [this] { return signals_.caught() == 0; };
    bool lost = false;
    callbacks.on_lost = [&](const absl::Status& status, milliseconds) {
      const std::string text = CleanLines(std::string(status.message()));
      if (!lost)
        context_.err() << "trainyard: " << text.substr(0, text.find('\n')) << "; trying again\n"
                       << std::flush;
      lost = true;
    };
    callbacks.on_back = [&] {
      lost = false;
      context_.err() << "trainyard: connected again\n" << std::flush;
    };
    const absl::Status status = Follow(*context_.client, options, callbacks);
    if (status.code() != absl::StatusCode::kDeadlineExceeded) return status;
    (void)Refresh();  // for the report, as far as it got
    return absl::DeadlineExceededError(fmt::format(
        "timeout: job {0} has not ended after {1}; it goes on, `trainyard wait {0}` waits again",
        job_id_, options_.timeout));
  }

  Context& context_;
  const int64_t job_id_;
  const FollowJobOptions& options_;
  SignalWatch signals_;
  std::optional<Clock::time_point> deadline_;
  v1::Job job_;
  std::set<int> over_;  // trials that had ended already: the end of another one is waited for
};

}  // namespace

void AddFollowOptions(CLI::App* command, FollowJobOptions& options, bool with_report) {
  command
      ->add_option("--reconnect", options.reconnect,
                   "How long to try again when the coordinator is gone (default 1h)")
      ->type_name("DURATION");
  if (!with_report) return;
  command
      ->add_option("--timeout", options.timeout,
                   "Give up waiting after this long, such as 2h; the job goes on")
      ->type_name("DURATION");
  command
      ->add_option("--junit", options.junit,
                   "Write a JUnit report, also when the job fails or time runs out")
      ->type_name("FILE");
}

absl::Status CheckFollowOptions(const FollowJobOptions& options) {
  for (const auto& [name, value] :
       {std::pair{"--timeout", &options.timeout}, {"--reconnect", &options.reconnect}}) {
    if (value->empty()) continue;
    if (const auto duration = ParseDuration(*value); !duration.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: {}", name, std::string(duration.status().message())));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Job> GetJob(Context& context, int64_t job) {
  v1::GetJobRequest request;
  request.set_job(job);
  return context.client->Call(&v1::Trainyard::Stub::GetJob, request);
}

std::string JobSummary(Context& context, const v1::Job& job) {
  std::string state_dir;
  if (job.has_model()) {
    const auto info =
        context.client->Call(&v1::Trainyard::Stub::GetServerInfo, v1::GetServerInfoRequest());
    if (info.ok()) state_dir = info->state_dir();
  }
  return RenderJob(job, state_dir, context.style(), context.environment.now_ms());
}

absl::StatusOr<int> WatchJob(Context& context, int64_t job, const FollowJobOptions& options) {
  Watcher watcher(context, job, options.checkpoints);
  if (absl::Status status = watcher.Start(); !status.ok()) return status;
  const absl::Status status = watcher.Run(DurationOf(options.reconnect));
  if (watcher.signal() != 0) {
    if (options.coordinator_stays) context.err() << GoesOn(job);
    return ExitCodeOfSignal(watcher.signal());
  }
  if (!status.ok()) return status;
  if (job == 0) return kDone;
  const auto ended = GetJob(context, job);
  if (!ended.ok()) return ended.status();
  if (!context.json()) {
    context.out() << "\n"
                  << (options.coordinator_stays ? JobSummary(context, *ended)
                                                : RenderJob(*ended, std::nullopt, context.style(),
                                                            context.environment.now_ms()));
  }
  return ExitCodeOf(ended->state());
}

absl::StatusOr<int> WaitForJob(Context& context, int64_t job, const FollowJobOptions& options) {
  return Waiter(context, job, options).Run();
}

void AddWatchAndWait(CLI::App& app, Context& context) {
  struct Options {
    std::string job;
    FollowJobOptions follow;
  };
  CLI::App* watch = AddCommand(
      app, "watch", "Look on: trials, epochs, restarts, tweaks and their reasons",
      "  trainyard watch 7                   job 7 from its beginning, live until it ends\n"
      "  trainyard watch                     everything, in all jobs\n"
      "  trainyard watch 7 --output json     one JSON object a line\n"
      "\nCtrl-C stops looking, not the job. A coordinator that is started again is found again.");
  auto watched = std::make_shared<Options>();
  watch->add_option("JOB", watched->job, "The job's number; without it, all jobs")->type_name("");
  AddFollowOptions(watch, watched->follow, false);
  watch->add_flag("--checkpoints", watched->follow.checkpoints,
                  "Show every checkpoint, not only the first of each attempt");
  watch->callback([&context, watched] {
    context.action = [&context, watched]() -> absl::StatusOr<int> {
      const absl::StatusOr<int64_t> job = watched->job.empty() ? 0 : ParseJob(watched->job);
      if (!job.ok()) return job.status();
      if (absl::Status status = CheckFollowOptions(watched->follow); !status.ok()) return status;
      if (*job == 0) {  // a stream that never comes would otherwise just be silent
        if (absl::Status status = context.client->Connect(); !status.ok()) return status;
      }
      return WatchJob(context, *job, watched->follow);
    };
  });

  CLI::App* wait = AddCommand(
      app, "wait",
      "Wait for a job to end, or for its current trial; the exit code says how it went",
      "  trainyard wait 7 --timeout 2h --junit report.xml\n"
      "  trainyard wait 7 --for trial && trainyard tweak 7 --set train.lr=0.01\n"
      "\nMay be called again at any time, also after it was killed. SIGTERM and Ctrl-C end the "
      "waiting,\n"
      "not the job. Exit codes: 0 target met (or the trial has ended), 3 below target, 4 failed,\n"
      "5 cancelled, 7 timeout.");
  auto waited = std::make_shared<Options>();
  wait->add_option("JOB", waited->job, "The job's number")->required()->type_name("");
  wait->add_option("--for", waited->follow.until,
                   "end (default), or trial: the end of the current trial")
      ->type_name("trial|end")
      ->check(CLI::IsMember({"trial", "end"}));
  AddFollowOptions(wait, waited->follow, true);
  wait->callback([&context, waited] {
    context.action = [&context, waited]() -> absl::StatusOr<int> {
      const auto job = ParseJob(waited->job);
      if (!job.ok()) return job.status();
      if (absl::Status status = CheckFollowOptions(waited->follow); !status.ok()) return status;
      return WaitForJob(context, *job, waited->follow);
    };
  });
}

}  // namespace trainyard::cli
