// What was saved comes back equal, whatever happened; what was not is not there; a bad row costs
// one job.
#include "coordinator/store/records.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <fstream>
#include <functional>
#include <limits>

#include "coordinator/convert/api.h"
#include "coordinator/core/invariants.h"
#include "tests/coordinator/store/random_walk.h"
#include "tests/coordinator/store/temp_folder.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// Steps and saves, as the loop does.
class Saver {
 public:
  explicit Saver(uint64_t seed) : walk_(seed) {}

  // A batch of a few steps; false if it changed nothing that is stored.
  bool StepBatch(int steps) {
    changes_ = {};
    events_.clear();
    for (int i = 0; i < steps; ++i) Add(walk_.Step());
    return !changes_.empty();
  }
  void Restart(core::State state) {
    changes_ = {};
    events_.clear();
    Add(walk_.Restart(std::move(state)));
  }
  absl::Status Save(Records& records) { return records.Save(walk_.state(), changes_, events_); }
  core::State Expected() const { return Durable(walk_.state()); }
  void Forget() { core::Forget(walk_.state()); }
  const std::vector<v1::Event>& events() const { return events_; }
  const core::State& state() const { return walk_.state(); }

 private:
  void Add(core::Result result) {
    for (const core::HistoryRow& row : result.changes.history) {
      events_.push_back(ToProto(walk_.state(), row));
    }
    changes_.Add(std::move(result.changes));
  }

  RandomWalk walk_;
  core::Changes changes_;
  std::vector<v1::Event> events_;
};

// Field by field, so that a failure says where.
void ExpectSame(const core::State& found, const core::State& expected, const std::string& where) {
  SCOPED_TRACE(where);
  EXPECT_EQ(found.counters, expected.counters);
  EXPECT_TRUE(found.projects == expected.projects);
  EXPECT_TRUE(found.pushes == expected.pushes);
  EXPECT_TRUE(found.jobs == expected.jobs);
  EXPECT_TRUE(found.trials == expected.trials);
  EXPECT_TRUE(found.attempts == expected.attempts);
  EXPECT_TRUE(found.epochs == expected.epochs);
  EXPECT_TRUE(found.checkpoints == expected.checkpoints);
  EXPECT_TRUE(found.workers == expected.workers);
  EXPECT_TRUE(found.launches == expected.launches);
  EXPECT_TRUE(found.notices == expected.notices);
  EXPECT_TRUE(found.identities == expected.identities);
  EXPECT_TRUE(found.request_keys == expected.request_keys);
  EXPECT_TRUE(found == expected);
}

std::unique_ptr<Records> MustOpen(const fs::path& folder) {
  auto records = Records::Open(folder);
  EXPECT_TRUE(records.ok()) << records.status();
  return records.ok() ? *std::move(records) : nullptr;
}

core::State MustLoad(Records& records) {
  auto loaded = records.Load();
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  if (!loaded.ok()) return {};
  for (const Records::SetAside& record : loaded->set_aside) ADD_FAILURE() << record.cause;
  return std::move(loaded->state);
}

class RecordsTest : public ::testing::Test {
 protected:
  fs::path folder() const { return temp_.path() / "state"; }
  // Runs a walk until `enough` says so, saving each batch.
  void Fill(Saver& saver, Records& records, const std::function<bool(const core::State&)>& enough) {
    for (int i = 0; i < 20'000 && !enough(saver.state()); ++i) {
      if (saver.StepBatch(1)) {
        ASSERT_TRUE(saver.Save(records).ok());
      }
      saver.Forget();
    }
    ASSERT_TRUE(enough(saver.state()));
  }
  // Edits the file by hand while nobody has it open.
  void Edit(const std::string& sql) {
    SQLite::Database file((folder() / "records.db").string(), SQLite::OPEN_READWRITE);
    ASSERT_GT(file.exec(sql), 0) << sql;
  }

  TempFolder temp_;
};

