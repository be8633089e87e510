// Every field and every enum value of a record survives being stored.
#include "coordinator/convert/stored.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "coordinator/convert/stored_names.h"

namespace trainyard::coordinator {
namespace {

using ::testing::HasSubstr;

// All bytes there are, no UTF-8, a zero in the middle: text comes from paths, people and systems.
const std::string kText = std::string("caf\xe9 \0 \xff", 8);

network::Configuration Configuration() {
  network::Configuration configuration;
  configuration.network = {.input = {3, 32, 31}, .classes = 7};
  network::Residual residual;
  residual.body = {{network::Conv{.filters = 9, .padding = {.same = true}}}};
  residual.shortcut = {{network::Conv{.filters = 9, .kernel = {1, 1}}}};
  configuration.network.layers = {{residual}, {network::Flatten{}}, {network::Dense{.units = 7}}};
  configuration.training.optimizer.learning_rate = 1.0 / 3;
  configuration.training.precision = network::Precision::kBf16;
  configuration.training.seed = ~uint64_t{0};
  return configuration;
}

core::Tweak Tweak() {
  return {.finding = {core::FindingKind::kOverfit, kText, {{"gap", 0.1}, {"loss", -1e-300}}},
          .reason = kText,
          .expectation = "less",
          .changes = {{"train.lr", "0.1", ""}, {"network.layers[0]", "", kText}},
          .move = "widen",
          .base = 2,
          .expected_gain = 0.01};
}

core::Job Job() {
  core::Job job;
  job.id = {1};
  core::JobRequest& request = job.request;
  request.project = {2};
  request.commit = "c0ffee";
  request.snapshot_sha256 = "aa";
  request.spec_hash = "bb";
  request.spec_blob = kText;
  request.name = "name";
  request.source = kText;
  request.request_key = "key";
  request.configuration = Configuration();
  request.target = {core::TargetMetric::kValLoss, 0.3, 0.95, 10'000};
  request.tuning = {.enabled = false,
                    .max_trials = 5,
                    .algorithm = core::Algorithm::kAsha,
                    .parallel = 3,
                    .patience = 4,
                    .inherit = false,
                    .in_flight = false,
                    .seed = 8,
                    .eta = 2,
                    .min_epochs = 9,
                    .architecture = false,
                    .convolutions = false,
                    .max_parameters = 6,
                    .max_training_bytes = 7};
  request.tuning.space = {
      {.path = "train.lr", .min = 0.001, .max = 1.0 / 3, .log = true},
      {.path = "network.width", .min = 1, .max = 4, .step = 0.5},
      {.path = "train.optimizer", .choices = {"sgd", "adamw"}},
      {.path = "network", .networks = {Configuration().network}},
  };
  request.budget = {8, 9, 10};
  request.manual = true;
  request.again = true;
  request.train_images = 60'000;
  core::Needs& needs = job.request.needs;
  needs.pool = "process";
  needs.runtime = "program";
  needs.gpu = core::GpuWish::kRequired;
  needs.gpu_memory_bytes = 17;
  needs.labels["site"] = kText;
  needs.priority = -18;
  needs.paths.insert(kText);
  job.identity = kText;
  job.state = core::JobState::kWaiting;
  job.paused = true;
  job.reason = kText;
  job.trials = {{3}, {4}};
  job.proposal = {Tweak(), Configuration()};
  job.proposal_inherits = {5};
  job.decided = {Tweak(), {}};
  job.best = {6};
  job.best_metric = 0.0;
  job.target_met = true;
  job.retries_left = 3;
  job.model = {"o", "s", 11, 12, 0.5, 0.25, 13, {1, 2, 3, 4}, {{kText, "f", 19}}};
  job.created_wall_ms = 14;
  job.ended_wall_ms = 15;
  return job;
}

// Equal after a round trip, and different from an empty record in the first place.
template <typename Record>
void ExpectRoundTrip(const Record& record) {
  const absl::StatusOr<Record> back = Decode<Record>(Encode(record));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(*back == record);
  EXPECT_FALSE(*back == Record{});
  const absl::StatusOr<Record> empty = Decode<Record>(Encode(Record{}));
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_TRUE(*empty == Record{});
}

TEST(StoredTest, EveryFieldOfAJobSurvives) { ExpectRoundTrip(Job()); }

TEST(StoredTest, EveryFieldOfATrialSurvives) {
  core::Trial trial{{1},     {2},
                    3,       core::TrialState::kDiverged,
                    kText,   Configuration(),
                    Tweak(), {4},
                    {5},     6,
                    7,       8,
                    9,       {1, 0, -2}};
  trial.description = kText;
  trial.parameters = 10;
  trial.applied = {{kText, "1", "2"}};
  trial.notes = {kText, "b"};
  trial.adjustments = {{.step = 11,
                        .at_epoch = true,
                        .stop = true,
                        .configuration = Configuration(),
                        .tweak = Tweak(),
                        .settled = true}};
  trial.until_epoch = 12;
  trial.rewinds = 2;
  trial.gained = -0.5;
  ExpectRoundTrip(trial);
  trial.configuration = {.changes = {1, 2, "adam", 0.5, 1.5, 3, 4, 0.25}};
  ExpectRoundTrip(trial);
}

TEST(StoredTest, EveryFieldOfTheOthersSurvives) {
  ExpectRoundTrip(core::Project{{1}, kText, "url", "branch", "commit", {2}, kText, true, 3});
  ExpectRoundTrip(core::Push{{1}, {2}, "commit", core::PushState::kRefused, kText, {3}});
  core::Attempt attempt{{1},
                        {2},
                        {3},
                        4,
                        true,
                        core::AttemptState::kStopping,
                        {5},
                        {6},
                        {"gpu", kText},
                        core::Cause::kTweaked,
                        kText,
                        {7},
                        true,
                        8,
                        9,
                        10,
                        11,
                        12,
                        {}};
  ExpectRoundTrip(attempt);
  ExpectRoundTrip(core::Checkpoint{
      {1}, {2}, {3}, {4}, "sha", 5, 6, 7, true, 0.0, core::CheckpointState::kDropping, true, 8});
  core::Worker worker{{1},
                      "inc",
                      kText,
                      "pool",
                      {2},
                      "host",
                      3,
                      "cpu",
                      {true, 4, {{"site", kText}}, {"native", "program"}, {kText, "/data"}},
                      core::Gpu{kText, "GPU-1", 5, "13.0", "9.0"},
                      core::WorkerState::kBusy,
                      true,
                      {4},
                      {}};
  ExpectRoundTrip(worker);
  worker.gpu.reset();
  ExpectRoundTrip(worker);
  core::Launch launch{{1},
                      {{"pool", "host"}, 5},
                      "program",
                      {6},
                      core::LaunchState::kStopping,
                      "1 2",
                      {2},
                      true,
                      3,
                      kText,
                      {}};
  ExpectRoundTrip(launch);
  ExpectRoundTrip(core::Notice{{1}, {2}, kText, true});
}

TEST(StoredTest, WhatIsVolatileIsNotStored) {
  core::Attempt attempt;
  attempt.id = {1};
  core::Attempt live = attempt;
  live.live.expires_ms = 5;
  live.live.step_us = {1, 2};
  EXPECT_EQ(Encode(live), Encode(attempt));
}

// All values from 0 to `last` have names of their own that lead back; nothing beyond has one.
template <typename Enum>
void ExpectNamed(Enum last) {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(last); ++i) {
    const Enum value = static_cast<Enum>(i);
    const std::string name = StoredName(value);
    EXPECT_NE(name, "") << "value " << i;
    EXPECT_TRUE(names.insert(name).second) << name;
    Enum back = last;
    EXPECT_TRUE(ParseStoredName(name, &back));
    EXPECT_EQ(back, value) << name;
  }
  EXPECT_EQ(names.size(), std::size(StoredNameTable<Enum>::kNames));
}

TEST(StoredTest, EveryEnumValueHasANameOfItsOwnThatLeadsBack) {
  ExpectNamed(core::TargetMetric::kValLoss);
  ExpectNamed(core::FindingKind::kSearch);
  ExpectNamed(core::PushState::kRefused);
  ExpectNamed(core::JobState::kCancelled);
  ExpectNamed(core::TrialState::kCancelled);
  ExpectNamed(core::AttemptState::kStopped);
  ExpectNamed(core::Cause::kSetAside);
  ExpectNamed(core::WorkerState::kGone);
  ExpectNamed(core::LaunchState::kOver);
  ExpectNamed(core::GpuWish::kRequired);
  ExpectNamed(core::CheckpointState::kDropped);
}

TEST(StoredTest, AnUnknownNameIsRefusedNamingTheFieldWhatWasFoundAndWhatWasExpected) {
  core::Push push;
  push.id = {1};
  std::string body = Encode(push);
  const size_t at = body.find("preparing");
  ASSERT_NE(at, std::string::npos);
  body.replace(at, 9, "preparong");
  const auto decoded = Decode<core::Push>(body);
  ASSERT_EQ(decoded.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(decoded.status().message(),
            "state: found 'preparong', expected one of preparing, taken, refused");
}

TEST(StoredTest, EveryTruncationOfAJobIsRefusedOrDiffers) {
  const std::string body = Encode(Job());
  for (size_t size = 0; size < body.size(); ++size) {
    const auto decoded = Decode<core::Job>(std::string_view(body).substr(0, size));
    EXPECT_FALSE(decoded.ok() && *decoded == Job()) << size;
  }
}

}  // namespace
}  // namespace trainyard::coordinator
