// What Slurm says, in every form that was seen, and what is made of it. Needs no Slurm.
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>

#include "coordinator/launch/command.h"
#include "coordinator/launch/slurm.h"
#include "coordinator/launch/slurm_answers.h"
#include "coordinator/launch/slurm_client.h"
#include "coordinator/launch/slurm_folder.h"
#include "coordinator/launch/slurm_script.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

CommandRequest Shell(const std::string& text) {
  return {.program = "/bin/sh", .arguments = {"-c", text}, .environment = {"PATH=/usr/bin:/bin"}};
}

TEST(Command, TellsBothStreamsAndTheExitCode) {
  const auto result = RunCommand(Shell("echo out; echo err >&2; cat; exit 3"));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output, "out\n");
  EXPECT_EQ(result->errors, "err\n");
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_FALSE(result->ok());
  EXPECT_EQ(RunCommand(Shell("kill -9 $$"))->signal, SIGKILL);
  EXPECT_TRUE(RunCommand(Shell("exec >&- 2>&-; sleep 0.1"))->ok())
      << "silent, and still waited for";
}

TEST(Command, InheritsNothing) {
  setenv("TRAINYARD_TOKEN", "hush", 1);
  const int leak = fcntl(STDERR_FILENO, F_DUPFD, 77);  // without close-on-exec
  const auto result = RunCommand(Shell("env; ls /proc/self/fd"));
  close(leak);
  unsetenv("TRAINYARD_TOKEN");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->output, ::testing::Not(HasSubstr("hush")));
  EXPECT_THAT(result->output, ::testing::Not(HasSubstr("77")));
}

TEST(Command, EndsWithWhateverItStartedWhenItsTimeIsOver) {
  CommandRequest request = Shell("echo before; sleep 100 & sleep 100");
  request.timeout_ms = 200;
  const auto result = RunCommand(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->timed_out);
  EXPECT_FALSE(result->ok());
  EXPECT_EQ(result->output, "before\n");
}

TEST(Command, IsGivenUpWhenItsCallerEnds) {
  CommandRequest request = Shell("sleep 100");
  request.cancel_fd = eventfd(1, EFD_CLOEXEC);
  const auto result = RunCommand(request);
  close(request.cancel_fd);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->cancelled);
}

TEST(Command, ThrowsAwayWhatIsTooLong) {
  CommandRequest request = Shell("head -c 1000000 /dev/zero | tr '\\0' x; echo >&2");
  request.output_max = 1000;
  const auto result = RunCommand(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output, std::string(1000, 'x'));
  EXPECT_TRUE(result->ok());
}

TEST(Command, NamesTheProgramThatIsMissing) {
  CommandRequest request = Shell("");
  request.program = "/nonexistent/sbatch";
  const auto result = RunCommand(request);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("/nonexistent/sbatch"));
  EXPECT_EQ(*FindProgram("sh", "", "/nonexistent:/bin"), "/bin/sh");
  EXPECT_EQ(FindProgram("sh", "/nonexistent", "/bin").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(FindProgram("bin", "/usr", "").status().code(), absl::StatusCode::kNotFound)
      << "a folder is no program";
}

TEST(SlurmAnswers, AQueueIsReadAndWhatIsNoJobLeftOut) {
  const auto jobs = ParseQueue(
      "12|RUNNING|node7|None|trainyard:c0ffee:gpu:3\n"
      "13|PENDING||Nodes required for job are DOWN, DRAINED|(null)\n"
      "slurm_load_jobs warning\n\nx|RUNNING|a|b|c\n14|RUNNING\n"
      "15|COMPLETING|n|None|a|b\n");
  ASSERT_EQ(jobs.size(), 3u);
  EXPECT_EQ(jobs[0].id, 12);
  EXPECT_EQ(jobs[0].node, "node7");
  EXPECT_TRUE(jobs[0].runs());
  EXPECT_EQ(LaunchOfComment(jobs[0].comment, SlurmOwner("c0ffee", "gpu")), 3);
  EXPECT_TRUE(jobs[1].waits());
  EXPECT_EQ(jobs[2].comment, "a|b");
  EXPECT_FALSE(jobs[2].over());
}