TEST_F(RecordsTest, AFreshFolderHoldsTheEmptyState) {
  const auto records = MustOpen(folder());
  EXPECT_TRUE(MustLoad(*records) == core::State{});
  EXPECT_EQ(*records->LastCursor(), 0);
  EXPECT_TRUE(records->Jobs(10)->empty());
  EXPECT_EQ(records->LoadJob({1}, Records::Detail::kEpochs).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(RecordsTest, RandomWalksWithRestartsComeBackEqualAfterEachCommit) {
  core::Counters most;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    const fs::path place = folder() / std::to_string(seed);
    auto records = MustOpen(place);
    Saver saver(seed);
    std::mt19937_64 random(seed);
    for (int batch = 0; batch < 700; ++batch) {
      const std::string where = "seed " + std::to_string(seed) + " batch " + std::to_string(batch);
      if (saver.StepBatch(1 + static_cast<int>(random() % 4))) {
        const absl::Status status = saver.Save(*records);
        ASSERT_TRUE(status.ok()) << where << ": " << status;
      }
      if (random() % 3 == 0) saver.Forget();
      const bool restart = random() % 50 == 0;
      if (restart) {
        saver.StepBatch(2);  // stepped, not committed: it never happened
        records.reset();
        records = MustOpen(place);
        saver.Restart(MustLoad(*records));
        ASSERT_TRUE(saver.Save(*records).ok());
      }
      if (restart || random() % 10 == 0) {
        ExpectSame(MustLoad(*records), saver.Expected(), where);
        if (HasFailure()) return;
      }
    }
    most.trial = std::max(most.trial, saver.state().counters.trial);
    most.checkpoint = std::max(most.checkpoint, saver.state().counters.checkpoint);
    most.notice = std::max(most.notice, saver.state().counters.notice);
    most.launch = std::max(most.launch, saver.state().counters.launch);
  }
  // The walks went somewhere.
  EXPECT_GT(most.trial, 10);
  EXPECT_GT(most.checkpoint, 20);
  EXPECT_GT(most.notice, 2);
  EXPECT_GT(most.launch, 2);
}

TEST_F(RecordsTest, AProcessKilledAtAnyMomentLeavesExactlyItsLastCommitOrTheOneInFlight) {
  for (int kill_after : {1, 7, 30, 55, 111}) {
    const fs::path place = folder() / std::to_string(kill_after);
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      auto records = Records::Open(place);
      Saver saver(kill_after);
      for (;;) {
        if (!saver.StepBatch(2)) continue;
        if (!saver.Save(**records).ok()) _exit(1);
        if (write(pipe_ends[1], "x", 1) != 1) _exit(1);
      }
    }
    close(pipe_ends[1]);
    char byte;
    for (int i = 0; i < kill_after; ++i) ASSERT_EQ(read(pipe_ends[0], &byte, 1), 1);
    kill(child, SIGKILL);
    int commits = kill_after;
    while (read(pipe_ends[0], &byte, 1) == 1) ++commits;
    close(pipe_ends[0]);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);

    const core::State found = MustLoad(*MustOpen(place));
    Saver again(kill_after);
    for (int done = 0; done < commits;) done += again.StepBatch(2) ? 1 : 0;
    if (found == again.Expected()) continue;
    while (!again.StepBatch(2)) {
    }
    ExpectSame(found, again.Expected(), "killed after commit " + std::to_string(commits));
  }
}

TEST_F(RecordsTest, NotANumberAndInfinityComeBackAsSuch) {
  const auto records = MustOpen(folder());
  Saver saver(3);
  Fill(saver, *records, [](const core::State& state) { return !state.epochs.empty(); });
  core::State state = saver.state();
  core::Epoch& epoch = state.epochs.begin()->second;
  epoch.metrics = {std::nan(""), std::numeric_limits<double>::infinity(),
                   -std::numeric_limits<double>::infinity(), 0.1, 5e-324};
  core::Changes changes;
  changes.epochs.insert(epoch.key);
  ASSERT_TRUE(records->Save(state, changes, {}).ok());
  const core::Epoch found = MustLoad(*records).epochs.at(epoch.key);
  EXPECT_TRUE(std::isnan(found.metrics.train_loss));
  EXPECT_EQ(found.metrics.train_accuracy, epoch.metrics.train_accuracy);
  EXPECT_EQ(found.metrics.val_loss, epoch.metrics.val_loss);
  EXPECT_EQ(found.metrics.val_accuracy, 0.1);
  EXPECT_EQ(found.metrics.learning_rate, 5e-324);
}

TEST_F(RecordsTest, ASecondCoordinatorIsRefusedNamingTheFolderAndThePid) {
  const auto records = MustOpen(folder());
  const auto second = Records::Open(folder());
  ASSERT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(folder().string()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("pid " + std::to_string(getpid())));
}

