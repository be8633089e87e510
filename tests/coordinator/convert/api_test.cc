// What people and workers are shown is what core knows, and what they say arrives unchanged.
#include "coordinator/convert/api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "network/shapes.h"
#include "proto/spec_convert.h"

namespace trainyard::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::JobSpec Spec() {
  v1::JobSpec spec;
  spec.set_name("fashion");
  spec.mutable_data()->add_class_names("shirt");
  spec.mutable_data()->add_class_names("shoe");
  spec.mutable_data()->mutable_train()->set_count(60'000);
  network::Configuration configuration;
  configuration.network = {.input = {1, 8, 8}, .classes = 2};
  configuration.network.layers = {{network::Flatten{}}, {network::Dense{.units = 2}}};
  *spec.mutable_configuration() = trainyard::ToProto(configuration);
  spec.mutable_target()->set_metric(v1::Target::VAL_LOSS);
  spec.mutable_target()->set_bound(0.25);
  spec.mutable_tune()->set_enabled(true);
  spec.mutable_tune()->set_max_trials(4);
  spec.mutable_budget()->set_trials(3);
  spec.mutable_budget()->set_time_ms(1'000);
  spec.mutable_budget()->set_epochs(20);
  return spec;
}

// Job 1 of project "vision" with trial 11 (number 1), attempts 21 (lost), 22 (held by worker 5).
core::State SomeState() {
  core::State state;
  state.projects[{3}] = {.id = {3}, .name = "vision"};
  core::Job& job = state.jobs[{1}];
  job.id = {1};
  job.request = ToRequest(Spec());
  job.request.project = {3};
  job.request.commit = "c0ffee";
  job.request.source = "file:///repository";
  job.state = core::JobState::kRunning;
  job.trials = {{11}};
  job.best = {31};
  job.best_metric = 0.5;
  core::Trial& trial = state.trials[{11}];
  trial = {.id = {11}, .job = {1}, .number = 1, .state = core::TrialState::kRunning};
  trial.configuration = job.request.configuration;
  trial.attempt = {22};
  trial.training_ms = 100;
  core::Attempt& lost = state.attempts[{21}];
  lost = {.id = {21}, .job = {1}, .trial = {11}, .number = 1, .state = core::AttemptState::kLost};
  lost.cause = core::Cause::kLeaseExpired;
  lost.worker = {4};  // long forgotten
  core::Attempt& held = state.attempts[{22}];
  held = {.id = {22},
          .job = {1},
          .trial = {11},
          .number = 2,
          .state = core::AttemptState::kRunning,
          .fencing = {7},
          .worker = {5}};
  held.step = 10;
  held.live.step = 15;
  held.live.training_ms = 23;
  core::Worker& worker = state.workers[{5}];
  worker = {.id = {5},
            .name = "host/9",
            .pool = "process",
            .host = "host",
            .pid = 9,
            .device = "cpu, 2 threads",
            .state = core::WorkerState::kBusy,
            .attempt = {22}};
  worker.live.connected = true;
  for (const auto& [epoch, attempt, loss, superseded] : {std::tuple{1, 21, 0.7, false},
                                                         {2, 21, 0.1, true},
                                                         {2, 22, 0.5, false},
                                                         {3, 22, std::nan(""), false}}) {
    core::Epoch& row = state.epochs[{{11}, epoch, {attempt}}];
    row.key = {{11}, epoch, {attempt}};
    row.job = {1};
    row.step = epoch * 5;
    row.metrics.val_loss = loss;
    row.metrics.val_accuracy = 1 - loss;
    row.superseded = superseded;
  }
  state.checkpoints[{31}] = {.id = {31},
                             .job = {1},
                             .trial = {11},
                             .sha256 = "abc",
                             .step = 10,
                             .epoch = 2,
                             .metric = 0.5};
  return state;
}

TEST(ApiTest, AJobShowsItsTrialsAttemptsAndLiveRowsOnly) {
  const core::State state = SomeState();
  const v1::Job job = ToProto(state, state.jobs.at({1}), JobDetail::kFull);
  EXPECT_EQ(job.name(), "fashion");
  EXPECT_EQ(job.project(), "vision");
  EXPECT_EQ(job.state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(job.spec().SerializeAsString(), Spec().SerializeAsString());
  EXPECT_EQ(job.best_trial(), 1);
  EXPECT_EQ(job.best_epoch(), 2);
  ASSERT_EQ(job.trials_size(), 1);
  const v1::Trial& trial = job.trials(0);
  EXPECT_EQ(trial.restarts(), 1);
  EXPECT_EQ(trial.training_ms(), 123);
  EXPECT_EQ(trial.parameters(), 64 * 2 + 2);
  EXPECT_THAT(trial.description(), HasSubstr("dense 2"));
  ASSERT_EQ(trial.epochs_size(), 3);
  EXPECT_EQ(trial.epochs(1).epoch(), 2);
  EXPECT_EQ(trial.epochs(1).attempt(), 2);  // the number, not the id
  EXPECT_EQ(trial.epochs(1).val_loss(), 0.5);
  EXPECT_TRUE(std::isnan(trial.epochs(2).val_loss()));
  // The best by the target's metric: superseded rows and what is no number don't count.
  EXPECT_EQ(trial.best_epoch(), 2);
  EXPECT_EQ(trial.best_metric(), 0.5);
  ASSERT_EQ(trial.attempts_size(), 2);
  EXPECT_EQ(trial.attempts(0).cause(), "lease expired");
  EXPECT_EQ(trial.attempts(0).worker(), "worker 4");
  EXPECT_EQ(trial.attempts(1).worker(), "host/9");
  EXPECT_EQ(trial.attempts(1).step(), 15);
  EXPECT_EQ(trial.attempts(1).cause(), "");
}

TEST(ApiTest, ASummaryLeavesOutSpecEpochsAndAttemptsButNotTheBest) {
  const core::State state = SomeState();
  const v1::Job job = ToProto(state, state.jobs.at({1}), JobDetail::kSummary);
  EXPECT_FALSE(job.has_spec());
  EXPECT_EQ(job.trials(0).epochs_size() + job.trials(0).attempts_size(), 0);
  EXPECT_FALSE(job.trials(0).has_configuration());
  EXPECT_EQ(job.trials(0).best_epoch(), 2);
  EXPECT_EQ(job.trials(0).restarts(), 1);
}

TEST(ApiTest, PausedIsShownWhileAJobIsNotOver) {
  core::Job job;
  job.paused = true;
  EXPECT_EQ(ToProto(job), v1::JOB_STATE_PAUSED);
  job.state = core::JobState::kCancelled;
  EXPECT_EQ(ToProto(job), v1::JOB_STATE_CANCELLED);
}

TEST(ApiTest, AWorkerShowsWhatItHoldsAndWhetherItIsThere) {
  core::State state = SomeState();
  core::Worker& worker = state.workers.at({5});
  v1::Worker shown = ToProto(state, worker);
  EXPECT_EQ(shown.state(), v1::Worker::BUSY);
  EXPECT_EQ(shown.job(), 1);
  EXPECT_EQ(shown.trial(), 1);
  EXPECT_EQ(shown.attempt(), 2);
  EXPECT_EQ(shown.device(), "cpu, 2 threads");
  worker.draining = true;
  EXPECT_EQ(ToProto(state, worker).state(), v1::Worker::DRAINING);
  worker.live.connected = false;
  EXPECT_EQ(ToProto(state, worker).state(), v1::Worker::LOST);
  worker.state = core::WorkerState::kGone;
  EXPECT_EQ(ToProto(state, worker).state(), v1::Worker::GONE);
}

TEST(ApiTest, AModelCarriesTheNumbersOfTheRowItsWeightsWereMeasuredWith) {
  core::State state = SomeState();
  core::Job& job = state.jobs.at({1});
  job.model = core::Model{"onnx", "tensors", 1, 2, 0.9, 0.3, 100, {1, 2, 3, 4}};
  job.target_met = true;
  job.ended_wall_ms = 77;
  const v1::Model model = ToProto(state, job, JobDetail::kFull).model();
  EXPECT_EQ(model.trial(), 1);
  EXPECT_EQ(model.epoch(), 2);
  EXPECT_EQ(model.val_loss(), 0.5);
  EXPECT_EQ(model.val_accuracy(), 0.5);
  EXPECT_EQ(model.test_accuracy(), 0.9);
  EXPECT_THAT(model.confusion(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(model.class_names(), ElementsAre("shirt", "shoe"));
  EXPECT_EQ(model.published_ms(), 77);
  EXPECT_TRUE(model.target_met());
  // Where the rows were not read, the target's metric is still known.
  state.epochs.clear();
  EXPECT_EQ(ToModel(state, job).val_loss(), 0.5);
}

TEST(ApiTest, EventsCarryWhatTheyAreAbout) {
  core::State state = SomeState();
  core::HistoryRow row{.cursor = 9,
                       .wall_ms = 8,
                       .kind = core::HistoryKind::kEpoch,
                       .job = {1},
                       .trial = {11},
                       .attempt = {22},
                       .epoch = {{11}, 2, {22}},
                       .text = "hi \xff"};
  v1::Event event = ToProto(state, row);
  EXPECT_EQ(event.cursor(), 9);
  EXPECT_EQ(event.kind(), "epoch");
  EXPECT_EQ(event.project(), "vision");
  EXPECT_EQ(event.trial(), 1);
  EXPECT_EQ(event.attempt(), 2);
  EXPECT_EQ(event.epoch().val_loss(), 0.5);
  EXPECT_EQ(event.message(), "hi \xef\xbf\xbd");

  state.jobs.at({1}).proposal = core::Proposal{};
  state.jobs.at({1}).proposal->tweak.changes = {{"train.lr", "0.1", "0.2"}};
  event = ToProto(state, {.kind = core::HistoryKind::kWaiting, .job = {1}, .trial = {11}});
  EXPECT_EQ(event.tweak().changes(0).to(), "0.2");

  state.jobs.at({1}).state = core::JobState::kSucceeded;
  event = ToProto(state, {.kind = core::HistoryKind::kJobEnded, .job = {1}});
  EXPECT_EQ(event.job_state(), v1::JOB_STATE_SUCCEEDED);

  // About what is not known (any more) it says less, and nothing wrong.
  event = ToProto(state, {.kind = core::HistoryKind::kEpoch, .job = {99}, .epoch = {{9}, 9, {9}}});
  EXPECT_FALSE(event.has_epoch());
}

TEST(ApiTest, AnAssignmentHasEverythingAWorkerNeeds) {
  core::State state = SomeState();
  state.jobs.at({1}).request.snapshot_sha256 = "5ba5";
  core::StartAttempt effect{.claim = {{5}, {22}, {7}}, .job = {1}, .trial = {11}};
  effect.restore = core::Restore::kContinue;
  effect.checkpoint_sha256 = "abc";
  v1::Start start = ToProto(state, effect);
  EXPECT_EQ(start.attempt().job(), 1);
  EXPECT_EQ(start.attempt().trial(), 11);
  EXPECT_EQ(start.attempt().attempt(), 22);
  EXPECT_EQ(start.attempt().fencing(), 7);
  EXPECT_EQ(start.trial_number(), 1);
  EXPECT_EQ(start.attempt_number(), 2);
  EXPECT_EQ(start.spec().SerializeAsString(), Spec().SerializeAsString());
  EXPECT_EQ(start.snapshot_sha256(), "5ba5");
  EXPECT_EQ(start.checkpoint_sha256(), "abc");
  EXPECT_TRUE(trainyard::FromProto(start.configuration()) == state.trials.at({11}).configuration);
  EXPECT_EQ(FromProto({5}, start.attempt()), effect.claim);

  // Another trial's weights are no checkpoint to continue from.
  effect.restore = core::Restore::kInherit;
  start = ToProto(state, effect);
  EXPECT_EQ(start.checkpoint_sha256(), "");
  EXPECT_EQ(start.inherit_sha256(), "abc");
}

TEST(ApiTest, ReportsArriveUnchanged) {
  v1::AttemptRef ref;
  ref.set_attempt(22);
  ref.set_fencing(7);
  const core::Claim claim{{5}, {22}, {7}};

  v1::Renewal renewal;
  *renewal.mutable_attempt() = ref;
  renewal.set_step(3);
  renewal.set_phase(v1::PHASE_UPLOADING);
  const core::LeaseRenewed renewed = FromProto({5}, renewal);
  EXPECT_EQ(renewed.claim, claim);
  EXPECT_EQ(renewed.step, 3);
  EXPECT_EQ(renewed.phase, core::Phase::kUploading);

  v1::EpochReport report;
  *report.mutable_attempt() = ref;
  *report.mutable_epoch() = ToProto(SomeState(), SomeState().epochs.at({{11}, 2, {22}}));
  report.mutable_epoch()->set_exact(true);
  const core::EpochReported reported = FromProto({5}, 4, report);
  EXPECT_EQ(reported.claim, claim);
  EXPECT_EQ(reported.sequence, 4);
  EXPECT_EQ(reported.epoch, 2);
  EXPECT_TRUE(reported.metrics == SomeState().epochs.at({{11}, 2, {22}}).metrics);
  EXPECT_TRUE(reported.exact);

  v1::CheckpointReport checkpoint;
  *checkpoint.mutable_attempt() = ref;
  checkpoint.set_sha256("abc");
  checkpoint.set_bytes(5);
  checkpoint.set_step(6);
  checkpoint.set_epoch(7);
  checkpoint.set_end_of_epoch(true);
  const core::CheckpointStored stored = FromProto({5}, 8, checkpoint);
  EXPECT_EQ(stored.sha256 + std::to_string(stored.bytes) + std::to_string(stored.step) +
                std::to_string(stored.epoch) + std::to_string(stored.sequence),
            "abc5678");
  EXPECT_TRUE(stored.end_of_epoch);

  v1::FinishReport finish;
  finish.mutable_model()->set_onnx_sha256("o");
  finish.mutable_model()->set_safetensors_sha256("s");
  finish.mutable_model()->set_onnx_bytes(1);
  finish.mutable_model()->set_safetensors_bytes(2);
  finish.mutable_model()->set_test_accuracy(0.5);
  finish.mutable_model()->set_test_loss(0.25);
  finish.mutable_model()->set_test_count(4);
  finish.mutable_model()->add_confusion(9);
  EXPECT_TRUE((FromProto({5}, 8, finish).model == core::Model{"o", "s", 1, 2, 0.5, 0.25, 4, {9}}));
}

TEST(ApiTest, EveryOutcomeArrivesAndAnUnknownOneMayBeTriedAgain) {
  const auto outcome = [](int value) {
    v1::AttemptEnded ended;
    ended.set_outcome(static_cast<v1::AttemptEnded::Outcome>(value));
    ended.set_message("why");
    return FromProto({5}, 1, ended).outcome;
  };
  EXPECT_EQ(outcome(v1::AttemptEnded::COMPLETED), core::Outcome::kCompleted);
  EXPECT_EQ(outcome(v1::AttemptEnded::STOPPED), core::Outcome::kStopped);
  EXPECT_EQ(outcome(v1::AttemptEnded::DIVERGED), core::Outcome::kDiverged);
  EXPECT_EQ(outcome(v1::AttemptEnded::FAILED), core::Outcome::kFailed);
  EXPECT_EQ(outcome(v1::AttemptEnded::FAILED_FINALLY), core::Outcome::kFailedFinally);
  EXPECT_EQ(outcome(v1::AttemptEnded::CHECKPOINT_BROKEN), core::Outcome::kCheckpointBroken);
  EXPECT_EQ(outcome(v1::AttemptEnded::OUT_OF_MEMORY), core::Outcome::kOutOfMemory);
  EXPECT_EQ(outcome(v1::AttemptEnded::DEVICE_LOST), core::Outcome::kDeviceLost);
  EXPECT_EQ(outcome(0), core::Outcome::kFailed);
  EXPECT_EQ(outcome(4711), core::Outcome::kFailed);
}

TEST(ApiTest, WithoutAPrecisionATrainingIsFp32AndHasTheBytesItHadBefore) {
  network::Training training;
  v1::Training message = trainyard::ToProto(training);
  const std::string bytes = message.SerializeAsString();
  message.clear_precision();
  EXPECT_EQ(message.SerializeAsString(), bytes);
  EXPECT_TRUE(trainyard::FromProto(message) == training);
  for (const auto precision : {network::Precision::kTf32, network::Precision::kBf16}) {
    training.precision = precision;
    EXPECT_NE(trainyard::ToProto(training).SerializeAsString(), bytes);
    EXPECT_TRUE(trainyard::FromProto(trainyard::ToProto(training)) == training);
  }
}

TEST(ApiTest, APrecisionThatIsNotKnownIsRefusedAndNotTakenForAnother) {
  v1::Training message = trainyard::ToProto(network::Training{});
  message.set_precision(static_cast<v1::Training::Precision>(4711));
  const auto problems = network::CheckTraining(trainyard::FromProto(message), {});
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].path + ": " + problems[0].message,
            "train.precision: found number 4711, expected fp32, tf32 or bf16");
}

TEST(ApiTest, ARequestFollowsFromItsSpecAndItsHashFromEveryByteOfIt) {
  const core::JobRequest request = ToRequest(Spec());
  EXPECT_EQ(request.name, "fashion");
  EXPECT_EQ(request.target.metric, core::TargetMetric::kValLoss);
  EXPECT_EQ(request.target.bound, 0.25);
  EXPECT_TRUE(request.tuning.enabled);
  EXPECT_EQ(request.tuning.max_trials, 4);
  EXPECT_TRUE((request.budget == core::Budget{3, 1'000, 20}));
  EXPECT_EQ(request.train_images, 60'000);
  EXPECT_EQ(request.spec_hash.size(), 64u);
  EXPECT_EQ(ToRequest(Spec()).spec_hash, request.spec_hash);
  v1::JobSpec other = Spec();
  other.mutable_validation()->set_seed(2);
  EXPECT_NE(ToRequest(other).spec_hash, request.spec_hash);
  v1::JobSpec parsed;
  ASSERT_TRUE(parsed.ParseFromString(request.spec_blob));
  EXPECT_EQ(parsed.SerializeAsString(), Spec().SerializeAsString());
}

TEST(ApiTest, WhatAJobNeedsIsPartOfItsRequest) {
  EXPECT_TRUE(ToRequest(Spec()).needs == core::Needs{}) << "a spec of before there were resources";
  v1::JobSpec spec = Spec();
  v1::Resources& resources = *spec.mutable_resources();
  resources.set_pool("gpu");
  resources.set_gpu(v1::Resources::REQUIRED);
  resources.set_gpu_memory_bytes(int64_t{12} << 30);
  (*resources.mutable_labels())["site"] = "berlin";
  (*resources.mutable_labels())["rack"] = "7";
  resources.set_priority(-5);
  const core::JobRequest request = ToRequest(spec);
  EXPECT_TRUE((request.needs == core::Needs{.pool = "gpu",
                                            .gpu = core::GpuWish::kRequired,
                                            .gpu_memory_bytes = int64_t{12} << 30,
                                            .labels = {{"rack", "7"}, {"site", "berlin"}},
                                            .priority = -5}));
  EXPECT_EQ(ToRequest(v1::JobSpec(spec)).spec_hash, request.spec_hash) << "labels have no order";
  resources.set_gpu(v1::Resources::NONE);
  EXPECT_EQ(ToRequest(spec).needs.gpu, core::GpuWish::kNone);
  resources.set_gpu(v1::Resources::ANY);
  EXPECT_EQ(ToRequest(spec).needs.gpu, core::GpuWish::kAny);
}

TEST(ApiTest, TextBecomesUtf8AndUtf8StaysWhatItIs) {
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(Utf8(""), "");
  EXPECT_EQ(Utf8("plain"), "plain");
  EXPECT_EQ(Utf8("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x9a\x82"),
            "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x9a\x82");
  EXPECT_EQ(Utf8("\xff"), bad);
  EXPECT_EQ(Utf8("a\xc3"), "a" + bad);                         // cut off
  EXPECT_EQ(Utf8("\xc0\xaf"), bad + bad);                      // longer than needed
  EXPECT_EQ(Utf8("\xed\xa0\x80"), bad + bad + bad);            // a surrogate
  EXPECT_EQ(Utf8("\xf4\x90\x80\x80"), bad + bad + bad + bad);  // beyond U+10FFFF
  EXPECT_EQ(Utf8("\xe0\x80\x80z"), bad + bad + bad + "z");
}

}  // namespace
}  // namespace trainyard::coordinator