TEST(SlurmAnswers, AJobIsReadFromWhatScontrolShows) {
  const auto job = ParseShownJob(
      "JobId=6 JobName=JobState=x UserId=root(0) JobState=PREEMPTED Reason=None Restarts=1 "
      "ExitCode=0:9 RunTime=00:00:01 TimeLimit=00:10:00 PreemptEligibleTime=2026-11-24T23:23:59 "
      "PreemptTime=2026-11-24T23:24:11 NodeList=vm Comment=trainyard:c0ffee:gpu:3 \n");
  ASSERT_TRUE(job);
  EXPECT_EQ(job->state, "PREEMPTED");
  EXPECT_EQ(job->signal, 9);
  EXPECT_EQ(job->restarts, 1);
  EXPECT_TRUE(job->preempted);
  EXPECT_TRUE(job->over());
  EXPECT_EQ(job->comment, "trainyard:c0ffee:gpu:3");
  EXPECT_FALSE(ParseShownJob(""));
  EXPECT_FALSE(ParseShownJob("JobId=6 JobName=x"));
  EXPECT_FALSE(ParseShownJob("No jobs in the system"));
}

TEST(SlurmAnswers, TheAccountingsRowOfTheJobItselfCounts) {
  const auto job =
      ParseAccounting("12|CANCELLED by 1000|0:15\n12.batch|CANCELLED|0:9\n13|FAILED|1:0\n", 12);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->state, "CANCELLED");
  EXPECT_EQ(job->signal, 15);
  EXPECT_EQ(ParseAccounting("13|FAILED|1:0\n", 13)->exit_code, 1);
  EXPECT_FALSE(ParseAccounting("Slurm accounting storage is disabled\n", 12));
  EXPECT_FALSE(ParseAccounting("12|FAILED|?\n", 12));
}

TEST(SlurmAnswers, ASubmittedJobHasANumber) {
  EXPECT_EQ(ParseSubmitted("12\n"), 12);
  EXPECT_EQ(ParseSubmitted("12;cluster\n"), 12);
  EXPECT_FALSE(ParseSubmitted(""));
  EXPECT_FALSE(ParseSubmitted("Submitted batch job 12\n"));
  EXPECT_FALSE(ParseSubmitted("-1\n"));
}