TEST_F(RecordsTest, RecordsOfANewerVersionAreRefusedAndLeftAlone) {
  MustOpen(folder()).reset();
  Edit("INSERT INTO migrations VALUES (4711, 'later')");
  const auto records = Records::Open(folder());
  ASSERT_EQ(records.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(records.status().message()), HasSubstr("4711"));
}

TEST_F(RecordsTest, AFileThatIsNoDatabaseIsDataLossAndNamed) {
  fs::create_directories(folder());
  std::ofstream(folder() / "records.db") << std::string(10'000, 'x');
  const auto records = Records::Open(folder());
  ASSERT_EQ(records.status().code(), absl::StatusCode::kDataLoss) << records.status();
  EXPECT_THAT(std::string(records.status().message()), HasSubstr("records.db"));
}

TEST_F(RecordsTest, LostCountersStopTheStartInsteadOfGivingNumbersTwice) {
  auto records = MustOpen(folder());
  Saver saver(1);
  Fill(saver, *records, [](const core::State& state) { return state.counters.cursor > 3; });
  records.reset();
  Edit("DELETE FROM counters");
  const auto loaded = MustOpen(folder())->Load();
  ASSERT_EQ(loaded.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("counters"));
}

// ---- Poisoned rows ----

// Two unfinished jobs with everything there can be.
bool TwoBusyJobs(const core::State& state) {
  int busy = 0;
  for (const auto& [id, job] : state.jobs) {
    bool checkpoint = false;
    bool held = false;
    for (const auto& [key, record] : state.checkpoints) checkpoint |= record.job == id;
    for (const auto& [key, record] : state.attempts) held |= record.job == id && record.held();
    busy += !job.ended() && checkpoint && held ? 1 : 0;
  }
  return busy >= 2;
}

core::JobId BusyJob(const core::State& state) {
  for (const auto& [id, attempt] : state.attempts) {
    for (const auto& [key, checkpoint] : state.checkpoints) {
      if (attempt.held() && checkpoint.job == attempt.job) return attempt.job;
    }
  }
  return {};
}

class PoisonTest : public RecordsTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(PoisonTest, ABadRowGivesUpItsOwnJobWithTheCauseAndNoOther) {
  auto records = MustOpen(folder());
  Saver saver(11);
  ASSERT_NO_FATAL_FAILURE(Fill(saver, *records, TwoBusyJobs));
  const core::State before = saver.Expected();
  const core::JobId poisoned = BusyJob(before);
  records.reset();
  const std::string table = GetParam();
  const std::string key = table == "jobs" ? "id" : "job";
  const std::string job = std::to_string(poisoned.value);
  Edit("UPDATE " + table + " SET body = x'ff' WHERE id = (SELECT max(id) FROM " + table +
       " WHERE " + key + " = " + job + ")");

  records = MustOpen(folder());
  auto loaded = records->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->set_aside.size(), 1u);
  EXPECT_EQ(loaded->set_aside[0].job, poisoned);
  EXPECT_THAT(loaded->set_aside[0].cause, HasSubstr(table + " row "));

  core::State state = loaded->state;
  core::CoordinatorRecovered recovered;
  recovered.unreadable[poisoned] = loaded->set_aside[0].cause;
  const core::Result result = core::Step(state, {1, 1, recovered});
  EXPECT_EQ(state.jobs.at(poisoned).state, core::JobState::kFailed);
  EXPECT_THAT(state.jobs.at(poisoned).reason, HasSubstr(table + " row "));
  for (const auto& [id, other] : before.jobs) {
    if (id == poisoned) continue;
    EXPECT_TRUE(state.jobs.at(id) == other) << "job " << id.value;
  }
  ASSERT_TRUE(records->Save(state, result.changes, {}).ok());
  core::Forget(state);
  EXPECT_THAT(core::CheckState(state), ::testing::IsEmpty());

  // It is over: the next start does not stumble again, and what was found is kept.
  EXPECT_EQ(MustLoad(*records).jobs.count(poisoned), 0u);
  EXPECT_EQ(records->LoadJob(poisoned, Records::Detail::kEpochs)->jobs.at(poisoned).state,
            core::JobState::kFailed);
  records.reset();
  SQLite::Database file((folder() / "records.db").string());
  EXPECT_EQ(file.execAndGet("SELECT hex(body) FROM set_aside").getString(), "FF");
}

INSTANTIATE_TEST_SUITE_P(Tables, PoisonTest,
                         ::testing::Values("jobs", "trials", "attempts", "checkpoints"));

TEST_F(RecordsTest, ARowUnderAnothersNumberIsNoticed) {
  auto records = MustOpen(folder());
  Saver saver(11);
  ASSERT_NO_FATAL_FAILURE(Fill(saver, *records, TwoBusyJobs));
  records.reset();
  Edit(
      "UPDATE trials SET body = (SELECT body FROM trials WHERE id = 1) WHERE id = "
      "(SELECT max(id) FROM trials WHERE job IN (SELECT id FROM jobs WHERE over = 0))");
  const auto loaded = MustOpen(folder())->Load();
  ASSERT_TRUE(loaded.ok());
  ASSERT_EQ(loaded->set_aside.size(), 1u);
  EXPECT_THAT(loaded->set_aside[0].cause, HasSubstr("found the record of 1, expected "));
}

TEST_F(RecordsTest, AnUnreadableWorkerDoesNotTakeItsAttemptAlong) {
  auto records = MustOpen(folder());
  Saver saver(11);
  ASSERT_NO_FATAL_FAILURE(Fill(saver, *records, TwoBusyJobs));
  const core::State before = saver.Expected();
  core::Attempt held;
  for (const auto& [id, attempt] : before.attempts) {
    if (attempt.held()) held = attempt;
  }
  records.reset();
  Edit("UPDATE workers SET body = x'ff' WHERE id = " + std::to_string(held.worker.value));
  auto loaded = MustOpen(folder())->Load();
  ASSERT_TRUE(loaded.ok());
  ASSERT_EQ(loaded->set_aside.size(), 1u);
  EXPECT_FALSE(loaded->set_aside[0].job);
  core::State state = loaded->state;
  core::Step(state, {1, 1, core::CoordinatorRecovered{}});
  EXPECT_TRUE(state.attempts.at(held.id).held());
  EXPECT_TRUE(state.jobs == before.jobs);
  EXPECT_THAT(core::CheckState(state), ::testing::IsEmpty());
}

// ---- A full disk ----