TEST(SlurmAnswers, FailuresAreToldApart) {
  const auto code = [](const char* errors) { return SubmitFailure(errors).code(); };
  using absl::StatusCode;
  EXPECT_EQ(code("sbatch: error: Batch job submission failed: Invalid account or "
                 "account/partition combination specified\n"),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("sbatch: error: Batch job submission failed: Unable to contact slurm controller "
                 "(connect failure)\n"),
            StatusCode::kUnavailable);
  EXPECT_EQ(code("sbatch: error: Batch job submission failed: Socket timed out on send/recv "
                 "operation\n"),
            StatusCode::kUnavailable);
  EXPECT_EQ(code("sbatch: error: Munge encode failed: Failed to access \"/run/munge\"\n"),
            StatusCode::kUnavailable);
  EXPECT_EQ(code("sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission "
                 "failed: Job violates accounting/QOS policy (job submit limit, user's size and/or "
                 "time limits)\n"),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(code("sbatch: Slurm temporarily unable to accept job, sleeping and retrying.\n"),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(SubmitFailure("").message(), "Slurm refuses its jobs: it said nothing");
  EXPECT_EQ(CleanSlurmErrors("sbatch: error: a\tb\nsbatch: error: a\tb\nsbatch: c\r\n"), "a b; c");
}

SlurmJob Answer(const std::string& state) {
  SlurmJob job;
  job.state = state;
  return job;
}

TEST(SlurmAnswers, EndsAreExplained) {
  const auto cause = [](SlurmEnd end) {
    end.job = 12;
    return ExplainEnd(end).cause;
  };
  EXPECT_EQ(cause({.status = 0}), "exit code 0");
  EXPECT_EQ(cause({.status = 0, .answer = Answer("TIMEOUT")}), "exit code 0");
  EXPECT_EQ(cause({.status = 137}), "killed by SIGKILL");
  EXPECT_EQ(cause({.status = 143}), "exit code 143");
  EXPECT_EQ(cause({.status = 1, .repeated = true}), "exit code 1") << "it had failed by itself";
  EXPECT_EQ(cause({.repeated = true}), "requeued by Slurm (job 12)");
  EXPECT_EQ(cause({.answer = Answer("PREEMPTED")}), "preempted by Slurm (job 12)");
  EXPECT_EQ(cause({.answer = Answer("NODE_FAIL")}), "its node  failed (job 12)");
  EXPECT_EQ(cause({.answer = Answer("TIMEOUT")}), "the pool's time limit was reached (job 12)");
  EXPECT_EQ(cause({}), "gone, and Slurm no longer knows how (job 12)");
  EXPECT_EQ(cause({.answer = Answer("REVOKED")}), "Slurm ended it: REVOKED (job 12)");
  EXPECT_EQ(cause({.status = 137, .ended_by_us = "killed by the coordinator"}),
            "killed by the coordinator");
  SlurmJob failed = Answer("FAILED");
  failed.exit_code = 3;
  const WorkerExit exit = ExplainEnd({.job = 12, .answer = failed});
  EXPECT_EQ(exit.exit_code, 3);
  EXPECT_EQ(exit.cause, "exit code 3, as Slurm says (job 12)");
  EXPECT_TRUE(ExplainEnd({.status = 137, .answer = Answer("OUT_OF_MEMORY")}).out_of_memory);
  EXPECT_TRUE(ExplainEnd({.answer = Answer("NODE_FAIL")}).unknown);
}

TEST(SlurmNotes, UnfinishedAndForeignLinesAreLeftOut) {
  const SlurmNotes notes = ParseNotes(
      "started 12 node7\nnonsense\nended x 1\nended 12 one\nrefused 13 again\nended 12 143\n"
      "ended 12 1\nrefused 14 ag");
  EXPECT_EQ(notes.started_job, 12);
  EXPECT_EQ(notes.status, 143);
  EXPECT_THAT(notes.refused, ElementsAre(13));
  EXPECT_FALSE(ParseNotes("ended 12 14").status) << "14 or 143 is not known yet";
  EXPECT_THAT(ParseNotes("").refused, IsEmpty());
}

TEST(SlurmScript, OnlyTheOwnersCommentsAreOurs) {
  const std::string owner = SlurmOwner("c0ffee", "gpu");
  EXPECT_EQ(LaunchOfComment(owner + "12", owner), 12);
  EXPECT_EQ(LaunchOfComment("12", owner), -1);
  for (const char* const rest : {"", "x", "-1", "12 ", "12x", "99999999999999999999"}) {
    EXPECT_EQ(LaunchOfComment(owner + rest, owner), -1) << rest;
  }
  EXPECT_EQ(LaunchOfComment(SlurmOwner("c0ffee", "gpu2") + "12", owner), -1);
}

TEST(SlurmScript, ValuesThatNoJobCanHaveAreNamed) {
  const auto message = [](const std::string& name, const std::string& id, SlurmPool pool) {
    const auto status = CheckSlurmPool(name, id, pool);
    return status.ok() ? "" : std::string(status.message());
  };
  SlurmPool sound;
  sound.folder = "/shared";
  EXPECT_EQ(message("gpu", "c0ffee", sound), "");
  EXPECT_THAT(message("g pu", "c0ffee", sound), HasSubstr("expected names"));
  EXPECT_THAT(message("gpu", "", sound), HasSubstr("expected names"));
  SlurmPool pool = sound;
  pool.partition = "a\n#SBATCH -p b";
  EXPECT_THAT(message("gpu", "c0ffee", pool), HasSubstr("control character in partition"));
  pool = sound;
  pool.folder = "shared";
  EXPECT_THAT(message("gpu", "c0ffee", pool), HasSubstr("found folder 'shared'"));
  pool = sound;
  pool.worker = "";
  EXPECT_THAT(message("gpu", "c0ffee", pool), HasSubstr("found no worker"));
  EXPECT_EQ(SlurmLauncher::Open({.name = "gpu", .pool = pool, .coordinator_id = "c0ffee"}, {})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SlurmEnvironment, KeepsLittleAndThePoolsValuesWin) {
  const char* const ours[] = {
      "PATH=/bin", "TRAINYARD_TOKEN=hush", "SBATCH_PARTITION=x", "HOME=/home", "PATHS=no", nullptr};
  SlurmPool pool;
  pool.environment = {{"SLURM_CONF", "/etc/x.conf"}, {"HOME", "/other"}};
  EXPECT_THAT(SlurmEnvironment(ours, pool),
              ElementsAre("HOME=/other", "PATH=/bin", "SLURM_CONF=/etc/x.conf"));
}

}  // namespace
}  // namespace trainyard::coordinator