TEST_F(RecordsTest, AFullDiskFailsTheCommitLosesNothingAndTheSameCommitSucceedsOnceThereIsRoom) {
  TempFolder disk;
  if (!disk.Limit(6 << 20)) GTEST_SKIP() << "may not mount a small disk here";
  auto records = MustOpen(disk.path() / "state");
  Saver saver(5);
  const fs::path filler = disk.path() / "filler";
  {
    std::ofstream out(filler, std::ios::binary);
    const std::string block(4096, 'f');
    while (out.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
  core::State committed;
  absl::Status status;
  for (int i = 0; i < 2'000 && status.ok(); ++i) {
    committed = saver.Expected();
    if (saver.StepBatch(3)) status = saver.Save(*records);
  }
  ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("records.db"));
  ExpectSame(MustLoad(*records), committed, "reads while the disk is full");
  EXPECT_EQ(saver.Save(*records).code(), absl::StatusCode::kResourceExhausted);

  fs::remove(filler);
  status = saver.Save(*records);
  ASSERT_TRUE(status.ok()) << status;
  records.reset();
  records = MustOpen(disk.path() / "state");
  ExpectSame(MustLoad(*records), saver.Expected(), "after there was room again");
}

TEST_F(RecordsTest, AStepThatChangesARecordItDoesNotHaveFailsTheWholeCommit) {
  const auto records = MustOpen(folder());
  core::State state;
  state.counters.job = 7;
  core::Changes changes;
  changes.counters = true;
  changes.jobs.insert({7});
  EXPECT_EQ(records->Save(state, changes, {}).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(MustLoad(*records) == core::State{});
}

TEST_F(RecordsTest, TheLogOfWritesStaysBounded) {
  const auto records = MustOpen(folder());
  Saver saver(9);
  for (int i = 0; i < 3'000; ++i) {
    if (saver.StepBatch(1)) {
      ASSERT_TRUE(saver.Save(*records).ok());
    }
  }
  EXPECT_LE(fs::file_size(folder() / "records.db-wal"), 9u << 20);
}

// ---- History ----

TEST_F(RecordsTest, EventsComeInPagesInOrderWithoutGapOfAllJobsOrOne) {
  auto records = MustOpen(folder());
  Saver saver(2);
  std::vector<v1::Event> all;
  while (all.size() < 200) {
    if (!saver.StepBatch(2)) continue;
    ASSERT_TRUE(saver.Save(*records).ok());
    all.insert(all.end(), saver.events().begin(), saver.events().end());
  }
  EXPECT_EQ(*records->LastCursor(), all.back().cursor());
  int64_t cursor = 0;
  for (size_t seen = 0; seen < all.size();) {
    const auto page = records->Events({}, cursor, 7);
    ASSERT_TRUE(page.ok());
    ASSERT_FALSE(page->empty());
    for (const v1::Event& event : *page) {
      ASSERT_EQ(event.cursor(), ++cursor);
      ASSERT_TRUE(google::protobuf::util::MessageDifferencer::Equals(event, all[seen++]));
    }
  }
  std::vector<int64_t> of_job;
  for (const v1::Event& event : all) {
    if (event.job() == 1) of_job.push_back(event.cursor());
  }
  std::vector<int64_t> found;
  const auto events = records->Events({1}, 0, 100'000);
  for (const v1::Event& event : *events) found.push_back(event.cursor());
  EXPECT_EQ(found, of_job);
  EXPECT_FALSE(of_job.empty());
}

TEST_F(RecordsTest, AnUnreadableLineOfHistoryKeepsItsPlace) {
  auto records = MustOpen(folder());
  Saver saver(2);
  Fill(saver, *records, [](const core::State& state) { return state.counters.cursor > 3; });
  records.reset();
  Edit("UPDATE history SET body = x'ff' WHERE cursor = 2");
  const auto events = MustOpen(folder())->Events({}, 0, 3);
  ASSERT_EQ(events->size(), 3u);
  EXPECT_EQ((*events)[1].cursor(), 2);
  EXPECT_EQ((*events)[1].kind(), "note");
}

TEST_F(RecordsTest, AnEndedJobIsReadBackWholeAndModelsAreListed) {
  auto records = MustOpen(folder());
  for (uint64_t seed = 1; seed < 20; ++seed) {
    records.reset();
    fs::remove_all(folder());
    records = MustOpen(folder());
    Saver saver(seed);
    core::State ended;
    core::JobId id;
    for (int i = 0; i < 2'000 && !id; ++i) {
      if (saver.StepBatch(1)) {
        ASSERT_TRUE(saver.Save(*records).ok());
      }
      for (const auto& [job_id, job] : saver.state().jobs) {
        if (job.model) id = job_id;
      }
      ended = saver.state();
      saver.Forget();
    }
    if (!id) continue;
    EXPECT_EQ(saver.state().jobs.count(id), 0u);
    const auto found = records->LoadJob(id, Records::Detail::kEpochs);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_TRUE(found->jobs.at(id) == ended.jobs.at(id));
    int trials = 0;
    for (const auto& [key, trial] : ended.trials) {
      if (trial.job != id) continue;
      ++trials;
      EXPECT_TRUE(found->trials.at(key) == trial);
    }
    int epochs = 0;
    for (const auto& [key, epoch] : ended.epochs) {
      if (epoch.job != id) continue;
      ++epochs;
      EXPECT_TRUE(found->epochs.at(key) == epoch);
    }
    EXPECT_EQ(found->epochs.size(), static_cast<size_t>(epochs));
    EXPECT_GT(trials * epochs, 0);
    EXPECT_THAT(*records->JobsWithModel(), ::testing::Contains(id));
    EXPECT_TRUE(records->LoadJob(id, Records::Detail::kSummary)->epochs.empty());
    return;
  }
  FAIL() << "no walk published a model";
}

TEST_F(RecordsTest, ASoundCheckpointProtectsItsBlobAndADroppedOneDoesNot) {
  auto records = MustOpen(folder());
  Saver saver(4);
  Fill(saver, *records, [](const core::State& state) { return !state.checkpoints.empty(); });
  core::State state = saver.state();
  core::Checkpoint& checkpoint = state.checkpoints.begin()->second;
  core::Changes changes;
  changes.checkpoints.insert(checkpoint.id);
  for (const core::CheckpointState now :
       {core::CheckpointState::kSound, core::CheckpointState::kDropping,
        core::CheckpointState::kDropped, core::CheckpointState::kBroken}) {
    checkpoint.state = now;
    ASSERT_TRUE(records->Save(state, changes, {}).ok());
    EXPECT_EQ(*records->IsSoundCheckpoint(checkpoint.sha256), now == core::CheckpointState::kSound);
  }
  EXPECT_FALSE(*records->IsSoundCheckpoint("unknown"));
}

}  // namespace
}  // namespace trainyard::coordinator
